"""A small zoo for tests: bundles with a few weights, their packs and a signed index, and a server that misbehaves as told."""

import hashlib
import json
import stat
import threading
import zipfile
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import torch
from safetensors.torch import save_file

from diffzoo.zoo.archive import manifest_of, sha256_of
from diffzoo.zoo.index import INDEX, SIGNATURES, new_key, sign, written
from diffzoo.zoo.pack import pack, pack_facts, twins

NAME, VERSION = "toy", "0.1.0"
CONFIG = """# A toy.
bundle_root: .
seed: 0   # of nothing
network_def: {_target_: torch.nn.Linear, in_features: 3, out_features: 2}
"""
DATE = "2026-01-01T00:00:00Z"


def make_bundle(folder: Path, name: str = NAME, version: str = VERSION, seed: int = 0, told: dict | None = None) -> Path:
    """A bundle of the least that a pack needs, in `folder`/`name`; `told` goes into its metadata."""
    root = folder / name
    for part in ("configs", "models", "docs"):
        (root / part).mkdir(parents=True, exist_ok=True)
    tensors = {"weight": torch.randn(2, 3, generator=torch.Generator().manual_seed(seed)).half(), "bias": torch.ones(2).half()}
    save_file(tensors | {"count": torch.tensor(7)}, root / "models" / "model.safetensors", metadata={"format": "pt"})
    metadata = {
        "name": name,
        "version": version,
        "kind": "anomaly",
        "task": "toy",
        "headline": "nothing: 0 dB",
        "monai_version": "1.6.1",
    }
    metadata |= {"licenses": {"code": "MIT", "weights": "MIT", "data": "MIT"}, "required_packages_version": {"diffzoo": "0.1.0"}}
    metadata["weights_sha256"] = sha256_of(root / "models" / "model.safetensors")
    (root / "configs" / "metadata.json").write_text(json.dumps(metadata | (told or {})))
    (root / "configs" / "inference.yaml").write_text(CONFIG)
    (root / "docs" / "README.md").write_text(f"# {name} {version}\n")
    (root / "LICENSE").write_text("MIT\n")
    return root


class Zoo:
    """A folder of packs with its key: `add` a bundle, `publish` the index; `raw` lists a pack as it is, however bad."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "packs"
        self.folder.mkdir(parents=True)
        self.work, self.key = folder, folder / "key.pem"
        self.public = new_key(self.key)
        self.serial, self.packs = 0, []

    def add(self, version: str = VERSION, name: str = NAME, seed: int = 0, told: dict | None = None) -> Path:
        root = make_bundle(self.work / f"{name}-{version}-{seed}", name, version, seed, told)
        path = pack(root, self.folder)
        self.packs.append(pack_facts(path, self.work / f"check-{name}-{version}-{seed}"))
        return path

    def raw(self, path: Path, manifest: bytes, told: dict | None = None) -> None:
        facts = {"name": NAME, "version": VERSION, "task": "toy", "headline": "toy", "min_diffzoo": "0.1.0", "min_monai": "1.6.1"}
        facts |= {"licenses": {"code": "MIT", "weights": "MIT", "data": "MIT"}, "file": path.name}
        facts |= {"size": path.stat().st_size, "sha256": sha256_of(path), "manifest_sha256": hashlib.sha256(manifest).hexdigest()}
        self.packs.append(facts | (told or {}))

    def publish(self, serial: int | None = None, key: Path | None = None) -> Path:
        self.serial = serial or self.serial + 1
        content = written("toys", self.serial, DATE, self.packs)
        (self.folder / INDEX).write_bytes(content)
        (self.folder / SIGNATURES).write_bytes(sign(content, [key or self.key]))
        return self.folder


def pack_entries(root: Path) -> dict[str, bytes]:
    """The files of a good pack of a bundle by path in it, without the manifest."""
    return {p.relative_to(root).as_posix(): p.read_bytes() for p in sorted(root.rglob("*")) if p.is_file()} | twins(root)


def zip_of(path: Path, entries: list[tuple[str | zipfile.ZipInfo, bytes]], method: int = zipfile.ZIP_STORED) -> None:
    """A zip file of these entries, whatever their names."""
    with zipfile.ZipFile(path, "w", method) as archive:
        for name, content in entries:
            archive.writestr(name, content)


def manifest_for(files: dict[str, bytes], name: str = NAME, version: str = VERSION) -> bytes:
    """A manifest that fits files."""
    return manifest_of(name, version, files)


def link(name: str) -> zipfile.ZipInfo:
    """An entry that says that it is a symbolic link."""
    entry = zipfile.ZipInfo(name)
    entry.create_system, entry.external_attr = 3, (stat.S_IFLNK | 0o777) << 16
    return entry


def tree(folder: Path) -> set[str]:
    """Every file below a folder."""
    return {p.relative_to(folder).as_posix() for p in folder.rglob("*") if not p.is_dir()}


class Faulty(BaseHTTPRequestHandler):
    """Serves a folder; server.faults: {"cut": bytes to send before the line drops, for so many "cuts"; "ranges": False;
    "redirect": address; "shift": sends another range; "status": code}."""

    def do_GET(self) -> None:
        faults, asked = self.server.faults, self.headers.get("Range", "")
        self.server.asked.append((self.path, asked))
        path = self.server.folder / self.path.lstrip("/")
        pack = path.suffix == ".zip"
        if "redirect" in faults and (pack or faults.get("all")):
            return self._head(302, {"Location": faults["redirect"] + self.path, "Content-Length": "0"})
        if "status" in faults and pack:
            return self._head(faults["status"], {"Content-Length": "0"})
        if not path.is_file():
            return self._head(404, {"Content-Length": "0"})
        content, start = path.read_bytes(), 0
        if asked and faults.get("ranges", True):
            start = int(asked.removeprefix("bytes=").rstrip("-")) + faults.get("shift", 0)
        end = f"bytes {start}-{len(content) - 1}/{len(content)}"
        headers = {"Content-Length": str(len(content) - start)}
        self._head(206 if start else 200, headers | ({"Content-Range": end} if start else {}))
        if pack and faults.get("cuts", 0) > 0:
            faults["cuts"] -= 1
            self.wfile.write(content[start : start + faults["cut"]])
            self.wfile.flush()
            self.close_connection = True
            return None
        self.wfile.write(content[start:])
        return None

    def _head(self, status: int, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()

    def log_message(self, *arguments) -> None:
        """Says nothing."""


@contextmanager
def running(server: ThreadingHTTPServer):
    """A server that answers in a thread."""
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@contextmanager
def faulty(folder: Path, **faults):
    """A `Faulty` server of a folder on loopback, with .url, .faults and .asked."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), Faulty)
    server.folder, server.faults, server.asked = folder, faults, []
    server.url = f"http://127.0.0.1:{server.server_port}/"
    with running(server):
        yield server
