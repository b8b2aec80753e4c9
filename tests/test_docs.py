"""The pages: links lead somewhere, commands are as the command takes them, what is made is current, the notebook runs."""

import json
import re
import shlex
import sys
from pathlib import Path

import pytest
import typer
import yaml
from PIL import Image

from diffzoo.cli import app

ROOT = Path(__file__).resolve().parents[1]
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/*.md")])
NOTEBOOK = ROOT / "docs" / "first_steps.ipynb"
sys.path.insert(0, str(ROOT / "tools"))


def name(path: Path) -> str:
    return str(path.relative_to(ROOT))


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_every_link_of_a_page_leads_somewhere(page):
    text = re.sub(r"^```.*?^```", "", page.read_text(), flags=re.MULTILINE | re.DOTALL)
    links = [link for link in re.findall(r"\]\(([^)\s]+)\)", text) if "://" not in link]
    headings = {
        re.sub(r"[^\w\- ]", "", h).strip().lower().replace(" ", "-") for h in re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    }
    lost = [link for link in links if not (page.parent / link.partition("#")[0]).exists()]
    lost += [link for link in links if link.startswith("#") and link[1:] not in headings]
    assert not lost


def blocks(text: str) -> list[str]:
    """Lines of the code blocks, without comments."""
    found = re.findall(r"^```(?:sh)?\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    return [line.partition(" #")[0].strip() for block in found for line in block.splitlines() if line.strip()]


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_every_command_of_a_page_has_the_options_that_the_command_takes(page):
    known = typer.main.get_command(app).commands
    for line in blocks(page.read_text()):
        words = shlex.split(line) if line.startswith("diffzoo ") else [""]
        if words[0] != "diffzoo":
            continue
        assert words[1] in known, line
        options = {option for parameter in known[words[1]].params for option in parameter.opts}
        assert {word for word in words[2:] if re.match(r"-{1,2}[a-z]", word)} <= options, line


def test_every_program_that_a_page_names_is_there():
    named = {word for page in PAGES for word in re.findall(r"python (tools/\w+\.py)", page.read_text())}
    assert len(named) > 5 and not [word for word in named if not (ROOT / word).is_file()]


def test_every_bundle_is_named_on_the_page_of_its_task():
    for path in ROOT.glob("bundles/*/configs/metadata.json"):
        told = json.loads(path.read_text())
        assert f"[{told['name']}](../bundles/{told['name']}/docs/README.md)" in (ROOT / "docs" / f"{told['kind']}.md").read_text()


def test_the_functions_are_told_as_their_docstrings_do():
    pytest.importorskip("griffe2md", reason="pip install griffe2md")
    import write_api

    assert write_api.api() == (ROOT / "docs" / "api.md").read_text(), "make docs writes it again"


def test_the_gallery_shows_four_bundles(tmp_path):
    import make_gallery

    make_gallery.main(["dolce", "fgdm", "pddpm", "mri_to_ct", "--output", str(tmp_path / "gallery.png")])
    with Image.open(tmp_path / "gallery.png") as made, Image.open(ROOT / "docs" / "gallery.png") as kept:
        assert made.size == kept.size
        pixels = made.convert("L")
        halves = [(0, 0), (made.width // 2, 0), (0, made.height // 2), (made.width // 2, made.height // 2)]
        for left, top in halves:
            low, high = pixels.crop((left, top, left + made.width // 2, top + made.height // 2)).getextrema()
            assert high - low > 200
    with pytest.raises(SystemExit):
        make_gallery.main(["dolce"])


def test_the_notebook_runs_from_an_empty_folder(tmp_path, monkeypatch):
    import matplotlib

    matplotlib.use("Agg")
    monkeypatch.chdir(tmp_path)
    told = json.loads(NOTEBOOK.read_text())
    assert told["nbformat"] == 4 and not [cell for cell in told["cells"] if cell.get("outputs")]
    space: dict = {}
    for cell in told["cells"]:
        if cell["cell_type"] == "code":
            exec(compile("".join(cell["source"]), cell["id"], "exec"), space)
    assert space["records"][0]["metrics"]["recon"]["psnr"] > space["records"][0]["metrics"]["zero_filled"]["psnr"]
    assert space["image"].shape == space["middle"].shape
    assert (tmp_path / "out" / "preview.png").is_file()


def test_citation_changelog_and_package_tell_one_version():
    version = re.search(r'^version = "(.+)"$', (ROOT / "pyproject.toml").read_text(), re.MULTILINE)[1]
    cited = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert cited["version"] == version and cited["cff-version"] == "1.2.0" and cited["authors"] and cited["title"]
    assert f"## {version}" in (ROOT / "CHANGELOG.md").read_text()


@pytest.mark.parametrize("path", sorted((ROOT / ".github" / "ISSUE_TEMPLATE").glob("*.yml")), ids=name)
def test_the_forms_for_issues_are_whole(path):
    told = yaml.safe_load(path.read_text())
    if path.name == "config.yml":
        assert told == {"blank_issues_enabled": True}
        return
    assert told["name"] and told["description"] and told["labels"]
    for part in told["body"]:
        assert part["type"] in ("markdown", "textarea", "input", "dropdown")
        assert part["attributes"].get("label") or part["attributes"].get("value")
