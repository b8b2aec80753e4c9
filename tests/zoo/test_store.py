"""Bundles fetched, installed side by side, removed and carried in a kit; what breaks on the way leaves nothing half."""

import hashlib
import json
import os
import subprocess
import sys
import threading

import pytest
from filelock import FileLock
from toy_zoo import NAME, VERSION, Zoo, faulty, make_bundle, tree

from diffzoo.errors import InputError
from diffzoo.zoo import store, transfer
from diffzoo.zoo.index import INDEX, SIGNATURES, new_key
from diffzoo.zoo.kit import export_kit, import_kit
from diffzoo.zoo.store import download, provenance, published, remove, trust_level
from diffzoo.zoo.versions import versions_at

BLOCK = 700  # so that a toy pack comes in several


@pytest.fixture(autouse=True)
def quick(monkeypatch, tmp_path):
    monkeypatch.setattr(transfer, "PAUSE", 0.0)
    monkeypatch.setattr(transfer, "BLOCK", BLOCK)
    monkeypatch.setenv("no_proxy", "127.0.0.1,localhost")
    monkeypatch.delenv("DIFFZOO_INDEX_KEYS", raising=False)


@pytest.fixture
def zoo(tmp_path):
    """A published zoo with one version of one bundle."""
    made = Zoo(tmp_path / "zoo")
    made.add()
    made.publish()
    return made


@pytest.fixture
def home(tmp_path):
    return tmp_path / "home"


def pack_of(zoo):
    return zoo.folder / "toy_v0.1.0.zip"


def nothing_installed(home):
    """No bundle, half or whole, nothing on its way."""
    left = tree(home) if home.exists() else set()
    return not [path for path in left if path.startswith(("bundles", "downloads", "incoming"))]


@pytest.mark.parametrize("way", ["folder", "file", "path of the index", "http", "http of the index"])
def test_a_bundle_comes_from_a_folder_or_a_server(way, zoo, home):
    with faulty(zoo.folder) as server:
        address = {"folder": zoo.folder, "file": zoo.folder.as_uri(), "path of the index": str(zoo.folder / INDEX)}
        address |= {"http": server.url.rstrip("/"), "http of the index": server.url + INDEX}
        said = []
        root = download("toy", address[way], home, keys=[zoo.public], say=said.append)
    assert root == home / "bundles" / "toy" / "0.1.0" / "toy" and (root / "models" / "model.safetensors").is_file()
    assert store.differences(root) == [] and trust_level(root) == "trusted"
    assert provenance(root)["pack_sha256"] == hashlib.sha256(pack_of(zoo).read_bytes()).hexdigest()
    assert zoo.public in said[0] and "remembered, another signer will be refused" in said.pop(0)
    assert said[0].startswith("toy 0.1.0, ") and "trusted" in said[0] and said[-1] == f"installed {root}"
    assert not [path for path in tree(home) if path.startswith(("downloads", "incoming"))]


def test_an_installed_version_is_not_fetched_again(zoo, home):
    root = download("toy==0.1.0", zoo.folder, home)
    for path in zoo.folder.iterdir():
        path.unlink()
    assert download("toy==0.1.0", zoo.folder, home) == root == download("toy==0.1.0", None, home)
    (root / "LICENSE").write_text("mine")
    assert trust_level(root) == "local"
    with pytest.raises(InputError, match="not as it was installed"):
        download("toy==0.1.0", None, home)


def test_versions_stand_side_by_side_and_the_newest_is_taken(zoo, home):
    for version in ("0.9.0", "0.10.0", "0.11.0-rc.1"):
        zoo.add(version, seed=1)
    zoo.publish()
    download("toy==0.9.0", zoo.folder, home)
    assert download("toy", zoo.folder, home).parent.name == "0.10.0"
    assert list(versions_at(home / "bundles" / "toy")) == ["0.9.0", "0.10.0"]
    assert download("toy", "https://example.org/", home, offline=True).parent.name == "0.10.0"
    assert remove("toy==0.9.0", home) == ["0.9.0"] and list(versions_at(home / "bundles" / "toy")) == ["0.10.0"]
    with pytest.raises(InputError, match=r"toy 0\.9\.0 is not installed; 0\.10\.0 is"):
        remove("toy==0.9.0", home)
    assert remove("toy", home) == ["0.10.0"] and not (home / "bundles" / "toy").exists() and nothing_installed(home)
    for name in ("toy", "none"):
        with pytest.raises(InputError, match="was installed"):
            remove(name, home)


def test_offline_takes_a_folder_but_no_server(zoo, home):
    with pytest.raises(InputError, match="--offline forbids"):
        download("toy", "http://127.0.0.1:9/", home, offline=True)
    with pytest.raises(InputError, match="no index is named"):
        download("toy", None, home)
    assert download("toy", zoo.folder, home, offline=True).is_dir()


