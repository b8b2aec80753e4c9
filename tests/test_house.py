"""The rules of the house, read off the source: who may import whom, sizes, docstrings, and what must not be in a tracked file."""

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "common" / "diffzoo"
ROOMS = (
    *("diffusion", "operators", "spaces", "networks", "imaging", "metrics"),
    *("training", "tasks", "components", "zoo", "cli"),
)
EVERYWHERE = ("atomic", "environment", "errors", "names", "facts", "parameters")
# those import nothing of the package, and every room above the mathematics may use them
DOORS = {"__init__": {"zoo"}, "__main__": {"cli"}}
MODULES = sorted(PACKAGE.rglob("*.py"))
PROGRAMS = sorted((ROOT / "tools").glob("*.py"))
OUTSIDE = {  # what a room may import beside the standard library
    "diffusion": {"torch"},
    "operators": {"torch"},
    "spaces": {"torch"},
    "networks": {"torch", "monai", "safetensors"},
    "atomic": set(),
    "errors": set(),
    "names": set(),
    "facts": set(),
    "environment": set(),
    "parameters": {"yaml"},
}


def room_of(path: Path) -> str:
    return path.relative_to(PACKAGE).with_suffix("").parts[0]


def tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(), str(path))


def imported(path: Path) -> set[str]:
    """Full names of the modules that a file imports at any depth, with relative imports resolved."""
    package = ("diffzoo", *path.relative_to(PACKAGE).parent.parts)
    found = set()
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else ()
            name = ".".join((*base, *([node.module] if node.module else [])))
            found |= {f"{name}.{alias.name}" for alias in node.names} if name == "diffzoo" else {name}
    return found


def name(path: Path) -> str:
    return str(path.relative_to(ROOT))


@pytest.mark.parametrize("path", MODULES, ids=name)
def test_a_room_imports_only_rooms_above_it(path):
    room, allowed = room_of(path), set(EVERYWHERE)
    if room in DOORS:
        allowed = DOORS[room]
    elif room in ("diffusion", "operators"):
        allowed = {room}  # the mathematics stands alone
    elif room in ROOMS:
        allowed |= set(ROOMS[: ROOMS.index(room) + 1])
    used = {module.split(".")[1] for module in imported(path) if module.startswith("diffzoo.")}
    assert used <= (set() if room in EVERYWHERE else allowed)


TASKS = sorted(path.parent.name for path in (PACKAGE / "tasks").glob("*/task.py"))


@pytest.mark.parametrize("task", TASKS)
def test_a_task_folder_imports_no_other_one(task):
    used = {module for path in (PACKAGE / "tasks" / task).glob("*.py") for module in imported(path)}
    others = {f"diffzoo.tasks.{other}" for other in TASKS if other != task}
    assert not [module for module in used if ".".join(module.split(".")[:3]) in others]


@pytest.mark.parametrize("path", [p for p in MODULES if room_of(p) != "tasks"], ids=name)
def test_only_the_tasks_name_a_task(path):
    texts = {node.value for node in ast.walk(tree(path)) if isinstance(node, ast.Constant) and isinstance(node.value, str)}
    assert not texts & set(TASKS)


def test_no_module_imports_itself_by_a_detour():
    dotted = {"diffzoo." + ".".join(p.relative_to(PACKAGE).with_suffix("").parts): p for p in MODULES}
    uses = {key: _modules(path, dotted) for key, path in dotted.items()}
    while leaves := [key for key, value in uses.items() if not value]:
        for key in leaves:
            del uses[key]
        uses = {key: value - set(leaves) for key, value in uses.items()}
    assert not uses, "circles: " + ", ".join(sorted(uses))


def _modules(path: Path, dotted: dict[str, Path]) -> set[str]:
    """Modules of the package that a file imports, at any depth: of `from package import name` the module of that name."""
    package, found = ("diffzoo", *path.relative_to(PACKAGE).parent.parts), set()
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else ()
            module = ".".join((*base, *([node.module] if node.module else [])))
            for alias in node.names:
                full = f"{module}.{alias.name}"
                found.add(full if full in dotted else module if module in dotted else f"{module}.__init__")
        elif isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
    own = ".".join(("diffzoo", *path.relative_to(PACKAGE).with_suffix("").parts))
    return {module for module in found if module in dotted} - {own}


@pytest.mark.parametrize("path", [p for p in MODULES if room_of(p) in OUTSIDE], ids=name)
def test_the_lower_rooms_import_few_libraries(path):
    roots = {module.split(".")[0] for module in imported(path)} - {"diffzoo"} - sys.stdlib_module_names
    assert roots <= OUTSIDE[room_of(path)]


