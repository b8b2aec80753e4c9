"""Levels of trust: where a bundle is from, what the scan refuses, and what a person has said."""

import json
import os
import shutil
import subprocess

import pytest
from attacks import ATTACKS, small_bundle
from toy_zoo import Zoo

from diffzoo.errors import InputError
from diffzoo.zoo import trust
from diffzoo.zoo.bundle import CHECKOUT, Bundle
from diffzoo.zoo.index import new_key
from diffzoo.zoo.keys import OFFICIAL_KEYS, official_keys
from diffzoo.zoo.store import download

SHIPPED = sorted(path.name for path in CHECKOUT.iterdir() if (path / "configs").is_dir())


@pytest.fixture
def local(tmp_path, home):
    """A clean bundle in a folder of its own."""
    return Bundle(small_bundle(tmp_path / "bundle"))


@pytest.fixture
def hostile(local, tmp_path):
    """The same with a config that would run a command."""
    ATTACKS["os.system"].apply(local.root, tmp_path / "canary")
    return local


@pytest.mark.parametrize("name", SHIPPED)
def test_bundles_of_the_checkout_need_no_word(name, home):
    assert trust.check(Bundle(CHECKOUT / name)) in ("official", "local")  # as committed, or being worked on
    assert not home.exists()


@pytest.mark.skipif(shutil.which("git") is None, reason="git tells what is committed")
def test_a_bundle_of_a_checkout_is_official_as_committed_and_local_when_new_or_changed(tmp_path, monkeypatch):
    bundles = tmp_path / "checkout" / "bundles"
    root = small_bundle(bundles / "old")
    git = ["git", "-C", str(bundles), "-c", "user.name=a", "-c", "user.email=a@b.invalid"]
    for words in (["init", "-q"], ["add", "."], ["commit", "-q", "-m", "one"]):
        subprocess.run([*git, *words], check=True)
    monkeypatch.setattr(trust, "CHECKOUT", bundles)
    assert trust.level_of(root) == "official"
    assert trust.level_of(small_bundle(bundles / "new")) == "local"
    subprocess.run([*git, "add", "."], check=True)
    assert trust.level_of(bundles / "new") == "local"  # not yet committed
    (root / "LICENSE").write_text("another")
    assert trust.level_of(root) == "local"
    subprocess.run([*git, "checkout", "-q", "."], check=True)
    (root / "configs" / "more.yaml").write_text("a: 1")
    assert trust.level_of(root) == "local"
    shutil.rmtree(bundles / ".git")
    assert trust.level_of(root) == "local"  # nothing tells what was committed


def test_a_folder_is_local(local):
    assert trust.check(local) == "local"


def test_an_installed_bundle_is_what_its_index_is_until_it_is_changed(home, tmp_path):
    zoo = Zoo(tmp_path / "zoo")
    zoo.add()
    zoo.publish()
    root = download("toy", zoo.folder, home, keys=[zoo.public])
    assert trust.level_of(root) == "trusted"
    assert trust.level_of(shutil.copytree(root, tmp_path / "toy")) == "local"  # the same content elsewhere
    (root / "docs" / "README.md").write_text("changed")
    assert trust.level_of(root) == "local"


def test_a_link_in_the_home_is_judged_by_where_it_leads(local, home):
    (home / "bundles").mkdir(parents=True)
    (home / "bundles" / "linked").symlink_to(local.root)
    assert trust.level_of(home / "bundles" / "linked") == "local"


def test_what_the_scan_refuses_is_an_error_that_tells_how_to_look_and_to_go_on(hostile, tmp_path):
    with pytest.raises(InputError, match=r"is refused: configs/inference.yaml, evil::_target_: .*os\.system") as caught:
        trust.check(hostile)
    assert f"diffzoo scan {hostile.root}" in str(caught.value) and "--trust" in str(caught.value)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "canary").exists()


def test_a_long_list_is_counted(hostile):
    (hostile.root / "docs" / "x.py").write_text("")
    (hostile.root / "docs" / "y.py").write_text("")
    with pytest.raises(InputError, match=r"\(and 1 more\)"):
        trust.check(hostile)