def test_a_bundle_put_there_by_hand_is_left_alone(zoo, home):
    make_bundle(home / "bundles")
    before = tree(home / "bundles")
    with pytest.raises(InputError, match="by hand"):
        download("toy", zoo.folder, home)
    with pytest.raises(InputError, match="was installed"):
        remove("toy", home)
    assert tree(home / "bundles") == before


def test_the_check_sees_the_bundle_before_it_is_in_its_place_and_may_refuse_it(zoo, home):
    seen = []

    def check(root):
        seen.append((root.name, (root / "configs" / "inference.yaml").is_file(), (home / "bundles").exists()))
        raise InputError("the scan refuses it")

    with pytest.raises(InputError, match="the scan refuses it"):
        download("toy", zoo.folder, home, check=check)
    assert seen == [("toy", True, False)] and nothing_installed(home)


def test_a_broken_transfer_goes_on_where_it_broke_off(zoo, home):
    with faulty(zoo.folder, cuts=2, cut=1000) as server:
        root = download("toy", server.url, home)
        ranges = [asked for path, asked in server.asked if path.endswith(".zip")]
    assert ranges == ["", "bytes=1000-", "bytes=2000-"] and store.differences(root) == []


def test_a_transfer_that_breaks_for_good_is_resumed_by_the_next_call(zoo, home):
    with faulty(zoo.folder, cuts=3, cut=1000) as server:
        with pytest.raises(InputError, match=r"broke off at 3000 of \d+ bytes .*same command again"):
            download("toy", server.url, home)
        part = next((home / "downloads").iterdir())
        assert part.read_bytes() == pack_of(zoo).read_bytes()[:3000] and not (home / "bundles").exists()
        said = []
        root = download("toy", server.url, home, say=said.append)
    assert server.asked[-1][1] == "bytes=3000-" and any("going on at" in line for line in said)
    assert store.differences(root) == [] and list((home / "downloads").iterdir()) == []


def test_a_server_that_ignores_ranges_is_asked_from_the_start(zoo, home):
    with faulty(zoo.folder, cuts=1, cut=1000, ranges=False) as server:
        root = download("toy", server.url, home)
        ranges = [asked for path, asked in server.asked if path.endswith(".zip")]
    assert ranges == ["", "bytes=1000-"] and store.differences(root) == []


def test_a_server_that_sends_another_range_is_refused(zoo, home):
    with faulty(zoo.folder, cuts=1, cut=1000, shift=7) as server, pytest.raises(InputError, match="another part of the file"):
        download("toy", server.url, home)
    assert not (home / "bundles").exists()


@pytest.mark.parametrize("stale", [b"not the beginning of it", b"x" * 10**6])
def test_a_stale_part_is_no_obstacle(stale, zoo, home):
    (home / "downloads").mkdir(parents=True)
    digest = hashlib.sha256(pack_of(zoo).read_bytes()).hexdigest()
    (home / "downloads" / f"toy_v0.1.0.zip.{digest[:16]}.part").write_bytes(stale)
    with faulty(zoo.folder) as server:
        assert store.differences(download("toy", server.url, home)) == []


@pytest.mark.parametrize("status", [403, 404, 500])
def test_a_server_that_refuses_is_named_in_one_line(status, zoo, home):
    with faulty(zoo.folder, status=status) as server, pytest.raises(InputError, match=str(status)) as caught:
        download("toy", server.url, home)
    assert "\n" not in str(caught.value) and nothing_installed(home)


def test_an_unreachable_place_is_told_in_one_line(home, tmp_path):
    for address in ("http://127.0.0.1:9/", tmp_path / "nowhere", "file:///nowhere/at/all/"):
        with pytest.raises(InputError, match=r"cannot be reached|there is no index\.json"):
            download("toy", address, home)
    for address in ("ftp://x/", "http://", "file://host/x", "http://me:secret@host/", "http://host/?x", "data:,x", "http://[x/"):
        with pytest.raises(InputError) as caught:
            download("toy", address, home)
        assert "secret" not in str(caught.value)
    assert nothing_installed(home)


def test_a_failing_proxy_is_named_without_its_password(home, monkeypatch):
    monkeypatch.setenv("http_proxy", "http://user:secret@127.0.0.1:9")
    monkeypatch.delenv("no_proxy", raising=False)
    with pytest.raises(InputError, match=r"through the proxy 127\.0\.0\.1:9 .*check the proxy") as told:
        published("http://zoo.invalid/", home)
    assert "secret" not in str(told.value)
    monkeypatch.setenv("no_proxy", "zoo.invalid")
    with pytest.raises(InputError, match="cannot be reached") as told:
        published("http://zoo.invalid/", home)
    assert "proxy" not in str(told.value)


