"""Registration by the command: grids, fields that SimpleITK applies, a warp that is known, cine files, and what is refused."""

import json
from importlib.util import find_spec
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk
import torch
from warps_toy import oblique

import diffzoo
from diffzoo.imaging import fields
from diffzoo.imaging.phantoms.volumes import parts, sample

SYN = {"syn"} if find_spec("ants") else set()  # ANTs is compared with where it is installed

SHAPE = (41, 49, 37)
OBLIQUE = oblique((0.12, -0.15, 0.1), (1.0, 1.0, 1.3), (-1, 1, 1), SHAPE)
RUN = ("run", "diffusemorph", "--device", "cpu")


def centred(shape, sizes=(1.0, 1.0, 1.0)):
    affine = np.diag([*sizes, 1.0])
    affine[:3, 3] = -(np.array(shape) - 1) * sizes / 2
    return affine


def organ(nifti, name, shape=SHAPE, affine=None, seed=0):
    affine = centred(shape) if affine is None else affine
    return nifti(sample("pair", shape, affine, seed), affine, name)


def report(folder):
    return json.loads((folder / "report.json").read_text())


@pytest.fixture(scope="module")
def lasting(tmp_path_factory):
    """nifti(array, affine, name) in one folder for the module."""
    folder = tmp_path_factory.mktemp("scans")

    def write(array, affine, name):
        nib.save(nib.Nifti1Image(array, affine), folder / name)
        return folder / name

    return write


