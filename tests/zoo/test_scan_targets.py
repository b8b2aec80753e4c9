"""The list of what configs may call: all of it exists, and none of it runs text, imports names, unpickles, or writes anywhere."""

import ast
import importlib
import inspect
import re

import pytest

from diffzoo.zoo.scan import expressions, targets

RUNS_TEXT = re.compile(
    r"(?<![.\w])(eval|exec|locate|optional_import|import_module|__import__|instantiate|open)\("
    r"|\bpickle\.|torch\.load|\bhub\.|np\.load\(|subprocess\.|os\.system|load_state_dict_from_url|download_url"
)


def sources(things: set[type]) -> dict[str, str]:
    """The source of classes and functions without strings of several lines, by full name; each module is parsed once."""
    found = {}
    for module in {thing.__module__ for thing in things}:
        text = inspect.getsource(importlib.import_module(module))
        nodes = {node.name: node for node in ast.walk(ast.parse(text)) if isinstance(node, ast.FunctionDef | ast.ClassDef)}
        for thing in (t for t in things if t.__module__ == module):
            node = nodes[thing.__qualname__.split(".")[-1]]
            code = "\n".join(text.splitlines()[node.lineno - 1 : node.end_lineno])
            found[f"{module}.{thing.__qualname__}"] = re.sub(r'""".*?"""', "", code, flags=re.DOTALL)
    return found


def test_every_listed_target_exists_and_neither_runs_text_nor_loads():
    parts = set()
    for name in targets.ALLOWED:
        module, last = name.rsplit(".", 1)
        thing = getattr(importlib.import_module(module), last)
        ours = [p for p in getattr(thing, "__mro__", [thing]) if p.__module__.split(".")[0] in ("monai", "ignite")]
        parts |= set(ours)
    found = sources(parts)
    assert len(found) > 150
    assert {name: match[0] for name, code in found.items() if (match := RUNS_TEXT.search(code))} == {}


def test_the_search_for_what_runs_text_finds_it():
    from monai.handlers import CheckpointLoader
    from monai.inferers import PatchInferer
    from monai.transforms import LoadImage, SaveImage

    assert all(map(RUNS_TEXT.search, sources({CheckpointLoader, PatchInferer, LoadImage, SaveImage}).values()))


TOUCHES = re.compile(
    r"\b(os\.(replace|remove|unlink|rename|system)|shutil\.\w+|subprocess\.\w+|mkdir|unlink|write_\w+|save|save_\w+)\("
    r"|(?<!\.)\b(eval|exec)\(|open\([^)]*[\"'][wax]"
)


def test_what_configs_may_call_in_this_package_writes_only_where_paths_are_confined():
    found = set()
    for path in sorted(targets.PACKAGE.rglob("*.py")):
        text = path.read_text()
        for node in ast.parse(text).body:
            if isinstance(node, ast.FunctionDef | ast.ClassDef) and not node.name.startswith("_"):
                full = ".".join(("diffzoo", *path.relative_to(targets.PACKAGE).with_suffix("").parts, node.name))
                source = re.sub(r"write_(json|bytes)\(self\.report\.folder", "", ast.unparse(node))
                if targets.problem(full) is None and TOUCHES.search(source):
                    found.add(node.name)
                    arguments = {a.arg for n in ast.walk(node) if isinstance(n, ast.FunctionDef) for a in n.args.args}
                    assert arguments & expressions.PATHS, f"{full} writes, but takes no argument of expressions.PATHS"
    assert found >= {"Resume", "LossLog", "ExportWeights", "banked"}


@pytest.mark.parametrize(
    ("target", "remedy"),
    [
        ("DataLoader", "write monai.data.DataLoader"),
        ("monai.data.dataset.Dataset", "write monai.data.Dataset"),
        ("monai.transforms.Resise", "write monai.transforms.Resize"),
        ("monai.transforms.LoadImage", "a config may call diffzoo"),
        ("diffzoo.imaging.io.files.write_json", "use the handlers of diffzoo.training"),
    ],
)
def test_the_remedy_names_what_may_be_called_instead(target, remedy):
    assert targets.problem(target)[1].startswith(remedy)


def test_a_name_is_allowed_where_it_is_defined_and_where_the_package_hands_it_on():
    assert targets.definition("diffzoo.diffusion.samplers.euler") == "diffzoo.diffusion.deterministic.euler"
    assert targets.definition("diffzoo.diffusion.deterministic.euler") == "diffzoo.diffusion.deterministic.euler"
    for other in ("torch", "Callable", "_run", "euler.x", "nothing"):
        assert targets.definition(f"diffzoo.diffusion.deterministic.{other}") is None
