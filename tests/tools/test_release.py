"""A release: the folder that is published, and the page that shows it."""

import html.parser
import json
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tools"))

import build_catalogue  # noqa: E402
import build_index  # noqa: E402
import release  # noqa: E402
from diffzoo.zoo.bundle import find  # noqa: E402
from diffzoo.zoo.index import new_key  # noqa: E402
from diffzoo.zoo.pack import pack  # noqa: E402

NAMES = ("dolce", "score_mri")
BROWSERS = ("chromium", "chromium-browser", "google-chrome", "chrome", "headless_shell")


@pytest.fixture(scope="module")
def dist(tmp_path_factory) -> Path:
    """Two packs, their index and the page."""
    folder = tmp_path_factory.mktemp("release") / "dist"
    new_key(folder.parent / "key.pem")
    for name in NAMES:
        pack(ROOT / "bundles" / name, folder)
    build_index.build(folder, [folder.parent / "key.pem"])
    build_catalogue.build(folder)
    return folder


def pack_of(name: str) -> str:
    """The file name of a bundle's pack."""
    return f"{name}_v{find(name).metadata['version']}.zip"


class Page(html.parser.HTMLParser):
    """Elements of a page as (tag, attributes), and its text."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements, self.open, self.text = [], [], ""
        self.feed(text)

    def handle_starttag(self, tag, attrs) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in ("meta", "img", "input", "br", "link"):
            self.open.append(tag)

    def handle_endtag(self, tag) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data) -> None:
        self.text += data

    def all(self, tag: str) -> list[dict]:
        return [attributes for name, attributes in self.elements if name == tag]


@pytest.fixture(scope="module")
def page(dist) -> Page:
    return Page((dist / "index.html").read_text())


def test_the_page_has_a_card_a_bundle_with_all_that_one_wants_to_know(page, dist):
    assert not page.open and [card["id"] for card in page.all("article")] == list(NAMES)
    for name in NAMES:
        told = json.loads((ROOT / "bundles" / name / "configs" / "metadata.json").read_text())
        words = (told["headline"], told["weakest_point"], told["task"], told["in_short"]["input"], f"diffzoo run {name} -i ")
        assert all(word in page.text for word in words)
        assert f"{(dist / pack_of(name)).stat().st_size / 2**20:.1f} MiB" in page.text and "measured on 1 person" in page.text
    assert all(image["alt"] and image["src"].startswith("data:image/jpeg;base64,") for image in page.all("img"))
    assert len(page.all("img")) == len(NAMES)


def test_the_page_needs_nothing_but_itself_and_fits_a_phone(page, dist):
    assert not page.all("link") and not [s for s in page.all("script") if "src" in s]
    assert [a["href"] for a in page.all("a")] == [pack_of(name) for name in NAMES]
    assert all((dist / a["href"]).is_file() for a in page.all("a"))
    metas = {meta.get("name") or meta.get("http-equiv"): meta.get("content") for meta in page.all("meta")}
    assert "width=device-width" in metas["viewport"] and "default-src 'none'" in metas["Content-Security-Policy"]
    assert "https://" not in (dist / "index.html").read_text().replace("https://arxiv.org", "")


def test_the_page_can_be_used_by_keyboard_and_by_ear(page):
    labels = {label["for"] for label in page.all("label")}
    fields = [field["id"] for tag in ("input", "select") for field in page.all(tag)]
    assert set(fields) == labels == {"text", "kind", "modality"}
    assert page.all("html")[0]["lang"] == "en" and {"role": "status", "aria-live": "polite", "id": "count"} in page.all("p")
    ids = {attributes["id"] for _, attributes in page.elements if "id" in attributes}
    assert all(card["aria-labelledby"] in ids for card in page.all("article"))


def test_words_of_a_bundle_cannot_become_code_of_the_page(tmp_path):
    root = shutil.copytree(ROOT / "bundles" / "score_mri", tmp_path / "score_mri")
    path = root / "configs" / "metadata.json"
    told = json.loads(path.read_text()) | {"weakest_point": "<script>alert(1)</script> & <b>"}
    path.write_text(json.dumps(told))
    new_key(tmp_path / "key.pem")
    pack(root, tmp_path / "dist")
    build_index.build(tmp_path / "dist", [tmp_path / "key.pem"])
    made = Page(build_catalogue.build(tmp_path / "dist").read_text())
    assert len(made.all("script")) == 1 and "<script>alert(1)</script> & <b>" in made.text


SEARCH = """
const fs = require("fs"), page = fs.readFileSync(process.argv[2], "utf8"), hash = process.argv[3];
const script = page.match(/<script>([^]*)<\\/script>/)[1];
const found = page.matchAll(/<article id="([^"]+)" data-kind="([^"]+)" data-modality="([^"]+)"[^]*?<\\/article>/g);
const cards = [...found].map(m => ({
  id: m[1], dataset: {kind: m[2], modality: m[3]}, hidden: false, textContent: m[0].replace(/<[^>]+>/g, " ")}));
