"""The offline check of metadata.json: one good document, and every way in which it can be bad."""

import copy as copying
import json

import jsonschema
import pytest

from diffzoo.zoo.bundle import CHECKOUT
from diffzoo.zoo.metadata import MONAI_ENTRY, SCHEMA, identifiers, problems

MONAI_REQUIRED = [
    *("schema", "version", "monai_version", "pytorch_version", "numpy_version", "required_packages_version"),
    *("task", "description", "authors", "copyright", "network_data_format"),
]


@pytest.fixture
def document():
    return json.loads((CHECKOUT / "score_mri" / "configs" / "metadata.json").read_text())


@pytest.fixture(scope="module")
def monai():
    """The part of the schema that is MONAI's own."""
    whole = json.loads(SCHEMA.read_text())
    return jsonschema.Draft202012Validator({"$ref": MONAI_ENTRY, "$defs": whole["$defs"]})


def changed(document, place, value):
    """A copy of a document with the value at "a.b.c" replaced, or removed where it is None."""
    document = copying.deepcopy(document)
    *path, last = place.split(".")
    here = document
    for key in path:
        here = here[int(key)] if isinstance(here, list) else here[key]
    if value is None:
        del here[last]
    else:
        here[last] = value
    return document


def test_a_bundle_may_take_another_sample_than_its_task(document):
    assert problems(document | {"sample": "whole_head"}) == []
    assert "sample" in problems(document | {"sample": "Whole head"})[0]


def test_schema_is_a_schema():
    jsonschema.Draft202012Validator.check_schema(json.loads(SCHEMA.read_text()))


def test_good_document(document, monai):
    assert problems(document) == []
    assert monai.is_valid(document)


@pytest.mark.parametrize("key", MONAI_REQUIRED)
def test_monai_needs(document, monai, key):
    bad = changed(document, key, None)
    assert not monai.is_valid(bad)
    assert any(key in line for line in problems(bad))


@pytest.mark.parametrize("key", ["type", "format", "num_channels", "spatial_shape", "dtype", "value_range"])
def test_monai_needs_of_a_tensor(document, monai, key):
    for place in ("network_data_format.inputs.image", "inferer_data_format.outputs.pred"):
        assert not monai.is_valid(changed(document, f"{place}.{key}", None))


def test_monai_allows_what_we_do_not(document, monai):
    for place, value in (("version", "one"), ("more", 1), ("licenses", None), ("network_data_format.inputs.image", 3.5)):
        loose = changed(document, place, value)
        assert monai.is_valid(loose) and problems(loose)


def test_a_document_as_small_as_monai_allows(monai):
    tensor = {
        "type": "image",
        "format": "x",
        "num_channels": 1,
        "spatial_shape": ["*", 8],
        "dtype": "float32",
        "value_range": [0, 1],
    }
    small = dict.fromkeys(MONAI_REQUIRED, "x") | {"required_packages_version": {}}
    small["network_data_format"] = {"inputs": {"image": tensor, "scale": 2, "mode": "a"}, "outputs": {"pred": tensor}}
    assert monai.is_valid(small)
    assert not monai.is_valid(small | {"other_data_format": {"inputs": {}}})


BAD = {
    "name": ("Score MRI", "name"),
    "version": ("0.1", "version"),
    "changelog": ({"0.0.9": "older"}, "says nothing of version"),
    "schema": ("https://example.org/meta_schema_20220324.json", "schema"),
    "headline": ("two\nlines", "headline"),
    "intended_use": (None, "intended_use"),
    "limits": ("", "limits"),
    "pytorch_version": ("latest", "pytorch_version"),
    "required_packages_version": ({"nibabel": "5.4.2"}, "diffzoo"),
    "licenses.data": (None, "data"),
    "licenses.code": ("Apache 2.0", "licenses.code"),
    "licenses.weights": ("CC-BY", "no SPDX identifier"),
    "licenses.images": ("MIT", "images"),
    "weights_sha256": ("abc", "weights_sha256"),
    "references": (["a book"], "references"),
    "eval_metrics.command": (None, "command"),
    "eval_metrics.values": ({"psnr": "33 dB"}, "eval_metrics.values.psnr"),
    "eval_metrics.result": (1, "result"),
    "training_data.split.test": (None, "test"),
    "training_data.split.train.count": (3, "count is 3"),
    "training_data.split.train.files": ({"a.nii.gz": "0"}, "a.nii.gz"),
    "training_data.sources": ([], "sources"),
    "training_data.sources.0.license": ("WTFPL-ish", "no SPDX identifier"),
    "valid_range.spacing_mm": ([1.5], "spacing_mm"),
    "valid_range.min_size": (0, "min_size"),
    "network_data_format.inputs.image.dtype": ("float", "dtype"),
    "network_data_format.inputs": ({}, "image"),
    "network_data_format.outputs.pred.num_channels": (0, "num_channels"),
    "network_data_format.inputs.image.is_patch_data": (None, "is_patch_data"),
    "data_source": ("/home/me/scans/train", "path of one machine"),
    "description": ("from C:\\scans", "path of one machine"),
    "suported_apps": ({}, "suported_apps"),
}


@pytest.mark.parametrize("place", BAD)
def test_refused(document, place):
    bad = changed(document, place, BAD[place][0])
    found = problems(bad)
    assert found and all("\n" not in line and len(line) < 400 for line in found)
    assert any(BAD[place][1] in line for line in found), found


def test_a_file_in_two_parts_of_the_split_is_found(document):
    split = document["training_data"]["split"]
    name, digest = next(iter(split["train"]["files"].items()))
    split["test"]["files"][f"renamed_{name}"] = digest
    split["test"]["count"] += 1
    [line] = problems(document)
    assert "renamed_" in line and "train" in line


def test_version_must_be_the_newest(document):
    document["changelog"] |= {"0.10.0": "later", "0.9.0": "sooner"}
    [line] = problems(document)
    assert "0.10.0" in line


def test_identifiers():
    assert identifiers("MIT AND CC-BY-4.0 OR LicenseRef-x") == ["MIT", "CC-BY-4.0", "LicenseRef-x"]


def test_urls_and_relative_paths_are_no_machine_paths(document):
    document["data_source"] = "https://example.org/data/tmp/x and brain_mr/tmp/a.nii.gz and data/x"
    assert problems(document) == []


@pytest.mark.parametrize(
    ("train", "test", "good"), [("0:5, 8:9", "6:8", True), ("0:5", "4:8", False), ("0:5", None, False), (None, None, False)]
)
def test_a_file_may_be_in_two_parts_by_blocks_of_slices_that_do_not_meet(document, train, test, good):
    split = document["training_data"]["split"]
    name, digest = next(iter(split["train"]["files"].items()))
    split["test"] = {"subjects": 1, "count": 1, "files": {name: digest}}
    for part, text in (("train", train), ("test", test)):
        if text is not None:
            split[part]["slices"] = {name: text}
    assert problems(document) == ([] if good else [f"training_data.split.test: {name} is in train too"])