def test_trust_is_remembered_for_this_content_alone(hostile, home):
    assert trust.check(hostile, trust=True) == "unsafe"
    assert trust.check(hostile) == "unsafe"
    config = hostile.root / "configs" / "inference.yaml"
    config.write_text(config.read_text() + "more: 1\n")
    with pytest.raises(InputError, match="--trust"):
        trust.check(hostile)
    (noted,) = json.loads((home / "trust.json").read_text())["trusted"].values()
    assert "os.system" in noted["reason"]


def test_a_clean_bundle_needs_no_word_and_leaves_none(local, home):
    assert trust.check(local, trust=True) == "local"
    assert not home.exists()


def test_decisions_add_up_and_are_for_their_owner_alone(home):
    trust.remember(home, "a" * 64, "one")
    trust.remember(home, "b" * 64, "two")
    assert [trust.trusted(home, letter * 64) for letter in "abc"] == [True, True, False]
    assert [path.name for path in home.iterdir()] == ["trust.json"]
    assert os.stat(home / "trust.json").st_mode & 0o077 == 0


@pytest.mark.parametrize("text", ["{", "[]", '{"trusted": []}', '{"trusted": {"a": 1}}', "\xff"])
def test_a_broken_file_of_decisions_is_told_and_trusts_nothing(text, hostile, home):
    home.mkdir(parents=True)
    (home / "trust.json").write_text(text, encoding="latin-1")
    with pytest.raises(InputError, match=r"trust.json cannot be read"):
        trust.check(hostile)


def test_a_failed_write_keeps_the_old_file(home, monkeypatch):
    trust.remember(home, "a" * 64, "one")
    monkeypatch.setattr(os, "replace", lambda *paths: (_ for _ in ()).throw(OSError("full")))
    with pytest.raises(OSError, match="full"):
        trust.remember(home, "b" * 64, "two")
    assert [path.name for path in home.iterdir()] == ["trust.json"]
    assert trust.trusted(home, "a" * 64) and not trust.trusted(home, "b" * 64)


def test_the_hash_tells_every_change_of_content_and_no_other(tmp_path):
    root = small_bundle(tmp_path / "one")
    before = trust.content_hash(root)
    shutil.copytree(root, tmp_path / "two")
    assert trust.content_hash(tmp_path / "two") == before
    (root / "models" / "checkpoint.pt").write_bytes(b"x")
    (root / "models" / "model.part").write_bytes(b"x")
    (root / "models" / "train_log.jsonl").write_text("x")
    (root / "configs" / "__pycache__").mkdir()
    (root / "configs" / "__pycache__" / "x.pyc").write_bytes(b"x")
    assert trust.content_hash(root) == before


def _renamed(root):
    (root / "docs" / "README.md").rename(root / "docs" / "readme2.md")


def _swapped(root):
    """Two files exchange their content."""
    one, two = root / "docs" / "README.md", root / "docs" / "data_license.txt"
    a, b = one.read_bytes(), two.read_bytes()
    one.write_bytes(b)
    two.write_bytes(a)


def _linked(root):
    (root / "docs" / "README.md").unlink()
    (root / "docs" / "README.md").symlink_to("data_license.txt")


CHANGES = {
    "byte": lambda root: (root / "configs" / "train.yaml").open("a").write(" "),
    "weights": lambda root: (root / "models" / "model.safetensors").write_bytes(b"x"),
    "new": lambda root: (root / "docs" / "more.md").write_text(""),
    "gone": lambda root: (root / "LICENSE").unlink(),
    "pickle": lambda root: (root / "models" / "model.pt").write_bytes(b"x"),
    "log elsewhere": lambda root: (root / "train_log.jsonl").write_bytes(b"x"),
    "renamed": _renamed,
    "swapped": _swapped,
    "linked": _linked,
}


@pytest.mark.parametrize("name", CHANGES)
def test_a_change_of_content_changes_the_hash(name, tmp_path):
    root = small_bundle(tmp_path / "bundle")
    before = trust.content_hash(root)
    CHANGES[name](root)
    assert trust.content_hash(root) != before