def test_the_import_rule_sees_every_kind_of_import_and_every_room():
    assert "diffzoo.diffusion.noise" in imported(PACKAGE / "diffusion" / "march.py")  # from .noise import
    assert {"diffzoo.zoo.new.make", "diffzoo.zoo.new.words"} <= imported(PACKAGE / "zoo" / "new" / "__init__.py")  # from .make
    assert "diffzoo.zoo.bundle" in imported(PACKAGE / "cli.py")  # inside a function
    assert {room_of(path) for path in MODULES} == {*ROOMS, *EVERYWHERE, *DOORS}


@pytest.mark.parametrize("path", [*MODULES, *PROGRAMS], ids=name)
def test_files_and_functions_are_short(path):
    assert len(path.read_text().splitlines()) <= 300
    functions = [node for node in ast.walk(tree(path)) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]
    assert not {node.name: node.end_lineno - node.lineno + 1 for node in functions if node.end_lineno - node.lineno >= 40}


READERS = ("nib.load", "nibabel.load", "sitk.ReadImage", "sitk.ImageFileReader", "sitk.ImageSeriesReader", "pydicom.dcmread")


@pytest.mark.parametrize("path", [p for p in MODULES if "io" not in p.parts], ids=name)
def test_files_are_read_by_the_readers_of_imaging_io_alone(path):
    calls = [ast.unparse(node.func) for node in ast.walk(tree(path)) if isinstance(node, ast.Call)]
    assert not set(calls) & set(READERS)


def public(node: ast.AST, inside: str = ""):
    """Names and nodes of public classes and functions of a module, and of the methods of its public classes."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.FunctionDef | ast.ClassDef) and not child.name.startswith("_"):
            yield f"{inside}{child.name}", child
            if isinstance(child, ast.ClassDef):
                yield from public(child, f"{child.name}.")


@pytest.mark.parametrize("path", MODULES + PROGRAMS, ids=lambda p: p.stem)
def test_text_is_read_and_written_in_one_encoding(path):
    """What a machine's locale says must not change what a file holds."""
    calls = [node for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))) if isinstance(node, ast.Call)]
    texts = [call for call in calls if isinstance(call.func, ast.Attribute) and call.func.attr in ("read_text", "write_text")]
    without = [call.lineno for call in texts if not any(word.arg == "encoding" for word in call.keywords)]
    assert not without, f"lines {without}: say encoding"


KNOWN = {"forward", "attach", "A", "AT", "pinv", "solve", "name"}  # explained once, by nn.Module, Ignite and LinearOperator


@pytest.mark.parametrize("path", MODULES, ids=name)
def test_everything_public_has_a_docstring(path):
    module = tree(path)
    assert not [label for label, node in public(module) if not ast.get_docstring(node) and node.name not in KNOWN]
    assert ast.get_docstring(module) or not path.read_text().strip()


@pytest.mark.parametrize("path", MODULES, ids=name)
def test_the_package_neither_asserts_nor_prints(path):
    nodes = list(ast.walk(tree(path)))
    assert not [node.lineno for node in nodes if isinstance(node, ast.Assert)]
    if path.name != "cli.py":
        names = [node.func.id for node in nodes if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)]
        assert "print" not in names


def tracked() -> list[Path]:
    """Text files that git keeps or would keep; without git, those of the folders that a release holds."""
    try:
        command = ["git", "ls-files", "--cached", "--others", "--exclude-standard"]
        listed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout.splitlines()
        paths = [ROOT / line for line in listed]
    except (OSError, subprocess.CalledProcessError):
        paths = [p for folder in ("bundles", "common", "tools", "tests") for p in (ROOT / folder).rglob("*")]
        paths += [p for p in ROOT.iterdir() if p.suffix in (".md", ".toml", ".txt")]
    return [p for p in paths if p.is_file() and b"\0" not in p.read_bytes()[:8192] and p.suffix != ".safetensors"]


def test_no_file_names_a_place_of_one_machine():
    # the slash is apart, so that this file does not match itself
    place = re.compile(r"(?<![\w.])" + "/" + r"(work|root)\b(?=/|\s|$|['\"])|(\.\.|" + "/" + r"work)/shared\b")
    found = {name(path): match[0] for path in tracked() if (match := place.search(path.read_text(errors="replace")))}
    assert not found


@pytest.mark.parametrize("module", ["diffzoo", "diffzoo.cli", "diffzoo.zoo.bundle", "diffzoo.zoo.describe"])
def test_light_modules_come_without_torch(module):
    code = f"import sys, {module}; print(sorted({{'torch', 'monai', 'numpy'}} & set(sys.modules)))"
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert answer.stdout.strip() == "[]"