def test_a_full_disk_leaves_nothing(zoo, home, monkeypatch):
    def full(*arguments):
        raise OSError(28, "No space left on device")

    for module, name in ((store.transfer, "_append"), (store, "unpack"), (store.os, "rename")):
        with monkeypatch.context() as patch, pytest.raises(InputError, match=r"No space left on device.*make room"):
            patch.setattr(module, name, full)
            download("toy", zoo.folder, home)
        assert [path for path in tree(home) if path.startswith(("bundles", "incoming"))] == []
    with monkeypatch.context() as patch, pytest.raises(InputError, match="MiB are needed"):
        patch.setattr("shutil.disk_usage", lambda place: type("Usage", (), {"free": 1000}))
        download("toy", zoo.folder, home)
    assert download("toy", zoo.folder, home).is_dir()


def test_a_home_that_cannot_be_made_is_told_in_one_line(zoo, tmp_path):
    (tmp_path / "file").write_text("x")
    with pytest.raises(InputError, match="DIFFZOO_HOME"):
        download("toy", zoo.folder, tmp_path / "file" / "home")


KILLED = """
import os, sys
from diffzoo.zoo import store
if sys.argv[3] == "checked":
    store.download("toy", sys.argv[1], sys.argv[2], check=lambda root: os._exit(9))
store.settle = lambda *arguments: os._exit(9)
store.download("toy", sys.argv[1], sys.argv[2])
"""


def test_a_killed_installation_leaves_nothing_half(zoo, home):
    answer = subprocess.run([sys.executable, "-c", KILLED, str(zoo.folder), str(home), "checked"], capture_output=True)
    assert answer.returncode == 9, answer.stderr
    assert tree(home / "incoming") and not (home / "bundles").exists()
    root = download("toy", zoo.folder, home)
    assert store.differences(root) == [] and not (home / "incoming").exists()


def test_two_at_once_install_one_bundle(zoo, home):
    zoo.add("0.2.0", name="other")
    zoo.publish()
    wanted, found = ["toy", "toy", "other", "toy"], []
    threads = [threading.Thread(target=lambda w=w: found.append(download(w, zoo.folder, home))) for w in wanted]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(root.name for root in found) == sorted(wanted) and len(set(found)) == 2
    assert all(store.differences(root) == [] for root in found)


def test_a_home_that_another_holds_is_waited_for_and_then_given_up(zoo, home, monkeypatch):
    monkeypatch.setattr(store, "PATIENCE", 0.05)
    home.mkdir()
    held, said = FileLock(home / ".lock", is_singleton=False), []
    done = threading.Event(), threading.Event()

    def hold():
        with held:
            done[0].set()
            done[1].wait(10)

    thread = threading.Thread(target=hold)
    thread.start()
    done[0].wait(10)
    with pytest.raises(InputError, match="another diffzoo"), store.locked(home, said.append):
        pass
    done[1].set()
    thread.join()
    assert said and download("toy", zoo.folder, home).is_dir()


def test_a_rolled_back_index_is_refused_at_every_address(zoo, home, tmp_path):
    old = {name: (zoo.folder / name).read_bytes() for name in (INDEX, SIGNATURES)}
    zoo.add("0.2.0")
    zoo.publish()
    assert published(zoo.folder, home).serial == 2
    mirror = tmp_path / "mirror"
    mirror.mkdir()
    for folder in (zoo.folder, mirror):
        for name in old:
            (folder / name).write_bytes(old[name])
        with pytest.raises(InputError, match="serial 1, 2 was seen: rolled back"):
            download("toy", folder, home)
    assert nothing_installed(home)
    zoo.publish(serial=3)
    assert download("toy", zoo.folder, home).parent.name == "0.2.0"
    zoo.packs.pop()
    zoo.publish(serial=3)
    with pytest.raises(InputError, match="rolled back"):
        published(zoo.folder, home)


def test_an_address_keeps_its_signer(zoo, home, tmp_path):
    published(zoo.folder, home)
    other = new_key(tmp_path / "other")
    zoo.publish(key=tmp_path / "other")
    with pytest.raises(InputError, match="was signed by"):
        download("toy", zoo.folder, home)
    (zoo.folder / SIGNATURES).unlink()
    with pytest.raises(InputError, match="not signed"):
        download("toy", zoo.folder, home)
    with pytest.raises(InputError, match="was signed by"):
        download("toy", zoo.folder, home, unsigned=True)
    assert nothing_installed(home)
    zoo.publish(key=tmp_path / "other")
    assert trust_level(download("toy", zoo.folder, home, keys=[other])) == "trusted"


