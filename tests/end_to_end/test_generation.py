"""Generation by the command: out of nothing, on labels, of a scan, in a style; by seed, on the grid of what is given."""

import json

import nibabel as nib
import numpy as np
import pytest
from heads_toy import toy_head

import diffzoo
from diffzoo.imaging.phantoms.volumes import sample

BUNDLE, SHAPE = "brainspade", (44, 52, 13)


@pytest.fixture
def run(command):
    """run("--set", ...) is the command on the bundle."""
    return lambda *words: command("run", BUNDLE, "--device", "cpu", *words)


def grid(turn=1.0):
    affine = np.diag([4.0 * turn, 4.0, 12.0, 1.0])
    affine[:3, 3] = -affine[:3, :3] @ ((np.array(SHAPE) - 1) / 2)
    return affine


@pytest.fixture(scope="module")
def labels(tmp_path_factory):
    """A label volume whose first axis runs to the left."""
    path = tmp_path_factory.mktemp("labels") / "mine.nii.gz"
    nib.save(nib.Nifti1Image(sample("labels", SHAPE, grid(-1.0)).astype(np.uint8), grid(-1.0)), path)
    return path


@pytest.fixture(scope="module")
def head(tmp_path_factory):
    """A simulated T1 of a head."""
    values, affine, _ = toy_head(stripped=True)
    path = tmp_path_factory.mktemp("heads") / "amy_t1.nii.gz"
    nib.save(nib.Nifti1Image(values, affine), path)
    return path


def read(path):
    image = nib.load(path)
    return np.asarray(image.dataobj), image.affine


def report(folder):
    return json.loads((folder / "report.json").read_text())


def test_pairs_come_out_of_nothing_by_seed(run, tmp_path):
    words = ("--set", "count=2", "--set", "steps=3", "--set", "attempts=1", "--set", "lesion=without", "--set", "slice=0.5")
    answer = run(*words, "-o", tmp_path / "a")
    assert answer.code == 0, answer.err
    assert run(*words, "-o", tmp_path / "b").code == 0
    assert run(*words, "--seed", 9, "-o", tmp_path / "c").code == 0
    cases = report(tmp_path / "a")["cases"]
    assert [case["case"] for case in cases] == ["sample_01", "sample_02"] and (tmp_path / "a" / "preview.png").stat().st_size
    asked = cases[0]["acquisition"]["asked"]
    assert asked["lesion"] == 0.0 and asked["position"] == 0.5 and asked["white"] > 0.1 and cases[0]["network_calls"] == 4
    for name in "abc":
        label, affine = read(tmp_path / name / "sample_01_label.nii.gz")
        assert label.shape == (64, 80, 1) and set(np.unique(label)) <= {0, 1, 2, 3, 4} and affine[0, 0] == 2.5
    one, again, other = (read(tmp_path / name / "sample_01_label.nii.gz")[0] for name in "abc")
    assert np.array_equal(one, again) and not np.array_equal(one, other)


def test_labels_are_painted_on_their_own_grid(run, labels, tmp_path):
    answer = run("-i", labels, "-o", tmp_path)
    assert answer.code == 0, answer.err
    painted, affine = read(tmp_path / "mine_painted.nii.gz")
    assert painted.shape == SHAPE and np.allclose(affine, grid(-1.0)) and np.abs(painted[read(labels)[0] == 0]).mean() < 0.05
    assert not (tmp_path / "mine_label.nii.gz").exists() and report(tmp_path)["cases"][0]["label_ml"]["white"] > 200


def test_a_scan_gives_its_tissues_and_can_give_its_style(run, head, labels, tmp_path):
    answer = run("-i", head, "--set", "style=own", "-o", tmp_path / "own")
    assert answer.code == 0, answer.err
    label, affine = read(tmp_path / "own" / "amy_t1_label.nii.gz")
    values, there = read(head)
    assert label.shape == values.shape and np.allclose(affine, there) and {1, 2, 3} <= set(np.unique(label))
    assert values[label == 3].mean() > values[label == 2].mean() > values[label == 1].mean()
    assert run("-i", labels, "--set", f"style={head}", "-o", tmp_path / "lent").code == 0
    assert "the style of another scan" in report(tmp_path / "lent")["cases"][0]["acquisition"]["words"]


def test_an_evaluation_tells_what_is_left_of_maps_and_how_near_images_come(command, head, tmp_path):
    listing = tmp_path / "list.json"
    listing.write_text(json.dumps({"test": [{"image": str(head), "modality": "t1"}]}))
    answer = command("evaluate", BUNDLE, "--data", listing, "-o", tmp_path / "out", "--device", "cpu")
    assert answer.code == 0, answer.err
    mean = json.loads((tmp_path / "out" / "metrics.json").read_text())["mean"]
    assert set(mean) == {"painted", "flat", "round_trip"} and 0 <= mean["round_trip"]["dice"] <= 1
    assert mean["flat"]["psnr"] > 20 and 0 < mean["painted"]["ssim"] <= 1  # tissues of one shade are what the head is made of


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("--set", "count=0"), "'count' takes 1 to 10000, not 0"),
        (("--set", "lesion=maybe"), "takes any, with, without, not 'maybe'"),
        (("--set", "slice=2"), "'slice' takes"),
        (("--set", "modality=pd"), "takes t1, t2, flair, not 'pd'"),
        (("--set", "style=own", "-i", "LABELS"), "a label map has no style"),
        (("--set", "style=missing.nii.gz", "-i", "LABELS"), "missing.nii.gz"),
    ],
)
def test_what_cannot_be_is_told_in_a_line(run, labels, words, told, tmp_path):
    answer = run(*(str(labels) if word == "LABELS" else word for word in words), "-o", tmp_path / "out")
    assert answer.code == 2 and told in answer.err + answer.out


def test_other_bundles_need_an_input(command, tmp_path):
    answer = command("run", "score_mri", "-o", tmp_path)
    assert answer.code == 2 and "draws nothing by itself: give --input" in answer.err


def test_arrays_are_painted_and_maps_drawn_from_python(tmp_path):
    model = diffzoo.load(BUNDLE)
    affine = np.diag([2.5, 2.5, 8.0, 1.0]) - np.outer([80, 95, 80, 0], [0, 0, 0, 1])
    given = sample("labels", (64, 76, 20), affine)
    assert model.predict(given, affine=affine, device="cpu")["painted"].shape == given.shape
    records = model.run(None, tmp_path / "out", count=1, steps=2, device="cpu")
    assert records[0]["case"] == "sample_01"
