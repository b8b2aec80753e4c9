"""The bundle contract, as far as files tell it: nothing is run here but the loading of weights."""

import ast
import json
import re
from pathlib import Path
from pydoc import locate

import pytest
import yaml
from safetensors import safe_open

from diffzoo.zoo.facts import sha256
from diffzoo.zoo.metadata import MACHINE_PATH, identifiers, problems

FILES = (
    "LICENSE",
    "configs/metadata.json",
    "configs/inference.yaml",
    "configs/evaluate.yaml",
    "configs/train.yaml",
    "configs/published.yaml",
    "configs/logging.conf",
    "models/model.safetensors",
    "docs/README.md",
    "docs/preview.png",
    "docs/data_license.txt",
    "docs/results.json",
)
SUFFIXES = {"", ".json", ".jsonl", ".yaml", ".conf", ".safetensors", ".md", ".png", ".txt"}
NAMESPACES = ("diffzoo.", "monai.", "torch.", "ignite.")
WORKFLOWS = (
    ["inference"],
    ["inference", "evaluate"],
    ["inference", "published"],
    ["inference", "published", "evaluate"],
    ["train"],
)
MIB = 2**20


@pytest.mark.parametrize("name", FILES)
def test_file_is_there_and_not_empty(bundle, name):
    path = bundle.root / name
    assert path.is_file() and path.stat().st_size > 0


def test_holds_no_code_no_pickle_no_link(bundle):
    strange = [p for p in kept_files(bundle) if p.suffix not in SUFFIXES or (p.suffix == "" and p.name != "LICENSE")]
    assert strange == []
    assert [p for p in bundle.root.rglob("*") if p.is_symlink()] == []
    assert [p for p in bundle.root.rglob("*") if p.is_file() and p.suffix != ".safetensors" and p.stat().st_size > MIB] == []
    for path in kept_files(bundle):
        assert path.read_bytes()[:2] not in (b"\x80\x02", b"\x80\x04", b"\x80\x05", b"PK"), (
            f"{path.name} is a pickle or an archive"
        )


def kept_files(bundle) -> list[Path]:
    """Files of the bundle; a training that runs in this checkout may leave its checkpoint and log beside the weights."""
    passing = {"checkpoint.pt", "checkpoint.part", "train_log.jsonl"}
    return [p for p in bundle.root.rglob("*") if p.is_file() and p.name not in passing]


def test_metadata_meets_the_schemas_offline(bundle, monkeypatch):
    monkeypatch.setattr("socket.socket.connect", lambda *_: pytest.fail("the check of metadata asked the network"))
    assert problems(bundle.metadata) == []


def test_name_and_version(bundle):
    assert bundle.metadata["name"] == bundle.root.name
    assert bundle.metadata["version"] in bundle.metadata["changelog"]


def test_licences_are_told_in_full(bundle):
    licence = (bundle.root / "LICENSE").read_text()
    assert bundle.metadata["licenses"]["code"] == "Apache-2.0" and "Apache License" in licence and "Version 2.0" in licence
    told = (bundle.root / "docs" / "data_license.txt").read_text()
    data = bundle.metadata["training_data"]["sources"]
    for expression in [bundle.metadata["licenses"]["data"], *(source["license"] for source in data)]:
        for name in identifiers(expression):
            assert name in told, f"docs/data_license.txt does not tell of {name}"


def test_weights_are_small_half_precision_and_the_described_ones(bundle):
    assert [p.name for p in (bundle.root / "models").iterdir() if p.suffix == ".safetensors"] == ["model.safetensors"]
    assert bundle.weights.stat().st_size <= 8 * MIB
    with safe_open(bundle.weights, "pt") as file:
        kinds = {file.get_slice(key).get_dtype() for key in file.keys()}  # noqa: SIM118 - not a dict
    assert "F16" in kinds and kinds <= {"F16", "I64", "BOOL"}
    assert sha256(bundle.weights) == bundle.metadata["weights_sha256"]


def test_results_are_measured_and_have_a_command(bundle):
    results = bundle.metadata["eval_metrics"]
    assert results["values"], "eval_metrics.values is empty"
    assert bundle.name in results["command"]
    assert re.search(r"\d", bundle.metadata["headline"]), "the headline holds no number"


def test_results_are_those_of_these_weights(bundle):
    found = json.loads((bundle.root / "docs" / "results.json").read_text())["evaluations"]
    assert {one["weights_sha256"] for one in found.values()} == {sha256(bundle.weights)}
    told = bundle.metadata["eval_metrics"]
    for method, values in told["values"].items():
        assert values == pytest.approx(found[told["evaluation"]]["mean"][method], abs=1e-4)


def test_no_placeholder_and_no_path_of_a_machine(bundle):
    for path in bundle.root.rglob("*"):
        if path.suffix in (".json", ".yaml", ".conf", ".md", ".txt"):
            text = path.read_text()
            assert not re.search(r"@[A-Z]+@|\bMEASURED\b|\bTODO\b|\bTBD\b", text), path.name
            assert not MACHINE_PATH.search(text), path.name