def test_an_unsigned_index_is_taken_only_when_asked_for(zoo, home):
    (zoo.folder / SIGNATURES).unlink()
    with pytest.raises(InputError, match="not signed"):
        download("toy", zoo.folder, home)
    assert nothing_installed(home) and trust_level(download("toy", zoo.folder, home, unsigned=True)) == "local"


def test_other_content_under_an_installed_version_is_refused(zoo, home):
    download("toy", zoo.folder, home)
    zoo.packs.clear()
    zoo.add(seed=5)
    zoo.publish()
    with pytest.raises(InputError, match=r"another toy 0\.1\.0 than is installed"):
        download("toy", zoo.folder, home)


def test_a_kit_carries_bundles_and_trust_to_another_machine(zoo, home, tmp_path):
    zoo.add("0.2.0", seed=1)
    zoo.add("1.0.0", name="other")
    zoo.publish()
    for wanted in ("toy==0.1.0", "toy", "other"):
        download(wanted, zoo.folder, home, keys=[zoo.public])
    kit = export_kit(None, tmp_path / "kit.zip", home)
    assert export_kit(None, tmp_path / "again.zip", home).read_bytes() == kit.read_bytes()
    there = tmp_path / "there"
    roots = import_kit(kit, there, keys=[zoo.public])
    assert [f"{root.name} {root.parent.name}" for root in roots] == ["other 1.0.0", "toy 0.1.0", "toy 0.2.0"]
    bundles = {path for path in tree(home) if path.startswith("bundles") and not path.endswith("record.json")}
    assert bundles == {path for path in tree(there) if path.startswith("bundles") and not path.endswith("record.json")}
    assert all((home / path).read_bytes() == (there / path).read_bytes() for path in bundles)
    assert {trust_level(root) for root in roots} == {"trusted"}
    said = []
    assert import_kit(kit, there, say=said.append) == roots and said[0] == "other 1.0.0 is installed already"
    assert export_kit(None, tmp_path / "third.zip", there).read_bytes() == kit.read_bytes()
    small = export_kit(["toy"], tmp_path / "small.zip", home)
    assert [root.parent.name for root in import_kit(small, tmp_path / "fourth")] == ["0.2.0"]


def test_what_cannot_be_vouched_for_is_not_exported(zoo, home, tmp_path):
    with pytest.raises(InputError, match="no bundle is installed"):
        export_kit(None, tmp_path / "kit.zip", home)
    root = download("toy", zoo.folder, home)
    for wanted, match in (("none", "no bundle"), ("toy==9.0.0", "not installed"), ("../toy", "no bundle name")):
        with pytest.raises(InputError, match=match):
            export_kit([wanted], tmp_path / "kit.zip", home)
    before = (root / "LICENSE").read_bytes()
    (root / "LICENSE").write_text("mine")
    with pytest.raises(InputError, match="LICENSE was changed"):
        export_kit(["toy"], tmp_path / "kit.zip", home)
    (root / "LICENSE").write_bytes(before)
    zoo.packs.clear()
    zoo.add("0.2.0")
    published(zoo.publish(), home)
    with pytest.raises(InputError, match="no longer in the newest index"):
        export_kit(["toy"], tmp_path / "kit.zip", home)
    assert not (tmp_path / "kit.zip").exists()


def test_one_bad_bundle_in_a_kit_keeps_all_out(zoo, home, tmp_path):
    zoo.add("1.0.0", name="other")
    zoo.publish()
    for name in (NAME, "other"):
        download(name, zoo.folder, home)
    kit = export_kit(None, tmp_path / "kit.zip", home)

    def refuse(root):
        if root.name == NAME:
            raise InputError("the scan refuses it")

    with pytest.raises(InputError, match="the scan refuses it"):
        import_kit(kit, tmp_path / "there", check=refuse)
    assert tree(tmp_path / "there") <= {".lock"}
    published(zoo.publish(serial=9), tmp_path / "there")
    with pytest.raises(InputError, match="rolled back"):
        import_kit(kit, tmp_path / "there")
    assert nothing_installed(tmp_path / "there")


def test_the_record_and_the_environment_name_places(zoo, home, monkeypatch):
    monkeypatch.setenv("DIFFZOO_HOME", str(home))
    monkeypatch.setenv("DIFFZOO_INDEX_KEYS", zoo.public)
    root = download(f"{NAME}=={VERSION}", zoo.folder)
    record = json.loads((root.parent / "record.json").read_text())
    assert os.fspath(root).startswith(str(home)) and record["level"] == "trusted" and record["signers"] == [zoo.public]
    assert provenance(zoo.folder) is None
