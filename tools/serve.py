"""Serves a folder of packs and their index over HTTP, to diffzoo and to clients of the Hugging Face Hub.

python tools/serve.py FOLDER [--port 8000] [--host 127.0.0.1]

diffzoo download NAME --index http://127.0.0.1:8000/
python -m monai.bundle download --name NAME --url http://127.0.0.1:8000/NAME_vVERSION.zip
HF_ENDPOINT=http://127.0.0.1:8000 python -m monai.bundle download --name NAME --version VERSION \\
    --source huggingface_hub --repo diffzoo/NAME

Only packs, index.json, its signature, index.html and wheels of diffzoo are served, by name: no request becomes a path of disk.
There is no encryption: put a web server with TLS in front of it where others can listen. Signatures and hashes protect what is
installed either way.
"""

import argparse
import hashlib
import json
import re
import sys
import zipfile
from collections.abc import Sequence
from contextlib import closing
from functools import lru_cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import IO
from urllib.parse import unquote, urlsplit

from diffzoo.errors import InputError
from diffzoo.zoo.archive import BLOCK, MANIFEST, parse_manifest, sha256_of
from diffzoo.zoo.index import INDEX, SIGNATURES
from diffzoo.zoo.versions import NAME, is_version, newest, order

OWNER = r"[\w.-]{1,96}"
API = re.compile(rf"/api/models/{OWNER}/([\w.-]+)(?:/(refs|revision/([^/]+)|tree/([^/]+)))?/?")
RESOLVE = re.compile(rf"/{OWNER}/([\w.-]+)/resolve/([^/]+)/(.+)")
PACK = re.compile(rf"({NAME.pattern})_v(.+)\.zip")
WHEEL = re.compile(r"diffzoo-[0-9A-Za-z.+]+-py3-none-any\.whl")
PAGE = "index.html"
DATE = "1980-01-01T00:00:00.000Z"  # clients ask for one; packs have none


def packs(folder: Path) -> dict[str, dict[str, Path]]:
    """Packs of a folder by name and version, oldest version first."""
    by_name: dict[str, dict[str, Path]] = {}
    for path in sorted(folder.glob("*.zip")):
        match = PACK.fullmatch(path.name)
        if match and is_version(match[2]) and path.is_file():
            by_name.setdefault(match[1], {})[match[2]] = path
    return {name: {version: by_name[name][version] for version in sorted(by_name[name], key=order)} for name in by_name}


def commit(path: Path) -> str:
    """Forty hexadecimal digits that stand for the content of a pack, as those of a commit would."""
    return _digest(path, path.stat().st_mtime_ns)[:40]


@lru_cache(maxsize=1024)
def _digest(path: Path, changed: int) -> str:
    return sha256_of(path)


def contents(path: Path) -> dict[str, dict]:
    """Files of a pack by their path in the bundle: {"sha256", "size"}, the manifest among them."""
    top = PACK.fullmatch(path.name)[1]
    with zipfile.ZipFile(path) as archive:
        listing = archive.read(f"{top}/{MANIFEST}")
    own = {"sha256": hashlib.sha256(listing).hexdigest(), "size": len(listing)}
    return {**parse_manifest(listing)["files"], MANIFEST: own}