def test_levels_are_told_in_words():
    assert set(trust.LEVELS) == {"official", "trusted", "community", "local", "unsafe"}


def test_a_session_refuses_what_the_scan_refuses_and_runs_it_on_a_persons_word(copy):
    from diffzoo.zoo.session import Session

    config = copy.root / "configs" / "inference.yaml"
    config.write_text(config.read_text() + "\nmore: {_target_: os.system, command: 'true'}\n")
    with pytest.raises(InputError, match=r"copied is refused: .*os\.system.*--trust"):
        Session(copy)
    assert Session(copy, trust=True).trust == "unsafe" and Session(copy).trust == "unsafe"
    config.write_text(config.read_text() + "\nother: 1\n")
    with pytest.raises(InputError, match="refused"):
        Session(copy)


def test_settings_take_no_expressions(copy):
    for text in ("$__import__('os')", "@network_def", "%other.json::id"):
        with pytest.raises(InputError, match="plain value"):
            copy.settings([f"mask={text}"])


def test_the_file_of_official_keys_is_read_line_by_line(tmp_path):
    one, two = "a1" * 32, "0f" * 32
    (tmp_path / "keys.txt").write_text(f"# ours\n\n{one}  # A. Keeper, since 2026\n  {two}\n#{one}\n")
    assert official_keys(tmp_path / "keys.txt") == (one, two)
    (tmp_path / "none.txt").write_text("# none yet\n")
    assert official_keys(tmp_path / "none.txt") == ()


@pytest.mark.parametrize("text", ["a1" * 31, "A1" * 32, "a1" * 33, "xy" * 32, "a1" * 32 + " " + "a1" * 32, "ssh-ed25519 AAAA"])
def test_a_line_that_is_no_key_makes_nothing_official(text, tmp_path):
    (tmp_path / "keys.txt").write_text(f"{'b2' * 32}\n{text}\n")
    with pytest.raises(InputError, match=r"keys.txt: .* is no public key"):
        official_keys(tmp_path / "keys.txt")
    with pytest.raises(InputError, match="cannot be read"):
        official_keys(tmp_path / "absent.txt")


def test_the_shipped_file_holds_public_keys_alone():
    assert all(len(key) == 64 for key in official_keys())
    assert "PRIVATE" not in OFFICIAL_KEYS.read_text()


def test_an_index_is_official_when_a_key_of_the_file_signed_it_alone(home, tmp_path, monkeypatch):
    ours, theirs = Zoo(tmp_path / "ours"), Zoo(tmp_path / "theirs")
    (tmp_path / "keys.txt").write_text(f"{ours.public}  # ours\n")
    monkeypatch.setattr("diffzoo.zoo.keys.OFFICIAL_KEYS", tmp_path / "keys.txt")
    for zoo, level in ((ours, "official"), (theirs, "community")):
        zoo.add()
        zoo.publish()
        root = download("toy", zoo.folder, home / level, keys=())
        assert trust.level_of(root) == level
    assert trust.level_of(download("toy", theirs.folder, home / "named", keys=[theirs.public])) == "trusted"
    assert trust.level_of(download("toy", ours.folder, home / "keeper", keys=[theirs.public])) == "official"


def test_the_tool_says_whether_its_signature_is_official(tmp_path, monkeypatch, capsys):
    monkeypatch.syspath_prepend(str(CHECKOUT.parent / "tools"))
    import build_index

    zoo = Zoo(tmp_path)
    zoo.add()
    monkeypatch.setenv("DIFFZOO_INDEX_KEYS", new_key(tmp_path / "another"))  # whom this person trusts makes no difference
    for keys, level in (("# none yet", "community"), (zoo.public, "official")):
        (tmp_path / "keys.txt").write_text(keys)
        monkeypatch.setattr("diffzoo.zoo.keys.OFFICIAL_KEYS", tmp_path / "keys.txt")
        assert build_index.main([str(zoo.folder), "--key", str(zoo.key)]) == 0
        assert capsys.readouterr().out.strip().endswith(f"1 versions, {level}")
