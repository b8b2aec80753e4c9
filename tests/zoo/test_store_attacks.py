"""Packs, indexes and servers made to do harm: each is refused in one line, and nothing is left of it."""

import io
import json
import pickle
import struct
import zipfile
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from toy_zoo import NAME, VERSION, Zoo, faulty, link, make_bundle, manifest_for, pack_entries, tree, zip_of

from diffzoo.errors import InputError
from diffzoo.zoo import archive, transfer
from diffzoo.zoo.archive import sha256_of
from diffzoo.zoo.index import INDEX, SIGNATURES, new_key
from diffzoo.zoo.kit import export_kit, import_kit
from diffzoo.zoo.store import download

FILE = f"{NAME}_v{VERSION}.zip"


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr(transfer, "PAUSE", 0.0)
    monkeypatch.setenv("no_proxy", "127.0.0.1,localhost")
    monkeypatch.delenv("DIFFZOO_INDEX_KEYS", raising=False)


class Attack:
    """The files of a good pack, to be spoiled, and a refusal that must leave nothing behind."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.files = pack_entries(make_bundle(folder / "source"))
        self.zoo = Zoo(folder / "zoo")
        self.canary = folder / "canary"
        self.path = self.zoo.folder / FILE

    def write(self, entries=None, manifest=None, top=NAME) -> None:
        """Writes the pack: its files and manifest, or other entries, signed as if all were well."""
        manifest = manifest_for(self.files) if manifest is None else manifest
        good = [(f"{top}/{name}", content) for name, content in [*self.files.items(), ("manifest.json", manifest)]]
        zip_of(self.path, good if entries is None else [*good, *entries])
        self.zoo.raw(self.path, manifest)
        self.zoo.publish()

    def refused(self, match: str, address=None, name: str = NAME, **options) -> None:
        before = tree(self.folder)
        with pytest.raises(InputError, match=match) as caught:
            download(name, address or self.zoo.folder, self.folder / "home", **options)
        assert "\n" not in str(caught.value) and len(str(caught.value)) < 500
        left = {path for path in tree(self.folder) - before if not path.startswith(("home/indexes", "home/.lock"))}
        assert not left and not self.canary.exists()

    def reread(self) -> None:
        """Lists the pack again as it is now, after its bytes were changed by hand."""
        self.zoo.packs[-1] |= {"size": self.path.stat().st_size, "sha256": sha256_of(self.path)}
        self.zoo.publish()


@pytest.fixture
def attack(tmp_path):
    return Attack(tmp_path)


def test_the_pack_that_is_spoiled_below_is_a_good_one(attack):
    attack.write()
    assert download(NAME, attack.zoo.folder, attack.folder / "home").is_dir()


# names of entries, listed in the manifest or not

NAMES = ["../canary", "toy/../../canary", "/canary", "toy//canary", "toy/./canary", "..\\canary", "toy\\..\\..\\canary"]
NAMES += [
    "C:\\canary",
    "C:/canary",
    "toy/C:canary",
    "toy/docs/canary:stream",
    "toy/docs/..",
    "toy/docs/.hidden",
    "toy/docs/nul.md",
]
NAMES += ["toy/docs/canary. ", "toy/docs/e\u0301.md", "toy/docs/\u202egnp.md", "\uff0e\uff0e/canary", "toy/docs/a\nb.md"]
NAMES += ["file:///canary", "~/canary", "toy/docs/" + "x" * 300, "toy/" + "x/" * 120 + "y"]


@pytest.mark.parametrize("name", NAMES)
def test_a_name_that_leads_elsewhere(name, attack):
    attack.write([(name, b"harm")])
    attack.refused("unsafe path")


@pytest.mark.parametrize("name", ["../../canary", "/canary", "docs\\canary", "docs/.canary", "docs/con", "C:canary"])
def test_a_manifest_that_leads_elsewhere(name, attack):
    attack.write([], manifest_for(attack.files | {name: b"harm"}))
    attack.refused("unsafe path")


def test_a_name_with_a_zero_byte(attack):
    attack.write([("toy/docs/canary.md", b"harm")])
    attack.path.write_bytes(attack.path.read_bytes().replace(b"canary.md", b"canary\0md"))
    attack.reread()
    attack.refused("unsafe path")


def test_a_link(attack):
    attack.write([(link("toy/docs/canary.md"), b"../../../canary")])
    attack.refused("no plain file")


def test_a_link_that_replaces_a_file_of_the_manifest(attack):
    text = attack.files.pop("docs/README.md")
    attack.write([(link("toy/docs/README.md"), text)], manifest_for(attack.files | {"docs/README.md": text}))
    attack.refused("no plain file")


@pytest.mark.parametrize("kind", [0o010000, 0o020000, 0o060000, 0o140000, 0o040000])
def test_a_pipe_a_device_a_socket_and_a_folder(kind, attack):
    entry = zipfile.ZipInfo("toy/docs/canary.md")
    entry.create_system, entry.external_attr = 3, (kind | 0o666) << 16
    attack.write([(entry, b"")])
    attack.refused("no plain file")


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_two_files_of_one_name(attack):
    attack.write([("toy/configs/inference.yaml", b"_target_: os.system\n")])
    attack.refused("is there twice")


@pytest.mark.parametrize("name", ["toy/configs/INFERENCE.yaml", "toy/license", "TOY/LICENSE"])
def test_names_that_differ_by_case_alone(name, attack):
    attack.write([(name, b"harm")])
    attack.refused("where case does not count")


def test_a_file_below_a_file(attack):
    attack.write([("toy/LICENSE/canary", b"harm")])
    attack.refused("below a file")


# sizes


@pytest.mark.parametrize("method", [zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_a_bomb(method, attack):
    attack.files["docs/canary.txt"] = bytes(8 * 2**20)
    manifest = manifest_for(attack.files)
    files = [(f"toy/{name}", content) for name, content in [*attack.files.items(), ("manifest.json", manifest)]]
    zip_of(attack.path, files, method)
    attack.zoo.raw(attack.path, manifest)
    attack.zoo.publish()
    attack.refused("bomb" if method == zipfile.ZIP_DEFLATED else "compressed in a way")


def test_more_than_may_be_unpacked_in_all(attack, monkeypatch):
    monkeypatch.setattr(archive, "MOST_BYTES", 1000)
    attack.write()
    attack.refused("would unpack to")


def test_too_many_files(attack):
    attack.write([(f"toy/docs/{n}.md", b"") for n in range(1000)])
    attack.refused("more than 1000")


def test_a_file_that_is_larger_than_it_says(attack):
    attack.write()
    content = bytearray(attack.path.read_bytes())
    for start, place in ((b"PK\1\2", 24), (b"PK\3\4", 22)):  # the uncompressed size, of the last entry
        at = content.rindex(start)
        size = struct.unpack_from("<I", content, at + place)[0]
        struct.pack_into("<I", content, at + place, size - 1)
    attack.path.write_bytes(content)
    attack.reread()
    attack.refused("damaged|not a whole zip|size of|is refused")


def test_a_manifest_that_is_too_long(attack):
    attack.write([], b" " * (2**20 + 1))
    attack.refused("sensible size")


# content


def test_a_file_that_no_manifest_lists(attack):
    attack.write([("toy/docs/canary.md", b"harm")])
    attack.refused("'docs/canary.md' is not in its manifest")


def test_a_file_that_the_manifest_lists_and_is_not_there(attack):
    manifest = manifest_for(attack.files)
    del attack.files["configs/inference.yaml"]
    attack.write(manifest=manifest)
    attack.refused("lists 'configs/inference.yaml', which is not there")


@pytest.mark.parametrize(
    ("other", "match"), [(b"MIX\n", "the sha256 of 'toy/LICENSE'"), (b"longer than it was\n", "the size of 'LICENSE'")]
)
def test_a_file_that_the_manifest_describes_otherwise(other, match, attack):
    manifest = manifest_for(attack.files)
    attack.files["LICENSE"] = other
    attack.write(manifest=manifest)
    attack.refused(match)


def listing(number: int, digest: str, size: int) -> bytes:
    """A manifest of one file."""
    files = {"LICENSE": {"sha256": digest, "size": size}}
    return json.dumps({"manifest": number, "name": NAME, "version": VERSION, "files": files}).encode()


MANIFESTS = [b"", b"[]", b"{", b"null", b"[" * 10**5, b'{"manifest": 1}', listing(2, "0" * 64, 4), listing(1, "0", 4)]
MANIFESTS += [listing(1, "0" * 64, -1), manifest_for({})]


@pytest.mark.parametrize("manifest", MANIFESTS)
def test_a_manifest_of_another_form(manifest, attack):
    attack.write(manifest=manifest)
    attack.refused("manifest.json")


def test_no_manifest(attack):
    zip_of(attack.path, [(f"toy/{name}", content) for name, content in attack.files.items()])
    attack.zoo.raw(attack.path, b"")
    attack.zoo.publish()
    attack.refused("has no manifest")


@pytest.mark.parametrize("top", ["other", "toy2", "configs"])
def test_another_top_folder(top, attack):
    attack.write(top=top)
    attack.refused("not in the one top folder toy/")


def test_a_second_top_folder(attack):
    attack.write([("other/canary.md", b"harm")])
    attack.refused("not in the one top folder toy/")


@pytest.mark.parametrize(("name", "version"), [("other", VERSION), (NAME, "0.2.0"), ("../toy", VERSION), (NAME, "../0.1.0")])
def test_a_pack_that_is_another_by_its_own_account(name, version, attack):
    attack.write(manifest=manifest_for(attack.files, name, version))
    attack.refused("by its own account|no bundle name|no semantic version")


@pytest.mark.parametrize(
    ("key", "value"), [("name", "other"), ("version", "0.2.0"), ("name", "../toy"), ("weights_sha256", "0" * 64)]
)
def test_metadata_that_tells_of_another_bundle(key, value, attack):
    told = json.loads(attack.files["configs/metadata.json"]) | {key: value}
    attack.files["configs/metadata.json"] = json.dumps(told).encode()
    attack.write()
    attack.refused("by its own account|no bundle name|weights_sha256")


class Harm:
    """What a pickle would do on loading."""

    def __init__(self, path: Path) -> None:
        self.path = str(path)

    def __reduce__(self):
        return open, (self.path, "w")


def saved(value) -> bytes:
    buffer = io.BytesIO()
    torch.save(value, buffer)
    return buffer.getvalue()


def _twice(good: bytes) -> bytes:
    buffer = io.BytesIO(good)
    with zipfile.ZipFile(buffer, "a") as inner, pytest.warns(UserWarning, match="Duplicate"):
        inner.writestr("archive/data.pkl", b"harm")
    return buffer.getvalue()


def _deflated(good: bytes) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(good)) as old, zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as new:
        for name in old.namelist():
            new.writestr(name, old.read(name))
    return buffer.getvalue()


MODELS = {
    "a pickle that runs code": lambda good, path: saved(Harm(path)),
    "one below a state dict": lambda good, path: saved({"weight": torch.ones(2, 3), "bias": Harm(path)}),
    "a bare pickle": lambda good, path: pickle.dumps(Harm(path)),
    "a whole module": lambda good, path: saved(torch.nn.Linear(3, 2)),
    "other tensors": lambda good, path: saved({"weight": torch.ones(2, 3), "bias": torch.ones(2), "count": torch.tensor(7)}),
    "more tensors": lambda good, path: saved(torch.load(io.BytesIO(good)) | {"more": torch.ones(1)}),
    "another kind of number": lambda good, path: saved({k: v.double() for k, v in torch.load(io.BytesIO(good)).items()}),
    "no tensors": lambda good, path: saved([1, 2]),
    "an old format": lambda good, path: b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19.",
    "two pickles of one name": lambda good, path: _twice(good),
    "a compressed one": lambda good, path: _deflated(good),
    "nothing": lambda good, path: b"",
}


@pytest.mark.parametrize("make", MODELS.values(), ids=MODELS)
def test_a_model_that_is_not_the_plain_tensors_of_the_weights(make, attack):
    attack.files["models/model.pt"] = make(attack.files["models/model.pt"], attack.canary)
    attack.write()
    attack.refused("models/model.pt is refused")


@pytest.mark.parametrize(
    "name", ["models/canary.pt", "models/x.pkl", "scripts/x.py", "configs/x.py", "docs/x.sh", "models/x.bin", "x.so"]
)
def test_code_and_pickles(name, attack):
    attack.files[name] = pickle.dumps(Harm(attack.canary))
    attack.write()
    attack.refused("is refused")


def test_weights_that_are_a_pickle(attack):
    content = pickle.dumps(Harm(attack.canary))
    attack.files["models/model.safetensors"] = content
    told = json.loads(attack.files["configs/metadata.json"])
    (attack.folder / "w").write_bytes(content)
    attack.files["configs/metadata.json"] = json.dumps(told | {"weights_sha256": sha256_of(attack.folder / "w")}).encode()
    attack.write()
    attack.refused("safetensors")


def test_a_twin_that_says_something_else(attack):
    attack.files["configs/inference.json"] = b'{"network_def": {"_target_": "os.system", "command": "touch canary"}}'
    attack.write()
    attack.refused("does not say what configs/inference.yaml says")


@pytest.mark.parametrize("place", [0, 26, 30, -1, -2, -6, -22])
def test_a_pack_with_a_changed_byte_that_the_index_lists(place, attack):
    attack.write()
    content = bytearray(attack.path.read_bytes())
    content[place] ^= 0xFF
    attack.path.write_bytes(content)
    attack.reread()
    attack.refused(FILE.replace(".", r"\."))


@settings(deadline=None, max_examples=40)
@given(st.data())
def test_no_damaged_pack_is_installed_as_something_else(tmp_path_factory, data):
    attack = Attack(tmp_path_factory.mktemp("damaged"))
    attack.write()
    content = bytearray(attack.path.read_bytes())
    for _ in range(data.draw(st.integers(1, 3))):
        content[data.draw(st.integers(0, len(content) - 1))] ^= data.draw(st.integers(1, 255))
    attack.path.write_bytes(content[: data.draw(st.integers(len(content) // 2, len(content)))])
    attack.reread()
    try:
        root = download(NAME, attack.zoo.folder, attack.folder / "home")
    except InputError as error:
        assert "\n" not in str(error) and not (attack.folder / "home" / "bundles").exists()
    else:
        assert {path: (root / path).read_bytes() for path in attack.files} == attack.files


def test_an_encrypted_file(attack):
    attack.write()
    content = bytearray(attack.path.read_bytes())
    for start, place in ((b"PK\1\2", 8), (b"PK\3\4", 6)):
        content[content.rindex(start) + place] |= 1
    attack.path.write_bytes(content)
    attack.reread()
    attack.refused("is encrypted")


@pytest.mark.parametrize("before", [b"#!/bin/sh\ntouch canary\n", b""])
def test_something_before_or_after_the_zip(before, attack):
    attack.write()
    attack.path.write_bytes(before + attack.path.read_bytes() + (b"" if before else b"harm"))
    attack.reread()
    attack.refused("not a whole zip file")


# what lies between the index and the pack


def spoil(attack, change) -> None:
    attack.zoo.add()
    attack.zoo.publish()
    attack.path.write_bytes(change(attack.path.read_bytes()))


@pytest.mark.parametrize(
    ("change", "match"),
    [
        (lambda good: good[:-1] + bytes([good[-1] ^ 1]), "has not the sha256"),
        (lambda good: bytes([good[0] ^ 1]) + good[1:], "has not the sha256"),
        (lambda good: good + b"x", "is longer than the"),
        (lambda good: b"x" * len(good), "has not the sha256"),
    ],
)
@pytest.mark.parametrize("remote", [False, True])
def test_a_pack_that_is_not_the_one_of_the_index(change, match, remote, attack):
    spoil(attack, change)
    with faulty(attack.zoo.folder) as server:
        attack.refused(match, server.url if remote else None)


def test_a_truncated_pack(attack):
    spoil(attack, lambda good: good[: len(good) // 2])
    with pytest.raises(InputError, match="broke off at"):
        download(NAME, attack.zoo.folder, attack.folder / "home")
    assert not (attack.folder / "home" / "bundles").exists()


def test_a_pack_that_is_missing(attack):
    spoil(attack, lambda good: good)
    attack.path.unlink()
    attack.refused("is not there, though the index lists it")


def test_an_index_that_was_changed(attack):
    attack.write()
    path = attack.zoo.folder / INDEX
    path.write_text(path.read_text().replace('"size": ', '"size": 1'))
    attack.refused("signature of the index .* is wrong")
    attack.refused("signature of the index .* is wrong", unsigned=True)


def test_an_index_with_the_signature_of_another(attack):
    attack.write()
    other = Zoo(attack.folder / "other")
    other.add()
    other.publish()
    (attack.zoo.folder / SIGNATURES).write_bytes((other.folder / SIGNATURES).read_bytes())
    attack.refused("signature of the index .* is wrong")


def test_a_signature_by_a_key_that_claims_to_be_a_known_one(attack):
    attack.write()
    new_key(attack.folder / "mine")
    attack.zoo.publish(key=attack.folder / "mine")
    line = (attack.zoo.folder / SIGNATURES).read_text()
    (attack.zoo.folder / SIGNATURES).write_text(f"{attack.zoo.public} {line.split()[1]}\n")
    attack.refused("signature of the index .* is wrong", keys=[attack.zoo.public])


def test_an_index_that_is_endless(attack, monkeypatch):
    attack.write()
    monkeypatch.setattr("diffzoo.zoo.store.MOST_INDEX", 100)
    with faulty(attack.zoo.folder) as server:
        attack.refused("is longer than 100 bytes", server.url)


@pytest.mark.parametrize("all_of_it", [False, True])
def test_a_redirect_to_another_host(all_of_it, attack):
    attack.zoo.add()
    attack.zoo.publish()
    with faulty(attack.zoo.folder) as other:
        for host in (other.url, other.url.replace("127.0.0.1", "localhost"), "http://example.org"):
            with faulty(attack.zoo.folder, redirect=host.rstrip("/"), all=all_of_it) as server:
                attack.refused("redirects to another host", server.url)
        assert other.asked == []


@pytest.mark.parametrize("target", ["ftp://127.0.0.1/x", "file:///etc/hostname?", "data:,x", "http://127.0.0.1:99999"])
def test_a_redirect_to_another_kind_of_place(target, attack):
    attack.zoo.add()
    attack.zoo.publish()
    with faulty(attack.zoo.folder, redirect=target) as server, pytest.raises(InputError) as caught:
        download(NAME, server.url, attack.folder / "home")
    assert "\n" not in str(caught.value) and not (attack.folder / "home" / "bundles").exists()


def test_a_redirect_from_https_to_http():
    handler, old = transfer._SameHost(), transfer.urllib.request.Request("https://zoo.example/toy.zip")
    for target in ("http://zoo.example/toy.zip", "http://zoo.example:443/toy.zip"):
        with pytest.raises(InputError, match="from https to http"):
            handler.redirect_request(old, None, 302, "Found", {}, target)
    assert handler.redirect_request(old, None, 302, "Found", {}, "https://zoo.example/b.zip").full_url.endswith("b.zip")
    plain = transfer.urllib.request.Request("http://zoo.example/toy.zip")
    assert handler.redirect_request(plain, None, 302, "Found", {}, "https://zoo.example/b.zip").full_url.startswith("https")


def test_a_redirect_within_the_host_is_followed(attack):
    attack.zoo.add()
    attack.zoo.publish()
    (attack.folder / "moved").mkdir()
    (attack.folder / "moved" / "away").symlink_to(attack.zoo.folder)
    for name in (INDEX, SIGNATURES):
        (attack.folder / "moved" / name).write_bytes((attack.zoo.folder / name).read_bytes())
    with faulty(attack.folder / "moved") as server:
        first = server.RequestHandlerClass.do_GET

        class Moved(server.RequestHandlerClass):
            def do_GET(self):
                if self.path == f"/{FILE}":
                    return self._head(302, {"Location": f"/away/{FILE}", "Content-Length": "0"})
                return first(self)

        server.RequestHandlerClass = Moved
        assert download(NAME, server.url, attack.folder / "home").is_dir()


@pytest.mark.parametrize(
    "name", ["../toy", "/toy", "toy/..", "toy==../0.1.0", "TOY", "toy\\x", "", "toy==0.1.0/x", "http://x/toy"]
)
def test_a_wish_with_path_parts(name, attack):
    attack.write()
    attack.refused("no bundle name|no semantic version", name=name)


# kits


def kit_of(attack) -> Path:
    attack.zoo.add()
    attack.zoo.publish()
    download(NAME, attack.zoo.folder, attack.folder / "source-home")
    return export_kit(None, attack.folder / "kit.zip", attack.folder / "source-home")


def rezipped(kit: Path, change) -> None:
    with zipfile.ZipFile(kit) as old:
        files = {name: old.read(name) for name in old.namelist()}
    change(files)
    zip_of(kit, list(files.items()))


PACKED = f"packs/{FILE}"
KITS = {
    "a name that leads elsewhere": (lambda files: files.update({"../canary": b"harm"}), "unsafe path"),
    "a file of another place": (lambda files: files.update({"canary.md": b"harm"}), "'canary.md' is in it"),
    "no mark of a kit": (lambda files: files.pop("kit.json"), "is no kit"),
    "no index": (lambda files: [files.pop(name) for name in [*files] if name.startswith("indexes")], "holds no index"),
    "no signature": (lambda files: files.pop(f"indexes/0/{SIGNATURES}"), "not signed"),
    "a signature without an index": (lambda files: files.pop(f"indexes/0/{INDEX}"), "without an index"),
    "a changed index": (lambda files: files.update({f"indexes/0/{INDEX}": files[f"indexes/0/{INDEX}"] + b" "}), "is wrong"),
    "a pack that is cut off": (lambda files: files.update({PACKED: files[PACKED][:-9]}), "not a whole zip"),
    "a pack of another name": (lambda files: files.update({"packs/a_v0.1.0.zip": files.pop(PACKED)}), "no index of the kit"),
    "no pack": (lambda files: files.pop(PACKED), "holds no bundle"),
}  # fmt: skip


@pytest.mark.parametrize(("change", "match"), KITS.values(), ids=KITS)
def test_a_kit_that_was_changed(change, match, attack):
    kit = kit_of(attack)
    rezipped(kit, change)
    before = tree(attack.folder)
    with pytest.raises(InputError, match=match) as caught:
        import_kit(kit, attack.folder / "home")
    assert "\n" not in str(caught.value) and tree(attack.folder) - before <= {"home/.lock"}


def test_a_kit_with_a_pack_of_other_content(attack):
    kit = kit_of(attack)
    attack.files["docs/README.md"] = b"harm"
    attack.write()
    rezipped(kit, lambda files: files.update({PACKED: attack.path.read_bytes()}))
    with pytest.raises(InputError, match="no index of the kit vouches"):
        import_kit(kit, attack.folder / "home")
    assert tree(attack.folder / "home") <= {".lock"}


@pytest.mark.parametrize("content", [None, b"", b"no zip", b"PK\5\6" + bytes(18)])
def test_what_is_no_kit(content, attack):
    if content is not None:
        (attack.folder / "kit.zip").write_bytes(content)
    with pytest.raises(InputError):
        import_kit(attack.folder / "kit.zip", attack.folder / "home")
