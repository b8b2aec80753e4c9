"""The index: what is believed, what is refused, and how one is made."""

import json
import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from toy_zoo import DATE, Zoo

from diffzoo.errors import InputError
from diffzoo.zoo.index import INDEX, SIGNATURES, new_key, read_index, sign, trusted_keys, written

ROOT = Path(__file__).resolve().parents[2]
FACTS = {"name": "toy", "version": "0.1.0", "task": "toy", "headline": "toy", "min_diffzoo": "0.1.0", "min_monai": "1.6.1"}
FACTS |= {"licenses": {"code": "MIT", "weights": "MIT", "data": "MIT"}, "file": "toy_v0.1.0.zip", "size": 10}
FACTS |= {"sha256": "a" * 64, "manifest_sha256": "b" * 64}


def content(**changed) -> bytes:
    return written("toys", 3, DATE, [FACTS | changed])


@pytest.fixture
def keys(tmp_path):
    """Two private key files and their public keys."""
    return {name: (tmp_path / name, new_key(tmp_path / name)) for name in ("one", "two")}


def test_the_level_tells_who_signed(keys, monkeypatch):
    (one, public), (two, other) = keys["one"], keys["two"]
    monkeypatch.delenv("DIFFZOO_INDEX_KEYS", raising=False)
    assert read_index(content(), sign(content(), [one])).level == "community"
    assert read_index(content(), sign(content(), [one]), [public]).level == "trusted"
    with pytest.raises(InputError, match=f"signed by {public[:16]}..., whom DIFFZOO_INDEX_KEYS does not name"):
        read_index(content(), sign(content(), [one]), [other])
    both = read_index(content(), sign(content(), [one, two]), [other])
    assert both.level == "trusted" and both.signers == tuple(sorted([public, other]))
    assert read_index(content(), None, [public], unsigned=True).level == "local"
    for nothing in (None, b""):
        with pytest.raises(InputError, match="not signed"):
            read_index(content(), nothing, [public])


def test_keys_come_from_the_variable_as_digits_or_files(keys, monkeypatch, tmp_path):
    (tmp_path / "keys.txt").write_text(f"# ours\n{keys['one'][1]}  # since 2026\n\n")
    monkeypatch.setenv("DIFFZOO_INDEX_KEYS", os.pathsep.join([str(tmp_path / "keys.txt"), keys["two"][1]]))
    assert set(trusted_keys()) == {keys["one"][1], keys["two"][1]}
    assert read_index(content(), sign(content(), [keys["one"][0]])).level == "trusted"
    (tmp_path / "keys.txt").write_text("abc\n")
    for wrong in (str(tmp_path / "keys.txt"), str(tmp_path / "none"), "abc"):
        monkeypatch.setenv("DIFFZOO_INDEX_KEYS", wrong)
        with pytest.raises(InputError):
            trusted_keys()


@settings(deadline=None, max_examples=60)
@given(st.integers(0, 10**6), st.integers(1, 255))
def test_no_changed_byte_passes(tmp_path_factory, place, flip):
    folder = tmp_path_factory.getbasetemp()
    if not (folder / "key").exists():
        new_key(folder / "key")
    good = content()
    signatures = sign(good, [folder / "key"])
    bad = bytearray(good)
    bad[place % len(bad)] ^= flip
    with pytest.raises(InputError, match="signature of the index"):
        read_index(bytes(bad), signatures)
    torn = bytearray(signatures)
    torn[place % len(torn)] ^= flip
    with pytest.raises(InputError):
        found = read_index(good, bytes(torn))
        # a flip can end the line early or turn it into another key's good signature only by breaking ed25519
        raise AssertionError(found.signers)


def test_one_wrong_signature_beside_a_good_one_is_refused(keys):
    good, other = sign(content(), [keys["one"][0]]), sign(content(size=11), [keys["two"][0]])
    with pytest.raises(InputError, match="is wrong"):
        read_index(content(), good + other, [keys["one"][1]])
    with pytest.raises(InputError, match="not a list of ed25519"):
        read_index(content(), b"nonsense", [])


def _told(**changes):
    return json.loads(content()) | changes


@pytest.mark.parametrize(
    "told",
    [
        [],
        "x",
        3,
        {},
        _told(schema=2),
        _told(serial=0),
        _told(serial=True),
        _told(serial=2**60),
        _told(serial="3"),
        _told(date="yesterday"),
        _told(zoo="../zoo"),
        _told(more=1),
        _told(bundles=[]),
        _told(bundles={"toy": {}}),
        _told(bundles={"toy": {"0.1.0": None}}),
        _told(bundles={"toy": {"0.1.0": {}}}),
        _told(bundles={"../toy": {"0.1.0": FACTS}}),
        _told(bundles={"toy": {"../0.1.0": FACTS}}),
        *[_told(bundles={"toy": {"0.1.0": FACTS | changed}}) for changed in (
            {"file": "../../toy_v0.1.0.zip"}, {"file": "http://other/toy_v0.1.0.zip"}, {"file": "toy_v0.2.0.zip"}, {"file": None},
            {"size": -1}, {"size": 1.5}, {"size": True}, {"size": 2**40}, {"size": "10"}, {"sha256": "x"}, {"sha256": None},
            {"manifest_sha256": "B" * 64}, {"task": "a\nb"}, {"headline": "\x1b[31mred"}, {"licenses": {}}, {"licenses": 3},
            {"min_diffzoo": None},
        )],
    ],
)  # fmt: skip
def test_a_signed_index_of_another_form_is_refused(told, keys):
    text = json.dumps(told).encode()
    with pytest.raises(InputError) as caught:
        read_index(text, sign(text, [keys["one"][0]]), [keys["one"][1]])
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("text", [b"", b"{", b"\xff", b"[" * 100000])
def test_what_is_no_json_is_refused(text, keys):
    with pytest.raises(InputError, match="cannot be read"):
        read_index(text, sign(text, [keys["one"][0]]), [])


