"""The small server: diffzoo and stock clients fetch from it, and it gives away nothing but packs."""

import http.client
import json
import subprocess
import sys
from pathlib import Path

import pytest
from toy_zoo import Zoo, running

from diffzoo.zoo import transfer
from diffzoo.zoo.archive import differences
from diffzoo.zoo.index import INDEX
from diffzoo.zoo.store import download

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tools"))

import serve  # noqa: E402

FILE = "toy_v0.10.0.zip"


@pytest.fixture(scope="module")
def zoo(tmp_path_factory):
    """Three versions of a bundle, and files that are nobody's business."""
    made = Zoo(tmp_path_factory.mktemp("zoo"))
    for seed, version in enumerate(("0.9.0", "0.10.0", "0.11.0-rc.1")):
        made.add(version, seed=seed)
    made.publish()
    (made.folder / "secret.txt").write_text("secret")
    (made.folder / "notes_v1.zip").write_text("secret")
    (made.folder / "broken_v0.1.0.zip").write_text("no zip")
    return made


@pytest.fixture(scope="module")
def server(zoo):
    with running(serve.Server(zoo.folder)) as made:
        yield made


def ask(server, path: str, method: str = "GET", **headers) -> tuple[http.client.HTTPResponse, bytes]:
    connection = http.client.HTTPConnection(*server.server_address[:2], timeout=10)
    try:
        connection.request(method, path, headers=headers)
        answer = connection.getresponse()
        return answer, answer.read()
    finally:
        connection.close()


def told(server, path: str):
    answer, content = ask(server, path)
    assert answer.status == 200, (path, answer.status)
    return json.loads(content)


def test_packs_and_the_index_are_served_whole(server, zoo):
    for name in (FILE, INDEX, "index.json.sig"):
        answer, content = ask(server, f"/{name}")
        assert answer.status == 200 and content == (zoo.folder / name).read_bytes()
        head, nothing = ask(server, f"/{name}", "HEAD")
        assert nothing == b"" and head.headers["Content-Length"] == str(len(content)) and head.headers["Accept-Ranges"] == "bytes"
    assert told(server, "/")["packs"] == sorted(["broken_v0.1.0.zip", INDEX, "index.json.sig", *(p["file"] for p in zoo.packs)])


@pytest.mark.parametrize(
    ("asked", "status", "first", "last"),
    [
        ("bytes=0-9", 206, 0, 9),
        ("bytes=100-", 206, 100, None),
        ("bytes=-7", 206, -7, None),
        ("bytes=5-999999999", 206, 5, None),
        ("bytes=0-", 206, 0, None),
        ("bytes=9999999-", 416, 0, -1),
        ("bytes=9-5", 416, 0, -1),
        ("bytes=-0", 416, 0, -1),
        ("bytes=0-1,4-5", 200, 0, None),
        ("lines=0-1", 200, 0, None),
        ("bytes=-", 200, 0, None),
        ("bytes=a-b", 200, 0, None),
    ],
)
def test_ranges(asked, status, first, last, server, zoo):
    whole = (zoo.folder / FILE).read_bytes()
    answer, content = ask(server, f"/{FILE}", Range=asked)
    expected = b"" if status == 416 else whole[first : None if last is None else last + 1]
    assert answer.status == status and content == expected
    if status == 206:
        start = len(whole) + first if first < 0 else first
        assert answer.headers["Content-Range"] == f"bytes {start}-{start + len(content) - 1}/{len(whole)}"


PATHS = [
    "/secret.txt",
    "/notes_v1.zip",
    "/../key.pem",
    "/%2e%2e/key.pem",
    "/..%2fkey.pem",
    "/..\\key.pem",
    "//etc/passwd",
    "/etc/passwd",
]
PATHS += ["/%2fetc%2fpasswd", "/./" + FILE, "/packs/" + FILE, "/" + FILE + "%00.txt", "/our/toy/resolve/main/../../../../key.pem"]
PATHS += ["/our/toy/resolve/main/..%2f..%2fkey.pem", "/our/toy/resolve/..%2f..%2f/key.pem", "/our/../resolve/main/LICENSE"]
PATHS += ["/our/toy/resolve/main//etc/passwd", "/our/toy/resolve/main/toy/LICENSE", "/our/none/resolve/main/LICENSE"]
PATHS += [
    "/our/toy/resolve/9.9.9/LICENSE",
    "/our/toy/resolve/main/none",
    "/api/models/our/none",
    "/api/models/our/toy/revision/9.9.9",
]
PATHS += ["/api/models/our/..%2ftoy", "/api/models/our/toy/tree/..%2f..", "/api/models/our/toy/other", "/" + "x" * 5000]


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_nothing_else_is_given_away(path, method, server):
    answer, content = ask(server, path, method)
    assert answer.status == 404 and content == b""


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS"])
def test_nothing_can_be_written(method, server):
    assert ask(server, f"/{FILE}", method)[0].status == 501


