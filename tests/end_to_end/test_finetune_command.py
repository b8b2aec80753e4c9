"""`diffzoo finetune` as a person types it: a look, a new bundle, and one line with code 2 for whatever does not fit."""

import json
import os

import pytest
from finetune_toy import folder_of, write_mask, write_scan

from diffzoo.zoo.finetune import make

SHORT = ("--steps", 2, "--batch-size", 2, "--device", "cpu")
CROP = ("--set", "crop=32")


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return folder_of(tmp_path_factory.mktemp("data"))


def test_a_look_writes_two_files_and_no_bundle(command, data, tmp_path):
    done = command("finetune", "score_mri", "--data", data, "-o", tmp_path / "mine", "--check")
    assert done.code == 0 and "4 scans of 4 subjects: 4 T1" in done.out
    assert sorted(path.name for path in (tmp_path / "mine_work").iterdir()) == ["contact_sheet.png", "look.json"]
    assert not (tmp_path / "mine").exists()


def test_a_new_bundle_after_a_look_runs_and_shows_like_any_other(command, data, tmp_path, monkeypatch):
    monkeypatch.setattr(make, "WIDE", (48, 40, 3))
    place = tmp_path / "mine"
    command("finetune", "score_mri", "--data", data, "-o", place, "--check")
    done = command("finetune", "score_mri", "--data", data, "-o", place, *SHORT, *CROP)
    assert done.code == 0 and "over its parent" in done.out and "million parameters train" in done.out, done.err
    assert command("verify", place, "--quick").code == 0
    shown = command("info", place)
    assert shown.code == 0 and "Fine-tuned from score_mri" in shown.out
    run = command("run", place, "-i", data / "miller0_t1.nii.gz", "-o", tmp_path / "out", "--set", "steps=2", "--device", "cpu")
    assert run.code == 0 and json.loads((tmp_path / "out" / "report.json").read_text())["bundle"]["name"] == "mine"
    again = command("finetune", "score_mri", "--data", data, "-o", place, *SHORT)
    assert again.code == 2 and "is there already" in again.complaint


def mixed(folder):
    folder_of(folder, 3)
    write_scan(folder / "x5.nii.gz", 3, shift=-1000.0)


def corrupt(folder):
    write_scan(folder / "good_1.nii.gz")
    (folder / "bad_2.nii.gz").write_bytes(b"no image")


def unmasked(folder):
    for k in range(3):
        write_scan(folder / f"p{k}_t1.nii.gz", k)
    write_mask(folder / "p0_t1_mask.nii.gz")


@pytest.mark.parametrize(
    ("bundle", "fill", "told"),
    [
        ("score_mri", mixed, "mixed modalities: 1 of 4"),
        ("score_mri", corrupt, "only 1 of 2 scans can be used"),
        ("score_mri", lambda folder: folder_of(folder, 1), "one scan only"),
        ("score_mri", lambda folder: folder_of(folder, 2), "2 scans of 2 subjects"),
        ("score_mri", lambda folder: None, "no scan found"),
        ("anoddpm", unmasked, "none of 3 scans can be used"),  # two slices are no head
    ],
)
def test_data_that_cannot_train_are_one_line(bundle, fill, told, command, tmp_path):
    (tmp_path / "data").mkdir()
    fill(tmp_path / "data")
    done = command("finetune", bundle, "--data", tmp_path / "data", "-o", tmp_path / "mine", *SHORT)
    assert done.code == 2 and told in done.complaint and not (tmp_path / "mine").exists()


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("score_mr", "-o", "mine"), "did you mean score_mri"),
        (("score_mri", "-o", "Mine"), "is no name for a bundle"),
        (("score_mri", "-o", "anoddpm"), "there is a bundle anoddpm already"),
        (("score_mri", "-o", "mine", "--stepz", 3), "--steps"),
        (("score_mri", "-o", "mine", "--steps", 0), "--steps 0"),
        (("score_mri", "-o", "mine", "--method", "lorra"), "did you mean lora"),
        (("score_mri", "-o", "mine", "--set", "crops=3"), "did you mean crop"),
        (("score_mri", "-o", "mine", "--set", "epochs=3"), "give --epochs"),
        (("score_mri", "-o", "mine", "--resume"), "nothing to resume"),
        (("score_mri", "-o", "mine", "--subject-pattern", "("), "is no regular expression"),
    ],
)
def test_what_does_not_fit_is_one_line(words, told, command, data, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    done = command("finetune", *words, "--data", data)
    assert done.code == 2 and told in done.complaint and not list(tmp_path.iterdir())


def test_a_place_that_cannot_be_written_is_told(command, data, tmp_path, monkeypatch):
    monkeypatch.setattr(os, "access", lambda path, mode: path != tmp_path)
    done = command("finetune", "score_mri", "--data", data, "-o", tmp_path / "mine")
    assert done.code == 2 and "is not a folder that can be written to" in done.complaint and not list(tmp_path.iterdir())


def test_a_file_in_the_way_is_told(command, data, tmp_path):
    (tmp_path / "file").write_text("")
    done = command("finetune", "score_mri", "--data", data, "-o", tmp_path / "file" / "mine")
    assert done.code == 2 and "cannot be made" in done.complaint
