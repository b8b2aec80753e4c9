"""`diffzoo audit` as a person types it: planted copies are told and shown, and what cannot be compared is one line."""

import json

import nibabel as nib
import numpy as np
import pytest
from brains_toy import people
from PIL import Image


def write(folder, images, name):
    folder.mkdir(parents=True)
    for k, image in enumerate(images):
        pixels = 255 * image[0].clamp(0, 1).numpy()
        Image.fromarray(pixels.astype(np.uint8)).save(folder / f"{name}{k:03}.png")
    return folder


@pytest.fixture(scope="module")
def sets(tmp_path_factory):
    folder = tmp_path_factory.mktemp("sets")
    train = people(40)
    samples = people(30, seed=2)
    samples[:6] = train[:6].roll(1, 2)
    return {
        "samples": write(folder / "samples", samples, "fake"),
        "train": write(folder / "train", train, "amy"),
        "holdout": write(folder / "holdout", people(24, seed=1), "bob"),
    }


def words(sets, **more):
    return [word for name, folder in (sets | more).items() for word in (f"--{name}", folder)]


def test_planted_copies_are_told_and_shown(command, sets, tmp_path):
    done = command("audit", *words(sets), "-o", tmp_path / "out", "--steps", 0)
    assert done.code == 0, done.err
    assert "samples 30 images" in done.out and "are copies of training images" in done.out and "Frechet distance" in done.out
    told = json.loads((tmp_path / "out" / "audit.json").read_text())
    assert told["copy_fraction"] == pytest.approx(0.2, abs=0.04)
    assert {pair["train"] for pair in told["nearest_pairs"][:6]} == {f"amy{k:03}.png" for k in range(6)}
    assert told["distance"]["n"] >= 16 and str(tmp_path) not in json.dumps(told)
    with Image.open(tmp_path / "out" / "pairs.png") as picture:
        assert picture.height > 200
    again = command("audit", *words(sets), "-o", tmp_path / "out", "--steps", 0)
    assert again.code == 2 and "is there already" in again.complaint


def test_volumes_are_compared_as_volumes(command, tmp_path):
    folders = {}
    for name, seed in (("samples", 2), ("train", 0), ("holdout", 1)):
        folders[name] = tmp_path / name
        folders[name].mkdir()
        for k, image in enumerate(people(6, seed=seed, size=24)):
            volume = np.stack([image[0].numpy() * (1 - abs(z - 12) / 24) for z in range(24)], -1)
            nib.save(nib.Nifti1Image(volume, np.eye(4)), folders[name] / f"{name}{k}.nii.gz")
    done = command("audit", *words(folders), "-o", tmp_path / "out", "--steps", 0, "--size", 24)
    assert done.code == 0 and "copies: 0.0%" in done.out and "too few images" in done.out, done.err


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda sets, folder: sets | {"holdout": sets["train"]}, "is among the training images and in the hold-out"),
        (lambda sets, folder: sets | {"samples": folder / "nowhere"}, "no such file or folder"),
        (lambda sets, folder: sets | {"samples": write(folder / "black", 0 * people(2), "x")}, "nothing"),
        (lambda sets, folder: sets | {"holdout": write(folder / "few", people(2, seed=5), "x")}, "too few"),
    ],
)
def test_sets_that_cannot_be_compared_are_one_line(change, told, command, sets, tmp_path):
    done = command("audit", *words(change(sets, tmp_path)), "-o", tmp_path / "out", "--steps", 0)
    assert done.code == 2 and told in done.complaint and not (tmp_path / "out").exists()


@pytest.mark.parametrize("option", [("--size", 4), ("--steps", -1), ("--stepz", 3)])
def test_options_out_of_range_are_one_line(option, command, sets, tmp_path):
    done = command("audit", *words(sets), "-o", tmp_path / "out", *option)
    assert done.code == 2 and option[0] in done.complaint and not (tmp_path / "out").exists()