class Handler(BaseHTTPRequestHandler):
    """Answers GET and HEAD for one folder."""

    protocol_version = "HTTP/1.1"
    server_version = "diffzoo"
    timeout = 60

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        try:
            self._answer()
        except ConnectionError:
            self.close_connection = True  # the client has gone
        except (InputError, zipfile.BadZipFile, KeyError) as error:
            self.log_error("a pack cannot be read: %s", error)
            self._head(500, 0, {})

    def _answer(self) -> None:
        path = unquote(urlsplit(self.path).path)
        folder = self.server.folder
        there = packs(folder)
        files = {pack.name: pack for versions in there.values() for pack in versions.values()}
        files |= {name: folder / name for name in (INDEX, SIGNATURES) if (folder / name).is_file()}
        if path == "/" and "text/html" in self.headers.get("Accept", "") and (folder / PAGE).is_file():
            path = f"/{PAGE}"  # for a browser
        if path == "/":
            return self._json({"packs": sorted(files)})
        more = {
            file.name: file for file in (folder / PAGE, *folder.glob("*.whl")) if file.name == PAGE or WHEEL.fullmatch(file.name)
        }
        if (file := (files | more).get(path[1:])) and file.is_file():
            return self._file(file)
        if match := API.fullmatch(path):
            return self._api(there.get(match[1]), match)
        if match := RESOLVE.fullmatch(path):
            return self._resolve(there.get(match[1]), match)
        return self._missing("EntryNotFound")

    def _api(self, versions: dict[str, Path] | None, match: re.Match) -> None:
        """Repository information, its references, or its tree of files."""
        if versions is None:
            return self._missing("RepoNotFound")
        if match[2] == "refs":
            last = newest(versions)  # monai.bundle takes the last tag for the latest version, so that must be a release
            main = {"name": "main", "ref": "refs/heads/main", "targetCommit": commit(versions[last])}
            names = [version for version in versions if version != last] + [last]
            tags = [{"name": v, "ref": f"refs/tags/{v}", "targetCommit": commit(versions[v])} for v in names]
            return self._json({"branches": [main], "converts": [], "tags": tags, "pullRequests": []})
        pack = _revision(versions, match[3] or match[4] or "main")
        if pack is None:
            return self._missing("RevisionNotFound")
        files = contents(pack)
        if match[4]:
            return self._json([{"type": "file", "path": p, "size": f["size"], "oid": f["sha256"][:40]} for p, f in files.items()])
        facts = {"id": f"diffzoo/{match[1]}", "modelId": f"diffzoo/{match[1]}", "sha": commit(pack), "private": False}
        facts |= {"tags": [], "downloads": 0, "likes": 0, "lastModified": DATE, "createdAt": DATE, "gated": False}
        return self._json(facts | {"disabled": False, "siblings": [{"rfilename": path} for path in files]})

    def _resolve(self, versions: dict[str, Path] | None, match: re.Match) -> None:
        """One file of a revision."""
        pack = _revision(versions, match[2]) if versions else None
        if pack is None:
            return self._missing("RevisionNotFound" if versions else "RepoNotFound")
        facts = contents(pack).get(match[3])
        if facts is None:
            return self._missing("EntryNotFound")
        with zipfile.ZipFile(pack) as archive, archive.open(f"{match[1]}/{match[3]}") as stream:
            self._stream(stream, facts["size"], facts["sha256"], {"X-Repo-Commit": commit(pack)})

    def _file(self, path: Path) -> None:
        kind = {"Content-Type": "text/html; charset=utf-8"} if path.name == PAGE else {}
        with closing(open(path, "rb")) as stream:
            self._stream(stream, path.stat().st_size, _digest(path, path.stat().st_mtime_ns), kind)

    def _stream(self, stream: IO[bytes], size: int, etag: str, headers: dict[str, str]) -> None:
        """Sends a file, or the one range of it that is asked for."""
        part = _range(self.headers.get("Range", ""), size)
        first, last = part or (0, size - 1)
        if part and first > last:
            return self._head(416, 0, {"Content-Range": f"bytes */{size}"})
        headers = {"ETag": f'"{etag}"', "Accept-Ranges": "bytes", "Content-Type": "application/octet-stream", **headers}
        if part:
            headers["Content-Range"] = f"bytes {first}-{last}/{size}"
        self._head(206 if part else 200, last - first + 1, headers)
        stream.seek(first)
        left = last - first + 1 if self.command == "GET" else 0
        while left and (block := stream.read(min(BLOCK, left))):
            self.wfile.write(block)
            left -= len(block)

    def _json(self, value: dict | list) -> None:
        content = json.dumps(value).encode()
        self._head(200, len(content), {"Content-Type": "application/json"})
        if self.command == "GET":
            self.wfile.write(content)

    def _missing(self, code: str) -> None:
        self._head(404, 0, {"X-Error-Code": code})

    def _head(self, status: int, length: int, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in {**headers, "Content-Length": str(length), "X-Content-Type-Options": "nosniff"}.items():
            self.send_header(name, value)
        self.end_headers()

    def log_message(self, format: str, *args) -> None:
        if self.server.verbose:
            super().log_message(format, *args)


def _revision(versions: dict[str, Path], wanted: str) -> Path | None:
    """The pack of a version, of "main" (the newest) or of a commit."""
    if wanted == "main":
        return versions[newest(versions)]
    return versions.get(wanted) or next((pack for pack in versions.values() if commit(pack) == wanted), None)


def _range(asked: str, size: int) -> tuple[int, int] | None:
    """First and last byte of a Range header with one range, first > last where it holds nothing; None for any other header."""
    match = re.fullmatch(r"bytes=([0-9]{0,15})-([0-9]{0,15})", asked.strip())
    if match is None or not (match[1] or match[2]):
        return None
    if not match[1]:
        return max(0, size - int(match[2])), size - 1
    return int(match[1]), min(int(match[2] or size), size - 1)


class Server(ThreadingHTTPServer):
    """A server of one folder; port 0 takes a free one."""

    daemon_threads = True

    def __init__(self, folder: str | Path, host: str = "127.0.0.1", port: int = 0, verbose: bool = False) -> None:
        self.folder, self.verbose = Path(folder).resolve(), verbose
        super().__init__((host, port), Handler)

    @property
    def url(self) -> str:
        """Its address, ending in "/"."""
        return f"http://{self.server_address[0]}:{self.server_address[1]}/"


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="the folder with packs and index.json")
    parser.add_argument("--port", type=int, default=8000)
    parser.add_argument("--host", default="127.0.0.1", help="0.0.0.0 serves to other machines")
    options = parser.parse_args(arguments)
    if not options.folder.is_dir():
        print(f"error: {options.folder} is no folder: make packs there with `diffzoo pack`", file=sys.stderr)
        return 2
    with Server(options.folder, options.host, options.port, verbose=True) as server:
        print(f"serving {server.folder} at {server.url} (Ctrl-C ends it)", flush=True)
        try:
            server.serve_forever()
        except KeyboardInterrupt:
            return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