@pytest.fixture(scope="module")
def crop():
    """A region around the left hippocampus of the ICBM 152 template, [1, 1, 40, 56, 40], and its affine."""
    datasets = pytest.importorskip("nilearn.datasets", reason="the template comes with nilearn")
    template = nib.load(next(Path(datasets.__file__).parent.glob("data/*t1*.nii.gz")))
    middle = (np.linalg.inv(template.affine) @ [-28, -20, -14, 1])[:3].round().astype(int)
    part = template.slicer[tuple(slice(m - n // 2, m - n // 2 + n) for m, n in zip(middle, (40, 56, 40), strict=True))]
    return torch.from_numpy(part.get_fdata(dtype=np.float32))[None, None], part.affine


def test_a_whole_head_is_refused_by_a_model_of_a_small_organ_unless_its_middle_is_asked_for(command, nifti, tmp_path):
    shape, sizes = (64, 72, 64), (3.0, 3.0, 3.0)
    pair = (
        "-i",
        organ(nifti, "m.nii.gz", shape, centred(shape, sizes)),
        "-i",
        organ(nifti, "f.nii.gz", shape, centred(shape, sizes)),
    )
    answer = command(*RUN, *pair, "-o", tmp_path / "out", "--set", "alignment=none")
    assert answer.code == 2 and "192 x 216 x 192 mm are far more than the model's field of 40 x 56 x 40 mm" in answer.complaint
    answer = command(*RUN, *pair, "-o", tmp_path / "out", "--set", "alignment=none", "--set", "middle_only=true")
    assert answer.code == 0 and "larger than the model's field" in answer.out


def test_results_lie_on_the_grid_of_an_oblique_fixed_image_of_another_size(command, lasting, tmp_path):
    moving = organ(lasting, "m.nii.gz", (39, 52, 24), centred((39, 52, 24), (1.1, 0.9, 1.6)), seed=3)
    fixed, shape = organ(lasting, "f.nii.gz", affine=OBLIQUE), (39, 52, 24)
    label = lasting(parts(shape, centred(shape, (1.1, 0.9, 1.6)), 3), centred(shape, (1.1, 0.9, 1.6)), "m_label.nii.gz")
    truth = lasting(parts(SHAPE, OBLIQUE, 0), OBLIQUE, "f_label.nii.gz")
    words = ("-i", moving, "-i", fixed, "--set", f"moving_label={label}", "--set", f"fixed_label={truth}", "--set", "frames=3")
    answer = command(*RUN, *words, "-o", tmp_path)
    assert answer.code == 0, answer.err
    [case] = report(tmp_path)["cases"]
    assert case["case"] == "m_to_f" and case["ncc_after"] > case["ncc_before"] and case["jacobian"]["folding"] < 0.005
    assert case["metrics"]["network"]["dice"] > 0.5 and len(case["path_ncc"]) == 3
    for name, tail in (("warped", ()), ("label_warped", ()), ("field", (1, 3)), ("path", (3,))):
        image = nib.load(tmp_path / f"m_to_f_{name}.nii.gz")
        assert image.shape == (*SHAPE, *tail) and np.allclose(image.affine, OBLIQUE, atol=1e-4), name
    assert (tmp_path / "m_to_f_path.png").is_file() and (tmp_path / "preview.png").is_file()


def test_simpleitk_applies_the_field_of_two_grids(command, lasting, tmp_path):
    moving = organ(lasting, "m2.nii.gz", (45, 39, 30), centred((45, 39, 30), (0.9, 1.2, 1.2)), seed=5)
    fixed = organ(lasting, "f2.nii.gz", affine=OBLIQUE)
    assert command(*RUN, "-i", moving, "-i", fixed, "-o", tmp_path).code == 0
    field = sitk.ReadImage(str(tmp_path / "m2_to_f2_field.nii.gz"), sitk.sitkVectorFloat64)
    transform = sitk.DisplacementFieldTransform(field)
    images = [sitk.ReadImage(str(path), sitk.sitkFloat64) for path in (moving, fixed)]
    theirs = sitk.GetArrayFromImage(sitk.Resample(*images, transform, sitk.sitkLinear, -1.0)).T
    ours = nib.load(tmp_path / "m2_to_f2_warped.nii.gz").get_fdata()
    inside = theirs > 0
    assert inside.mean() > 0.3 and np.abs(theirs - ours)[inside].max() < 0.5  # of 800


def test_a_known_warp_is_found(command, lasting, crop, tmp_path):
    """The moving image is the fixed one bent by a smooth field: within a voxel of it, and far nearer than no field at all."""
    fixed, affine = crop
    shape = fixed.shape[2:]
    coarse = torch.zeros(1, 3, 5, 6, 5)
    coarse[..., 1:-1, 1:-1, 1:-1] = 2.0 * torch.randn(1, 3, 3, 4, 3, generator=torch.Generator().manual_seed(0))
    velocity = torch.nn.functional.interpolate(coarse, shape, mode="trilinear", align_corners=True)
    bent, truth = fields.warp(fixed, fields.integrate(velocity)), fields.integrate(-velocity)
    paths = [lasting(x[0, 0].numpy(), affine, f"{n}.nii.gz") for x, n in ((bent, "bent"), (fixed, "straight"))]
    settings = ("--set", "alignment=none", "--set", "refine=15")
    assert command(*RUN, "-i", paths[0], "-i", paths[1], "-o", tmp_path, *settings).code == 0
    found, _ = fields.read_field(tmp_path / "bent_to_straight_field.nii.gz")
    tissue = torch.zeros(1, 1, *shape)
    tissue[..., 4:-4, 4:-4, 4:-4] = 1  # what was bent out of the picture cannot be found
    before = fields.end_point_error(torch.zeros_like(truth), truth, tissue)
    after = fields.end_point_error(found, truth, tissue)
    assert after < 1.0 and after < 0.75 * before, (before, after)


def test_a_cine_of_two_phases_is_a_pair_of_itself(command, lasting, tmp_path):
    phases = [sample("pair", (64, 60, 9), centred((64, 60, 9), (1.0, 1.0, 4.0)), seed) for seed in (0, 2)]
    labels = [parts((64, 60, 9), centred((64, 60, 9), (1.0, 1.0, 4.0)), seed) for seed in (0, 2)]
    path = lasting(np.stack(phases, -1), np.eye(4), "cine.nii.gz")
    label = lasting(np.stack(labels, -1), np.eye(4), "cine_lv.nii.gz")
    words = ("--config", "cardiac", "-i", path, "--set", f"moving_label={label}", "--set", f"fixed_label={label}")
    answer = command(*RUN, *words, "-o", tmp_path)
    assert answer.code == 0, answer.err
    [case] = report(tmp_path)["cases"]
    assert case["case"] == "cine" and case["shape"] == [64, 60, 9] and 0 < case["metrics"]["network"]["dice"] <= 1
    answer = command(*RUN, "--config", "cardiac", "-i", path, "--set", "fixed_phase=2", "-o", tmp_path / "other")
    assert answer.code == 2 and "has the frames 0 to 1, not 2" in answer.err + answer.out


def test_an_evaluation_makes_all_pairs_and_judges_every_method(command, lasting, tmp_path):
    entries, small = [], (25, 31, 23)
    for seed in (0, 1):
        image = organ(lasting, f"s{seed}.nii.gz", small, seed=seed)
        label = lasting(parts(small, centred(small), seed), centred(small), f"s{seed}_label.nii.gz")
        entries.append({"image": str(image), "label": str(label)})
    (tmp_path / "list.json").write_text(json.dumps({"test": entries}))
    answer = command("evaluate", "diffusemorph", "--data", tmp_path / "list.json", "-o", tmp_path / "out", "--device", "cpu")
    assert answer.code == 0, answer.err
    metrics = json.loads((tmp_path / "out" / "metrics.json").read_text())
    assert metrics["pairs"] == 2 and {case["case"] for case in metrics["cases"]} == {"s0_to_s1", "s1_to_s0"}
    assert set(metrics["mean"]) == {"network", "voxelmorph", "no_latent", "demons", "aligned", "identity"} | SYN
    assert all(0 <= figures["dice"] <= 1 and figures["seconds"] >= 0 for figures in metrics["mean"].values())


def test_arrays_are_registered_from_python():
    fixed, moving = (sample("pair", SHAPE, centred(SHAPE), seed) for seed in (0, 3))  # two that differ
    found = diffzoo.load("diffusemorph").predict(moving=moving, fixed=fixed, affine=centred(SHAPE), device="cpu")
    assert found["warped"].shape == SHAPE and found["field"].shape == (3, *SHAPE)
    before, after = (np.corrcoef(np.ravel(x), fixed.ravel())[0, 1] for x in (moving, found["warped"]))
    assert after > before


def test_generating_draws_by_seed(command, lasting, tmp_path):
    paths = [organ(lasting, f"g{seed}.nii.gz", (33, 37, 29), seed=seed) for seed in (0, 1)]
    made = []
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        words = ("--set", "generate=true", "--set", "generate_steps=2", "--seed", seed, "-o", tmp_path / name)
        assert command(*RUN, "-i", paths[0], "-i", paths[1], *words).code == 0
        made.append(nib.load(tmp_path / name / "g0_to_g1_generated.nii.gz").get_fdata())
    assert np.array_equal(made[0], made[1]) and not np.array_equal(made[0], made[2])


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"drop": "fixed"}, "has no partner"),
        ({"moving": np.full(SHAPE, np.nan, np.float32)}, "NaN|not finite|infinite"),
        ({"moving": np.full(SHAPE, 3, np.float32)}, "every voxel is 3"),
        ({"set": "alignment=rigid"}, "takes affine, centre, none, not 'rigid'"),
        ({"set": "frames=1"}, "at least two frames"),
        ({"set": "frames=-2"}, "takes 0 to 100, not -2"),
        ({"set": "moving_label=gone.nii.gz"}, "gone"),
        ({"set": "moving_label={f3}"}, "label of the moving image has shape"),
    ],
)
def test_what_is_no_pair_is_refused_in_one_line(command, lasting, tmp_path, change, words):
    import re

    moving = organ(lasting, "m3.nii.gz", (33, 37, 29))
    fixed = organ(lasting, "f3.nii.gz")
    if "moving" in change:
        moving = lasting(change["moving"], centred(SHAPE), "bad.nii.gz")
    given = ("-i", moving) if change.get("drop") else ("-i", moving, "-i", fixed)
    settings = ("--set", change["set"].format(f3=fixed)) if "set" in change else ()
    answer = command(*RUN, *given, *settings, "-o", tmp_path / "out")
    assert answer.code == 2 and "Traceback" not in answer.err + answer.out
    assert re.search(words, answer.err + answer.out), answer.err + answer.out
    assert not list(tmp_path.glob("out/*.nii.gz"))