def test_the_newest_version_that_runs_here_is_chosen():
    told = [FACTS | {"version": v, "file": f"toy_v{v}.zip", "min_diffzoo": need} for v, need in
            [("0.9.0", "0.1.0"), ("0.10.0", "0.1.0"), ("0.11.0", "99.0"), ("1.0.0-rc.1", "0.1.0")]]  # fmt: skip
    index = read_index(written("toys", 1, DATE, told), None, [], unsigned=True)
    assert index.choose("toy").version == "0.10.0" and index.choose("toy", "1.0.0-rc.1").version == "1.0.0-rc.1"
    with pytest.raises(InputError, match=r"needs diffzoo 99\.0"):
        index.choose("toy", "0.11.0")
    with pytest.raises(InputError, match=r"it has 0\.9\.0, 0\.10\.0, 0\.11\.0, 1\.0\.0-rc\.1"):
        index.choose("toy", "0.2.0")
    with pytest.raises(InputError, match="did you mean toy"):
        index.choose("toi")
    newer = read_index(written("toys", 1, DATE, [FACTS | {"min_monai": "99.0"}]), None, [], unsigned=True)
    with pytest.raises(InputError, match=r"needs monai 99\.0"):
        newer.choose("toy")


def test_a_key_is_for_its_owner_and_never_overwritten(tmp_path):
    public = new_key(tmp_path / "key")
    assert stat.S_IMODE((tmp_path / "key").stat().st_mode) == 0o600 and len(public) == 64
    before = (tmp_path / "key").read_bytes()
    with pytest.raises(InputError, match="no new key"):
        new_key(tmp_path / "key")
    assert (tmp_path / "key").read_bytes() == before
    for bad in (tmp_path / "none", tmp_path / "bad"):
        (tmp_path / "bad").write_text("no key")
        with pytest.raises(InputError, match="no private key"):
            sign(b"x", [bad])


def build(*arguments) -> subprocess.CompletedProcess:
    command = [sys.executable, ROOT / "tools" / "build_index.py", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True)


def test_the_tool_makes_a_key_and_an_index_that_is_believed(tmp_path):
    zoo = Zoo(tmp_path)
    zoo.add()
    made = build("--new-key", tmp_path / "mine", zoo.folder, "--key", tmp_path / "mine", "--zoo", "ours")
    assert made.returncode == 0, made.stderr
    public = made.stdout.splitlines()[0]
    index = read_index((zoo.folder / INDEX).read_bytes(), (zoo.folder / SIGNATURES).read_bytes(), [public])
    assert (index.level, index.zoo, index.serial) == ("trusted", "ours", 1)
    entry = index.choose("toy")
    assert entry.size == (zoo.folder / entry.file).stat().st_size and entry.licenses["data"] == "MIT"


@pytest.fixture
def tool(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "tools"))
    import build_index

    return build_index


def test_the_serial_rises_and_published_content_stays(tool, tmp_path, capsys):
    zoo = Zoo(tmp_path)
    first = zoo.add().read_bytes()
    arguments = [str(zoo.folder), "--key", str(zoo.key)]
    assert tool.main(arguments) == 0
    zoo.add("0.2.0")
    assert tool.main(arguments) == 0 and "serial 2, 1 bundles, 2 versions" in capsys.readouterr().out
    zoo.add(seed=1)
    assert tool.main(arguments) == 2 and "changed content needs a new version" in capsys.readouterr().err
    (zoo.folder / "toy_v0.1.0.zip").write_bytes(first)
    assert tool.main([*arguments, "--zoo", "other"]) == 2 and "is named diffzoo" in capsys.readouterr().err
    assert tool.main([str(zoo.folder)]) == 2 and "must be signed" in capsys.readouterr().err
    (zoo.folder / "toy_v0.1.0.zip").rename(zoo.folder / "toy_v0.3.0.zip")
    assert tool.main(arguments) == 2 and "must be named toy_v0.1.0.zip" in capsys.readouterr().err
    (zoo.folder / "toy_v0.3.0.zip").write_bytes(first[:-100])
    assert tool.main(arguments) == 2 and "not a whole zip" in capsys.readouterr().err
    assert read_index((zoo.folder / INDEX).read_bytes(), (zoo.folder / SIGNATURES).read_bytes()).serial == 2
    assert tool.main([str(tmp_path / "nothing"), "--key", str(zoo.key)]) == 2