def test_a_pack_that_cannot_be_read_harms_no_other(server):
    assert ask(server, "/api/models/our/broken")[0].status == 500
    assert ask(server, "/api/models/our/toy")[0].status == 200


def test_the_hub_is_told_the_tags_with_the_newest_release_last(server, zoo):
    refs = told(server, "/api/models/our/toy/refs")
    assert [tag["name"] for tag in refs["tags"]] == ["0.9.0", "0.11.0-rc.1", "0.10.0"]
    digest = next(p["sha256"] for p in zoo.packs if p["version"] == "0.10.0")[:40]
    assert refs["branches"][0]["targetCommit"] == digest
    about = told(server, "/api/models/our/toy")
    assert about["sha"] == digest == told(server, "/api/models/our/toy/revision/0.10.0")["sha"]
    assert told(server, f"/api/models/our/toy/revision/{digest}") == about
    listed = told(server, f"/api/models/our/toy/tree/{digest}?recursive=true")
    assert [file["path"] for file in listed] == [file["rfilename"] for file in about["siblings"]]
    for file in listed:
        answer, content = ask(server, f"/our/toy/resolve/{digest}/{file['path']}")
        assert len(content) == file["size"] and answer.headers["X-Repo-Commit"] == digest
        assert answer.headers["ETag"].strip('"').startswith(file["oid"])


def test_missing_things_have_the_codes_of_the_hub(server):
    for path, code in (("/api/models/our/none", "RepoNotFound"), ("/api/models/our/toy/revision/1.0.0", "RevisionNotFound")):
        assert ask(server, path)[0].headers["X-Error-Code"] == code
    assert ask(server, "/our/toy/resolve/main/none")[0].headers["X-Error-Code"] == "EntryNotFound"


def test_diffzoo_fetches_and_resumes_from_it(server, zoo, tmp_path, monkeypatch):
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    root = download("toy", server.url, tmp_path / "home", keys=[zoo.public])
    assert root.parent.name == "0.10.0" and differences(root) == []
    whole = (zoo.folder / "toy_v0.9.0.zip").read_bytes()
    (tmp_path / "part").write_bytes(whole[:999])
    facts = next(p for p in zoo.packs if p["version"] == "0.9.0")
    transfer.fetch(server.url + "toy_v0.9.0.zip", tmp_path / "part", facts["size"], facts["sha256"], lambda line: None)
    assert (tmp_path / "part").read_bytes() == whole


CLIENT = """
import runpy, sys
for words in (sys.argv[2].split(), sys.argv[3].split(), sys.argv[4].split()):
    sys.argv = ["monai.bundle", "download", "--name", "toy", "--progress", "False", *words]
    runpy.run_module("monai.bundle", run_name="__main__")
"""


def test_the_stock_client_fetches_from_it(server, zoo, tmp_path):
    pytest.importorskip("huggingface_hub", reason="the stock client needs huggingface_hub for this source")
    hub = "--source huggingface_hub --repo our/toy"
    calls = [f"{hub} --version 0.9.0 --bundle_dir {tmp_path}/a", f"{hub} --bundle_dir {tmp_path}/b"]
    calls.append(f"--url {server.url}{FILE} --bundle_dir {tmp_path}/c")
    environment = {"HF_ENDPOINT": server.url.rstrip("/"), "HF_HOME": str(tmp_path / "hub"), "no_proxy": "127.0.0.1"}
    environment |= {"PATH": "/usr/bin:/bin", "HOME": str(tmp_path), "OMP_NUM_THREADS": "1", "HF_HUB_DISABLE_TELEMETRY": "1"}
    command = [sys.executable, "-c", CLIENT, "-", *calls]
    answer = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=1200)
    assert answer.returncode == 0, answer.stderr[-2000:]
    for place, version in (("a", "0.9.0"), ("b", "0.10.0"), ("c", "0.10.0")):
        root = tmp_path / place / "toy"
        assert json.loads((root / "configs" / "metadata.json").read_text())["version"] == version
        assert [line for line in differences(root) if ".cache" not in line] == []


def test_the_command_refuses_what_is_no_folder(tmp_path, capsys):
    assert serve.main([str(tmp_path / "none")]) == 2
    assert "is no folder" in capsys.readouterr().err