def test_readme_shows_the_commands(bundle):
    text = (bundle.root / "docs" / "README.md").read_text()
    for command in (f"diffzoo run {bundle.name} ", f"diffzoo evaluate {bundle.name} ", "python -m monai.bundle run "):
        assert any(line.strip().lstrip("$ ").startswith(command) for line in text.splitlines()), command
    for heading in ("intended use", "limits", "data", "training", "references", "licence"):
        assert re.search(rf"^#+ .*{heading}", text, re.IGNORECASE | re.MULTILINE), f"no section on {heading}"


def config_files(bundle) -> list[Path]:
    return sorted((bundle.root / "configs").glob("*.yaml"))


def test_first_comment_of_a_config_says_what_it_does_and_how_well(bundle):
    for path in config_files(bundle):
        head = []
        for line in path.read_text().splitlines():
            if not line.startswith("#"):
                break
            head.append(line.lstrip("# "))
        assert len(head) >= 2 and len(head[0]) > 30, f"{path.name}: the first comment says what it does"
        assert any("diffzoo" in line or "monai.bundle" in line for line in head), (
            f"{path.name}: the first comment names a command"
        )
        if path.name != "evaluate.yaml":  # an evaluation reaches nothing of its own
            told = [line for line in head[1:] if not line.startswith("Run:")]
            assert any(re.search(r"\d", line) for line in told), f"{path.name}: no result and time in the first comment"


def test_every_parameter_has_a_comment(bundle):
    laid = {p.stem: ("inference", p.stem) if p.stem in bundle.overlays else (p.stem,) for p in config_files(bundle)}
    assert [
        f"{name}: {key}" for name, configs in laid.items() for key, one in bundle.parameters(configs).items() if not one.help
    ] == []


def nodes(value, place=""):
    """All (place, value) of a config, containers first."""
    yield place, value
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in items:
        yield from nodes(inner, f"{place}::{key}".removeprefix("::"))


def test_targets_are_of_known_packages_and_exist(bundle):
    for path in config_files(bundle):
        for place, value in nodes(yaml.safe_load(path.read_text())):
            if not isinstance(value, dict):
                continue
            assert {k for k in value if str(k).startswith("_")} <= {"_target_", "_mode_", "_disabled_", "_desc_"}, place
            assert value.get("_mode_", "callable") == "callable", place
            if "_target_" in value:
                target = value["_target_"]
                assert target.startswith(NAMESPACES), f"{path.name} {place}: {target}"
                assert callable(locate(target)), f"{path.name} {place}: {target} does not exist"


def test_expressions_are_of_the_small_grammar(bundle):
    for path in config_files(bundle):
        for place, value in nodes(yaml.safe_load(path.read_text())):
            if isinstance(value, str) and value.startswith("$"):
                assert is_simple(value[1:]), f"{path.name} {place}: {value}"
            assert not (isinstance(value, str) and value.startswith("%")), f"{path.name} {place}: {value}"


def is_simple(expression: str) -> bool:
    """Names, references, numbers and text, joined by + * /, and attributes without a leading underscore."""
    try:
        tree = ast.parse(re.sub(r"@\w+(::\w+)*", "ref", expression), mode="eval")
    except SyntaxError:
        return False
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and node.attr.startswith("_"):
            return False
        if isinstance(node, ast.Constant) and not isinstance(node.value, str | int | float):
            return False
        if not isinstance(
            node, ast.Expression | ast.BinOp | ast.Add | ast.Mult | ast.Div | ast.Name | ast.Load | ast.Constant | ast.Attribute
        ):
            return False
    return True


@pytest.mark.parametrize(
    "text", ["@a.run()", "@a.__class__", "__import__('os')", "lambda: 1", "[1, 2]", "@a[0]", "@a if @b else 1", "a ="]
)
def test_the_small_grammar_refuses(text):
    assert not is_simple(text)


@pytest.mark.parametrize("configs", WORKFLOWS, ids="+".join)
def test_references_point_at_something(bundle, configs):
    laid: dict = {}
    for name in configs:
        laid |= yaml.safe_load(bundle.config(name).read_text())
    for place, value in nodes(laid):
        for reference in re.findall(r"@(\w+(?:::\w+)*)", value) if isinstance(value, str) and value[:1] in "@$" else ():
            here = laid
            for part in reference.split("::"):
                assert part in here, f"{place} refers to {reference}, which is not there"
                here = here[part]


def test_overlays_only_change_what_inference_has_or_use_what_they_add(bundle):
    """A misspelt key of an overlay would be laid over nothing and change nothing."""
    base = yaml.safe_load(bundle.config("inference").read_text())
    for path in config_files(bundle):
        if path.stem in ("inference", "train"):
            continue
        overlay = yaml.safe_load(path.read_text())
        used = {r for _, v in nodes(overlay) if isinstance(v, str) for r in re.findall(r"@(\w+)", v)}
        assert [key for key in overlay if key not in base and key not in used] == [], path.name
