"""Packs: the same bytes every time, twins that stock clients can load, and what may not be packed."""

import hashlib
import json
import os
import zipfile

import pytest
import torch
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file
from toy_zoo import CONFIG, make_bundle

from diffzoo.errors import InputError
from diffzoo.zoo.archive import check_apart, check_path, differences, unpack
from diffzoo.zoo.bundle import CHECKOUT
from diffzoo.zoo.pack import check_content, pack, pack_facts, twins


@pytest.fixture
def root(tmp_path):
    return make_bundle(tmp_path / "source")


def entries(path) -> dict[str, bytes]:
    with zipfile.ZipFile(path) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def test_the_same_content_gives_the_same_bytes(root, tmp_path):
    first = pack(root, tmp_path / "a").read_bytes()
    other = make_bundle(tmp_path / "elsewhere")
    for path in [*other.rglob("*"), other]:
        os.utime(path, (1e9, 1e9))
        path.chmod(0o700)
    (other / "models" / "model.pt").write_bytes(b"an old twin, made again")
    (other / "configs" / "inference.json").write_text("{}")
    assert pack(other, tmp_path / "b").read_bytes() == first
    (other / "LICENSE").write_text("another\n")
    assert pack(other, tmp_path / "b").read_bytes() != first


def test_a_pack_has_one_top_folder_and_a_manifest_of_every_file(root, tmp_path):
    path = pack(root, tmp_path)
    found = entries(path)
    listed = json.loads(found.pop("toy/manifest.json"))
    assert path.name == "toy_v0.1.0.zip" and (listed["name"], listed["version"]) == ("toy", "0.1.0")
    assert {f"toy/{name}" for name in listed["files"]} == set(found)
    for name, facts in listed["files"].items():
        content = found[f"toy/{name}"]
        assert facts == {"sha256": hashlib.sha256(content).hexdigest(), "size": len(content)}
    with zipfile.ZipFile(path) as archive:
        infos = archive.infolist()
    assert [info.filename for info in infos] == sorted(info.filename for info in infos)
    assert {(i.date_time, i.external_attr >> 16, i.compress_type) for i in infos} == {((1980, 1, 1, 0, 0, 0), 0o100644, 0)}


def test_twins_say_what_their_originals_say(root, tmp_path):
    found = twins(root)
    assert json.loads(found["configs/inference.json"]) == yaml.safe_load(CONFIG)
    (tmp_path / "model.pt").write_bytes(found["models/model.pt"])
    state = torch.load(tmp_path / "model.pt", weights_only=True)
    source = load_file(root / "models" / "model.safetensors")
    assert type(state) is dict and state.keys() == source.keys()
    assert state["weight"].dtype == torch.float32 and torch.equal(state["weight"], source["weight"].float())
    assert state["count"].dtype == torch.int64 and state["count"] == 7
    network = torch.nn.Linear(3, 2)
    network.register_buffer("count", torch.tensor(0))
    network.load_state_dict(state, strict=True)


def test_a_pack_unpacks_to_what_was_packed_and_passes_its_own_check(root, tmp_path):
    path = pack(root, tmp_path)
    unpack(path, tmp_path / "there", "toy")
    assert check_content(tmp_path / "there" / "toy")["task"] == "toy" and differences(tmp_path / "there" / "toy") == []
    for original in (p for p in root.rglob("*") if p.is_file()):
        assert (tmp_path / "there" / "toy" / original.relative_to(root)).read_bytes() == original.read_bytes()
    assert pack(tmp_path / "there" / "toy", tmp_path / "again").read_bytes() == path.read_bytes()
    (tmp_path / "there" / "toy" / "LICENSE").write_text("mine")
    (tmp_path / "there" / "toy" / "more.md").write_text("mine")
    (tmp_path / "there" / "toy" / "docs" / "README.md").unlink()
    assert differences(tmp_path / "there" / "toy") == ["more.md was added", "LICENSE was changed", "docs/README.md is missing"]


@pytest.mark.parametrize("name", ["score_mri"])
def test_the_bundles_of_the_zoo_can_be_packed(name, tmp_path):
    path = pack(CHECKOUT / name, tmp_path)
    facts = pack_facts(path, tmp_path / "check")
    assert facts["name"] == name and facts["size"] == path.stat().st_size
    state = torch.load(tmp_path / "check" / name / "models" / "model.pt", weights_only=True)
    assert all(value.dtype == torch.float32 for value in state.values())


