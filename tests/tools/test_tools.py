"""The programs for keepers of the zoo: recipes, the data folder, the list of sources, and the writing of results."""

import csv
import json
import sys
from pathlib import Path

import nibabel
import numpy as np
import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tools"))

import data_folder  # noqa: E402
import fetch_data  # noqa: E402
import train_zoo  # noqa: E402
import write_results  # noqa: E402
from diffzoo.zoo.bundle import Bundle  # noqa: E402
from diffzoo.zoo.tables import results_of  # noqa: E402

BUNDLES = sorted(path.parents[1] for path in (ROOT / "bundles").glob("*/docs/recipe.json"))
KEPT = [bundle for bundle in BUNDLES if data_folder.of_data_folder(data_folder.recipe_of(bundle.name))]


@pytest.fixture
def folder(tmp_path):
    """A data folder with a file in each split, and a template that the recipe leaves out."""
    names = {
        "brain_mr/ms_mni/a_t1.nii.gz": "train",
        "brain_mr/ms_mni/a_lesion.nii.gz": "train",
        "brain_mr/ms_native/b_t1.nii.gz": "val",
        "brain_mr/ms_native/c_t1.nii.gz": "test",
        "brain_mr/templates/icbm152_2009a_t1.nii.gz": "train",
        "spine_mr/sct_errsm30_t2s.nii.gz": "train",
    }
    rows = []
    for k, (name, split) in enumerate(names.items()):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        nibabel.save(nibabel.Nifti1Image(np.full((4, 4, 4), k, np.int16), np.eye(4)), path)
        rows.append([name, data_folder.sha256(path), "brain_mr", name, split])
    with open(tmp_path / "manifest.csv", "w", newline="") as file:
        csv.writer(file).writerows([["file", "sha256", "modality", "subject", "split"], *rows])
    return tmp_path


def test_a_training_that_starts_from_two_others_comes_after_them(tmp_path):
    (tmp_path / "configs").mkdir()
    for name in ("train", "train_b", "train_a", "train_a_b", "inference"):
        (tmp_path / "configs" / f"{name}.yaml").touch()
    assert train_zoo.twins(tmp_path) == ["a", "b", "a_b"]


def test_recipe_takes_each_split_and_leaves_labels_and_the_demo_head_out(folder):
    lists = data_folder.datalist(folder, data_folder.recipe_of("score_mri"))
    names = {part: [Path(e["image"]).name for e in entries] for part, entries in lists.items()}
    assert names["training"] == ["a_t1.nii.gz"]
    assert names["validation"] == ["b_t1.nii.gz"] and names["test"] == ["c_t1.nii.gz"]


def test_a_changed_file_stops_the_training(folder):
    (folder / "brain_mr/ms_mni/a_t1.nii.gz").write_bytes(b"changed")
    with pytest.raises(SystemExit, match=r"a_t1\.nii\.gz differs"):
        data_folder.datalist(folder, data_folder.recipe_of("score_mri"))
    assert fetch_data.check(folder) == 1


def test_check_passes_on_a_whole_folder_and_names_what_is_missing(folder, capsys):
    assert fetch_data.check(folder) == 0
    (folder / "brain_mr/ms_native/b_t1.nii.gz").unlink()
    assert fetch_data.check(folder) == 1
    assert "missing: brain_mr/ms_native/b_t1.nii.gz" in capsys.readouterr().out


def test_no_data_folder_is_one_clear_line(monkeypatch):
    monkeypatch.delenv("DIFFZOO_DATA", raising=False)
    with pytest.raises(SystemExit, match="DIFFZOO_DATA"):
        data_folder.data_folder(None)


def test_conversion_of_a_source_rounds_scales_and_keeps_the_affine(tmp_path):
    affine = np.diag([1.0, 2.0, 3.0, 1.0])
    nibabel.save(nibabel.Nifti1Image(np.array([[[-1.0, 0.26, 1.4]]], np.float32), affine), tmp_path / "a.nii.gz")
    fetch_data.CONVERSIONS["whole_numbers_8"](tmp_path / "a.nii.gz", tmp_path / "b.nii.gz")
    made = nibabel.load(tmp_path / "b.nii.gz")
    assert np.asarray(made.dataobj).tolist() == [[[0, 2, 11]]] and np.allclose(made.affine, affine)


@pytest.mark.parametrize("bundle", KEPT, ids=lambda p: p.name)
def test_every_training_file_has_a_public_source_with_its_hash(bundle):
    metadata = json.loads((bundle / "configs" / "metadata.json").read_text())
    sources = yaml.safe_load((ROOT / "tools" / "sources.yaml").read_text())
    listed = {file["to"]: file["sha256"] for source in sources for file in source["files"]}
    text = json.dumps(metadata["training_data"])
    used = [name for name in listed if name in text]
    assert used and all(listed[name] in text for name in used)
    assert all(source["address"] and source["licence"] and source["steps"] for source in sources)