const fields = Object.fromEntries(["text", "kind", "modality", "count"].map(id => [id, {id, value: "", addEventListener() {}}]));
global.document = {getElementById: id => fields[id], querySelectorAll: () => cards};
global.location = {hash}; global.window = {addEventListener() {}};
eval(script);
console.log(JSON.stringify({shown: cards.filter(c => !c.hidden).map(c => c.id), count: fields.count.textContent}));
"""
QUERIES = [
    ("", NAMES),
    ("#text=k-space", ("score_mri",)),
    ("#modality=CT", ("dolce",)),
    ("#kind=reconstruct+mri&text=BRAIN", ("score_mri",)),
]
QUERIES += [("#text=chest&modality=MR", ())]


@pytest.mark.skipif(shutil.which("node") is None, reason="node is not installed")
@pytest.mark.parametrize(("query", "shown"), QUERIES)
def test_search_shows_what_was_asked_for(dist, tmp_path, query, shown):
    (tmp_path / "search.js").write_text(SEARCH)
    words = ["node", str(tmp_path / "search.js"), str(dist / "index.html"), query]
    told = json.loads(subprocess.run(words, capture_output=True, text=True, check=True, timeout=60).stdout)
    assert tuple(told["shown"]) == shown and told["count"] == ("1 bundle" if len(shown) == 1 else f"{len(shown)} bundles")


@pytest.mark.skipif(not any(map(shutil.which, BROWSERS)), reason="no Chromium is installed")
@pytest.mark.parametrize(("query", "shown"), QUERIES)
def test_a_browser_shows_the_page_from_disk(dist, tmp_path, query, shown):
    browser = next(filter(None, map(shutil.which, BROWSERS)))
    words = [
        browser,
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        f"--user-data-dir={tmp_path}",
        "--window-size=390,844",
        "--dump-dom",
    ]
    dom = subprocess.run(
        [*words, (dist / "index.html").as_uri() + query], capture_output=True, text=True, check=True, timeout=300
    ).stdout
    assert tuple(card["id"] for card in Page(dom).all("article") if "hidden" not in card) == shown


def test_a_wheel_holds_the_package_and_leaves_nothing_in_the_checkout(tmp_path):
    before = sorted(path.name for path in ROOT.iterdir())
    made = release.wheel(tmp_path, ["--no-build-isolation"])
    names = zipfile.ZipFile(made).namelist()
    assert {"diffzoo/cli.py", "diffzoo/zoo/metadata_schema.json", "diffzoo/zoo/official_keys.txt"} <= set(names)
    sources = {path.relative_to(ROOT / "common").as_posix() for path in (ROOT / "common" / "diffzoo").rglob("*.py")}
    assert {name for name in names if name.endswith(".py")} == sources
    assert sorted(path.name for path in ROOT.iterdir()) == before


@pytest.mark.parametrize(("words", "told"), [([], "is signed"), (["--only", "nothing", "--key", "k"], "no bundle 'nothing'")])
def test_what_a_release_lacks_is_one_line(capsys, tmp_path, words, told):
    assert release.main([str(tmp_path / "dist"), *words]) == 2
    assert told in capsys.readouterr().err and not (tmp_path / "dist").exists()


def test_a_folder_without_an_index_has_no_page(capsys, tmp_path):
    assert build_catalogue.main([str(tmp_path)]) == 2 and re.search("has no index", capsys.readouterr().err)