@pytest.mark.parametrize(
    ("told", "match"),
    [
        ({"task": None}, "lacks task"),
        ({"headline": " "}, "lacks headline"),
        ({"headline": "two\nlines"}, "one line"),
        ({"headline": "\x1b[2Jred"}, "printable"),
        ({"headline": "x" * 301}, "one line"),
        ({"licenses": {"code": "MIT", "weights": "MIT"}}, r"lacks licenses\.data"),
        ({"licenses": "MIT"}, r"lacks licenses\.code"),
        ({"monai_version": None}, "lacks monai_version"),
        ({"required_packages_version": {}}, r"lacks required_packages_version\.diffzoo"),
        ({"required_packages_version": None}, r"lacks required_packages_version\.diffzoo"),
        ({"version": "0.1"}, "no semantic version"),
        ({"version": "../0.1.0"}, "no semantic version"),
        ({"name": "other"}, "make them equal"),
        ({"name": "../toy"}, "no bundle name"),
        ({"name": 3}, "no bundle name"),
        ({"weights_sha256": "0" * 64}, "weights_sha256"),
    ],
)
def test_metadata_that_lacks_what_an_index_tells_is_refused(told, match, tmp_path):
    with pytest.raises(InputError, match=match):
        pack(make_bundle(tmp_path / "source", told=told), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def _link(root):
    (root / "docs" / "more.md").symlink_to(root / "LICENSE")


@pytest.mark.parametrize(
    ("spoil", "match"),
    [
        (lambda root: (root / "models" / "model.safetensors").unlink(), "no weights yet"),
        (lambda root: (root / "scripts").mkdir() or (root / "scripts" / "x.py").write_text("1"), "no bundle has|program"),
        (lambda root: (root / "models" / "old.pkl").write_bytes(b"1"), "pickle"),
        (lambda root: (root / "configs" / "x.py").write_text("1"), "no code"),
        (_link, "link"),
        (lambda root: (root / "docs" / "a b.md").write_text("1"), "is refused"),
        (lambda root: (root / "configs" / "metadata.yaml").write_text("a: 1\n"), "metadata.json"),
        (lambda root: (root / "configs" / "train.yaml").write_text("a: 2026-01-01\n"), "told in JSON"),
        (lambda root: (root / "configs" / "train.yaml").write_text("1: a\n"), "told in JSON"),
        (lambda root: (root / "configs" / "train.yaml").write_text("a: .nan\n"), "told in JSON"),
        (lambda root: (root / "configs" / "train.yaml").write_text("a: [\n"), "not YAML"),
        (lambda root: (root / "configs" / "metadata.json").write_text("[]"), "no JSON object"),
        (lambda root: (root / "configs" / "metadata.json").unlink(), "cannot be read"),
    ],
)
def test_what_has_no_place_in_a_bundle_is_refused(spoil, match, root, tmp_path):
    spoil(root)
    with pytest.raises(InputError, match=match):
        pack(root, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_leftovers_of_a_training_are_not_packed(root, tmp_path):
    before = pack(root, tmp_path / "a").read_bytes()
    (root / "models" / "checkpoint.pt").write_bytes(b"1")
    assert pack(root, tmp_path / "b").read_bytes() == before


unsafe = [
    "/etc/passwd",
    "../x",
    "a/../x",
    "a//b",
    "./a",
    "a/.",
    "a\\b",
    "C:/x",
    "c:x",
    ".hidden",
    "a/.git/x",
    "con",
    "docs/NUL.txt",
]
unsafe += ["lpt1.md", "", "a/", "a ", "a.", "é", "a\u202eb", "a\0b", "a\nb", "~", "-x", "$x", "x" * 101]
unsafe += ["a:b", "a*", "%2e%2e", "a/" * 101 + "b"]


@pytest.mark.parametrize("path", unsafe)
def test_paths_that_mean_another_place_somewhere_are_refused(path):
    with pytest.raises(InputError, match="unsafe path"):
        check_path(path)


@settings(deadline=None, max_examples=200)
@given(st.text(st.sampled_from("ab./\\:-_ A\0"), max_size=12))
def test_a_path_that_passes_stays_below_its_folder(tmp_path_factory, path):
    try:
        check_path(path)
    except InputError:
        return
    base = tmp_path_factory.getbasetemp()
    assert (base / path).resolve().is_relative_to(base) and os.path.normpath(path) == path


@pytest.mark.parametrize("paths", [["a", "a"], ["a/B", "a/b"], ["a", "a/b"], ["A", "a/b"]])
def test_paths_that_fall_together_are_refused(paths):
    with pytest.raises(InputError):
        check_apart(paths)
    check_apart(["a/b", "a/c", "ab"])