def test_results_replace_only_what_stands_between_the_marks(tmp_path):
    document = tmp_path / "card.md"
    document.write_text("before\n<!-- results -->\nold\n<!-- /results -->\nafter\n")
    write_results.replace(document, "results", "| new \\1 |")
    assert document.read_text() == "before\n<!-- results -->\n| new \\1 |\n<!-- /results -->\nafter\n"
    with pytest.raises(SystemExit, match="no marks"):
        write_results.replace(document, "bundles", "x")


def test_results_of_other_weights_or_settings_are_measured_again():
    plan = {"settings": ["slices=central:1"]}
    result = {"weights_sha256": "a", "settings": ["slices=central:1"]}
    assert train_zoo._current(result, plan, "a")
    assert not train_zoo._current(result, plan, "b")
    assert not train_zoo._current(result | {"settings": []}, plan, "a")
    assert not train_zoo._current(None, plan, "a")


@pytest.mark.parametrize("bundle", BUNDLES, ids=lambda p: p.name)
def test_the_card_quotes_the_measured_table(bundle):
    found = json.loads((bundle / "docs" / "results.json").read_text())["evaluations"]
    recipe = data_folder.recipe_of(bundle.name)
    assert results_of(found, recipe, Bundle(bundle).task) in (bundle / "docs" / "README.md").read_text()
    assert write_results.bundles_table() in (ROOT / "README.md").read_text()
    assert list(found) == list(recipe["evaluations"])


def test_a_recipe_takes_the_lists_and_evaluations_that_bundles_share_and_adds_its_own(tmp_path, monkeypatch):
    monkeypatch.setattr(data_folder, "BUNDLES", tmp_path / "bundles")
    monkeypatch.setattr(data_folder, "LISTS", tmp_path)
    (tmp_path / "bundles" / "mine" / "docs").mkdir(parents=True)
    shared = {"lists": {"test": [1], "validation": [2]}, "evaluations": {"a": {"part": "test"}}}
    (tmp_path / "kind.json").write_text(json.dumps(shared))
    own = {"lists_of": "kind", "headline": "a", "lists": {"training": [3], "test": [4]}, "evaluations": {"b": {}}}
    (tmp_path / "bundles" / "mine" / "docs" / "recipe.json").write_text(json.dumps(own))
    recipe = data_folder.recipe_of("mine")
    assert recipe["lists"] == {"test": [4], "validation": [2], "training": [3]} and recipe["headline"] == "a"
    assert list(recipe["evaluations"]) == ["a", "b"]


@pytest.mark.parametrize("bundle", BUNDLES, ids=lambda p: p.name)
def test_the_preview_of_each_bundle_can_be_drawn_again(bundle):
    recipe = data_folder.recipe_of(bundle.name)
    plan = recipe["preview"]
    assert plan.keys() <= {"evaluate", "run", "settings"} and not {"evaluate", "run"} <= plan.keys()
    configs = ["inference", *(["evaluate"] if "evaluate" in plan else [])]
    Bundle(bundle).settings(plan.get("settings"), configs)  # InputError for what the bundle does not take
    sources = yaml.safe_load((ROOT / "tools" / "sources.yaml").read_text())
    public = {file["to"] for source in sources for file in source["files"]}
    files = [*plan.get("run", []), *(v for e in plan.get("evaluate", []) for v in e.values() if str(v).endswith(".nii.gz"))]
    assert set(files) <= public or "simulate" in recipe


def test_a_preview_is_drawn_into_the_bundle(tmp_path, monkeypatch, folder):
    import make_previews

    monkeypatch.setattr(make_previews, "BUNDLES", tmp_path / "bundles")
    (tmp_path / "bundles" / "mine" / "docs").mkdir(parents=True)
    monkeypatch.setattr(make_previews, "recipe_of", lambda name: {"preview": {"run": ["spine_mr/sct_errsm30_t2s.nii.gz"]}})
    seen = []

    def run(root, files, out, settings, **more):
        seen.append((Path(root).name, files, settings))
        out.mkdir(parents=True)
        (out / "preview.png").write_bytes(b"picture")

    monkeypatch.setattr(make_previews, "run_cases", run)
    monkeypatch.setattr(make_previews.make_gallery, "main", seen.append)
    assert make_previews.main(["mine", "--data", str(folder), "--work", str(tmp_path / "work")]) == 0
    assert (tmp_path / "bundles" / "mine" / "docs" / "preview.png").read_bytes() == b"picture"
    assert seen == [("mine", [folder / "spine_mr/sct_errsm30_t2s.nii.gz"], []), []]
