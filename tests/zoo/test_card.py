"""The parts of a model card that metadata tells: header, summary, scope, citation, and tables that fold."""

import json

import pytest

from diffzoo.zoo import card
from diffzoo.zoo.bundle import CHECKOUT

BUNDLES = sorted(path.parents[1] for path in CHECKOUT.glob("*/configs/metadata.json"))


@pytest.fixture
def metadata():
    return json.loads((CHECKOUT / "score_mri" / "configs" / "metadata.json").read_text())


@pytest.mark.parametrize("bundle", BUNDLES, ids=lambda p: p.name)
def test_each_card_holds_what_its_metadata_tells(bundle):
    told, text = json.loads((bundle / "configs" / "metadata.json").read_text()), (bundle / "docs" / "README.md").read_text()
    assert card.with_header(text, told) == text
    for mark, part in card.parts(told).items():
        assert card.replaced(text, mark, part) == text, mark
    assert {"test_people", "weakest_point", "out_of_scope", "bias", "in_short"} <= told.keys()
    assert told["test_people"] <= told["training_data"]["split"]["test"]["subjects"]


@pytest.mark.parametrize("bundle", BUNDLES, ids=lambda p: p.name)
def test_a_model_hub_reads_the_header(bundle):
    hub = pytest.importorskip("huggingface_hub")
    data = hub.ModelCard((bundle / "docs" / "README.md").read_text()).data
    told = json.loads((bundle / "configs" / "metadata.json").read_text())
    assert data.license == told["licenses"]["weights"].lower() and data.library_name == "monai"
    assert "diffzoo" in data.tags and data.metrics and data.pipeline_tag
    assert data.datasets or {source["source"] for source in told["training_data"]["sources"]} == {"this repository"}


def test_a_header_is_written_once_and_follows_the_metadata(metadata):
    text = card.with_header("# a title\n\nwords\n", metadata)
    assert text.endswith("---\n\n# a title\n\nwords\n") and card.with_header(text, metadata) == text
    metadata["licenses"]["weights"] = "LicenseRef-Mine"
    told = card.header_of(card.with_header(text, metadata))
    assert told["license"] == "other" and told["license_name"] == "LicenseRef-Mine"
    assert told["metrics"] == ["psnr", "ssim", "nmse", "rmse"] and told["datasets"][0] == "open_ms_data"


@pytest.mark.parametrize("text", ["# no header\n", "---\n: : {\n---\n", "---\n- a list\n---\n"])
def test_what_is_no_header_tells_nothing(text):
    assert card.header_of(text) == {}


def test_names_of_sources_are_short(metadata):
    metadata["training_data"]["sources"] = [
        {"source": s}
        for s in (
            "https://github.com/muschellij2/open_ms_data",
            "Debian package mricron-data, templates/ch2.nii.gz",
            "PyPI nilearn 0.14, nilearn/datasets/data",
            "this repository",
            "not published",
            "Sunnybrook Cardiac Data, a copy",
            "https://github.com/muschellij2/open_ms_data",
        )
    ]
    assert card.datasets(metadata) == ["open_ms_data", "mricron-data", "nilearn", "Sunnybrook-Cardiac-Data"]


def test_a_bundle_without_the_words_has_some_that_are_true(metadata):
    for key in ("test_people", "weakest_point", "out_of_scope", "bias", "in_short"):
        metadata.pop(key)
    assert (
        card.weakest_point(metadata)
        == "Trained on ten subjects (four MS patients of one hospital, one averaged head, one tumour, four single slices)."
    )
    assert "is not told" in card.people(metadata) and card.in_short(metadata, "input") == "a magnitude volume"
    assert all(card.parts(metadata).values())


@pytest.mark.parametrize(("n", "words"), [(0, "no person"), (1, "1 person"), (4, "4 people")])
def test_people_are_counted_in_words(metadata, n, words):
    assert card.people(metadata | {"test_people": n}) == f"measured on {words}"


def test_long_tables_fold_and_short_ones_stand_open():
    rows = ["| a |", "| --- |", *(f"| {k} |" for k in range(7))]
    assert card.folded("\n".join(rows[:8])) == "\n".join(rows[:8])
    assert card.folded("\n".join(rows)).startswith("<details>") and "\n".join(rows) in card.folded("\n".join(rows))


def test_a_document_without_marks_is_left_alone():
    assert card.replaced("no marks", "results", "x") is None
    assert card.replaced("<!-- a -->\nold\n<!-- /a -->", "a", "new \\1") == "<!-- a -->\nnew \\1\n<!-- /a -->"
