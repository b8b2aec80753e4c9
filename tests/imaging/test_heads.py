"""The way of a head MR onto the grid of an anomaly model, and of its maps back onto the scan."""

import nibabel as nib
import numpy as np
import pytest
import torch
from heads_toy import toy_head
from hypothesis import given, settings
from hypothesis import strategies as st
from monai.data import MetaTensor

from diffzoo.errors import InputError
from diffzoo.imaging.geometry import spacing
from diffzoo.imaging.head_units import to_model
from diffzoo.imaging.heads import BackToScan, LoadHead, head_grid, modality_of, one_hot, resample


def scan(shape=(40, 48, 37), sizes=(4.0, 4.0, 4.0), turn=(0.0, 0.0, 0.0), flips=(1, 1, 1), order=(0, 1, 2), **options):
    """A toy head whose stored axes are flipped, permuted and turned (radians about R, A, S), as a MetaTensor [X, Y, Z]."""
    rotation = np.eye(3)
    for axis, angle in enumerate(turn):
        plane, step = [a for a in range(3) if a != axis], np.eye(3)
        step[np.ix_(plane, plane)] = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
        rotation = step @ rotation
    affine = np.eye(4)
    affine[:3, :3] = rotation @ np.eye(3)[:, list(order)] * np.array(flips) * np.array(sizes)
    affine[:3, 3] = (3.0, -11.0, 17.0) - affine[:3, :3] @ ((np.array(shape) - 1) / 2)
    centred = affine.copy()
    centred[:3, 3] -= (3.0, -11.0, 17.0)
    volume, _, _ = toy_head(shape, centred, **options)
    return MetaTensor(torch.from_numpy(volume), affine=torch.from_numpy(affine))


def world(affine, shape):
    affine = np.asarray(affine)
    return np.einsum("ij,j...->i...", affine[:3, :3], np.indices(shape)) + affine[:3, 3].reshape(3, 1, 1, 1)


def smooth(affine, shape):
    x, y, z = world(affine, shape)
    return np.sin(x / 17 + 1) * np.cos(y / 21) + np.sin(z / 19) + 0.02 * x


ODD = [
    {},
    {"shape": (71, 83, 61), "sizes": (2.4, 2.3, 2.2), "turn": (0.15, 0.2, -0.1), "flips": (-1, 1, -1)},
    {"shape": (37, 41, 49), "order": (2, 0, 1), "flips": (1, -1, 1), "turn": (0.1, 0, 0.3)},
    {"shape": (121, 95, 29), "sizes": (1.3, 2.1, 5.0), "turn": (0.25, 0.05, 0.1), "flips": (-1, -1, 1)},
    {"shape": (101, 81, 25), "sizes": (1.6, 2.4, 5.9), "flips": (-1, 1, -1), "turn": (-0.2, 0, 0)},
    {"shape": (30, 85, 79), "sizes": (5.2, 2.3, 2.1), "turn": (0, 0.1, 0.1)},
]


@pytest.mark.parametrize("odd", ODD)
def test_a_smooth_map_goes_there_and_back_and_lands_where_it_was(odd):
    stored = scan(stripped=True, **odd)
    data = LoadHead(modality="t1")({"image": stored, "case": "a"})
    grid, shape = data["image"].affine.numpy(), tuple(data["image"].shape[1:])
    there = resample(smooth(stored.affine, stored.shape), stored.affine.numpy(), grid, shape)
    inside = data["brain"][0].numpy()
    assert np.corrcoef(there[inside], smooth(grid, shape)[inside])[0, 1] > 0.98  # the grid is where its affine says
    back = BackToScan(("map", "brain"))(data | {"map": torch.from_numpy(there)[None]})
    assert back["map"].shape == (1, *stored.shape) and np.array_equal(back["map"].affine, stored.affine)
    held = back["brain"][0].numpy() > 0.999
    assert held.sum() > 0.5 * (stored.numpy() > 0).sum()
    assert np.corrcoef(back["map"][0].numpy()[held], smooth(stored.affine, stored.shape)[held])[0, 1] > 0.98


@settings(deadline=None, max_examples=6)
@given(
    odd=st.sampled_from(ODD),
    centre=st.tuples(*[st.floats(-25, 25)] * 3),
    radius=st.floats(17, 24),
)
def test_a_ball_keeps_its_place_and_its_volume_both_ways(odd, centre, radius):
    stored = scan(stripped=True, **odd)
    middle = np.add(centre, (3.0, -11.0, 17.0))
    ball = np.linalg.norm(world(stored.affine, stored.shape) - middle.reshape(3, 1, 1, 1), axis=0) < radius
    data = LoadHead(modality="t2")({"image": stored, "mask": ball, "case": "a"})
    voxel = np.abs(np.linalg.det(np.asarray(data["mask"].affine)[:3, :3]))
    unit = np.abs(np.linalg.det(np.asarray(stored.affine)[:3, :3]))
    assert int(data["mask"].sum()) * voxel == pytest.approx(ball.sum() * unit, rel=0.1)
    where = world(data["mask"].affine, data["mask"].shape[1:])[:, data["mask"][0].numpy()].mean(axis=1)
    assert np.abs(where - middle).max() < 2
    back = BackToScan(masks=("mask",))(data)["mask"]
    assert back.dtype == torch.uint8 and np.array_equal(back.affine, stored.affine)
    assert int(back.sum()) == pytest.approx(ball.sum(), rel=0.1)


def test_thick_axial_slices_are_kept_as_they_are_and_others_become_isotropic():
    thick = scan((100, 80, 25), (1.6, 2.4, 6.0), turn=(0.2, 0, 0), stripped=True)
    data = LoadHead(modality="t1")({"image": thick, "case": "a"})
    affine = data["image"].affine.numpy()
    assert np.allclose(np.linalg.norm(affine[:3, :3], axis=0), (2, 2, 6)) and np.allclose(affine[:3, 2], thick.affine[:3, 2])
    numbers = (np.linalg.inv(thick.affine.numpy()) @ affine)[2]
    assert np.allclose(numbers[:3], (0, 0, 1)) and numbers[3] == pytest.approx(round(numbers[3]))
    spot = torch.zeros(data["image"].shape)
    spot[..., 7] = 1
    back = BackToScan(("map",))(data | {"map": spot})["map"]
    assert set(back.nonzero()[:, 3].tolist()) == {7 + round(numbers[3])}  # a slice goes back to one slice
    thin = LoadHead(4.0, modality="t1")({"image": scan(turn=(0.2, 0, 0), stripped=True), "case": "a"})
    assert np.allclose(thin["image"].affine[:3, :3], 4 * np.eye(3))
    assert "axial" not in thin["notes"] + data["notes"]
    sagittal = LoadHead(4.0, modality="t1")({"image": scan((27, 50, 44), (6.0, 4.0, 4.0), stripped=True), "case": "a"})
    assert "not axial" in sagittal["notes"] and np.allclose(sagittal["image"].affine[:3, :3], 4 * np.eye(3))


def test_a_whole_head_of_1_mm_has_at_most_100_slices():
    brain = np.zeros((180, 220, 200), bool)
    brain[15:165, 20:200, 30:175] = True  # larger than a human brain, neck below
    affine, shape = head_grid(brain, np.eye(4))
    assert shape[:2] == (96, 112) and shape[2] <= 100
    assert head_grid(brain, np.diag([1.5, 1.5, 1.0, 1.0]))[1][:2] == (128, 144)  # grows where the brain needs it
    centre = affine @ [47.5, 55.5, 0, 1]
    assert np.allclose(centre[:2], (89.5, 109.5))


@pytest.mark.parametrize("modality", ["t2", "flair"])
def test_with_and_without_its_skull_a_head_looks_alike(modality):
    whole, bare = (
        LoadHead(modality=modality)({"image": scan(stripped=s, modality=modality), "case": "a"}) for s in (False, True)
    )
    assert whole["units"].tolist() == pytest.approx(bare["units"].tolist(), rel=0.2)
    for data in (whole, bare):
        image, brain = data["image"].as_tensor(), data["brain"].as_tensor()
        assert image.dtype == torch.float32 and not image[~brain].any()
        low, high = np.percentile(image[brain], [1, 99])
        assert low >= 0 and 0.7 < high < 1.6
        assert (data["vector"][:, :3] == one_hot(modality)).all() and data["modality"] == modality
        top = int(torch.nonzero(brain[0].any(0).any(0)).max())
        depth = (top - torch.arange(image.shape[3])) * spacing(data["image"].affine)[2] / 100
        assert torch.allclose(data["vector"][:, 3], depth.float())
        assert data["slice_index"].tolist() == list(range(image.shape[3]))


@settings(deadline=None, max_examples=4)
@given(modality=st.sampled_from(["t1", "t2", "flair"]), gain=st.floats(0.01, 100), level=st.sampled_from([0.0, 3.0, 8.0]))
def test_a_blob_of_15_mm_hardly_moves_the_scale_and_the_units_do_not_matter(modality, gain, level):
    plain = scan(modality=modality, stripped=True)
    blob = np.linalg.norm(world(plain.affine, plain.shape) - np.reshape((25, 5, 35), (3, 1, 1, 1)), axis=0) < 15
    hurt = torch.where(torch.from_numpy(blob), level * float(plain[plain > 0].median()) + 1.0, plain.as_tensor()) * gain
    units = [LoadHead(modality=modality)({"image": x, "case": "a"})["units"] for x in (plain, MetaTensor(hurt, plain.affine))]
    assert units[1][0] / gain == pytest.approx(float(units[0][0]), rel=0.03)
    values = np.linspace(0.2, 1.1, 10) * float(units[0][0]) * float(units[0][2])
    assert np.abs(to_model(gain * values, units[1]) - to_model(values, units[0])).max() < 0.08


def test_intensities_go_back_in_the_units_of_the_scan():
    stored = scan(noise=0.0)
    data = LoadHead(modality="t1")({"image": stored, "case": "a"})
    back = BackToScan(("brain",), intensities=("healthy", "absent"))(data | {"healthy": data["image"]})
    deep = back["brain"][0].numpy() > 0.999
    assert "absent" not in back
    assert np.corrcoef(back["healthy"][0].numpy()[deep], stored.numpy()[deep])[0, 1] > 0.9
    assert np.median(back["healthy"][0].numpy()[deep]) == pytest.approx(np.median(stored.numpy()[deep]), rel=0.02)
    with pytest.raises(ValueError, match="not that of the grid"):
        BackToScan(("map",))(data | {"map": torch.zeros(1, 4, 4, 4)})


def test_a_file_tells_its_modality_and_its_mask_comes_along(nifti):
    volume, affine, brain = toy_head(modality="flair", stripped=True)
    path, label = nifti(volume, affine, "sub-1_FLAIR.nii.gz"), nifti(brain.astype(np.uint8), affine, "lesion.nii.gz")
    data = LoadHead()({"image": str(path), "mask": str(label), "case": "sub"})
    assert data["modality"] == "flair" and data["image_path"] == str(path) and data["notes"] == ""
    assert data["mask"].dtype == torch.bool and (data["mask"] & ~data["brain"]).float().mean() < 0.01
    assert LoadHead()({"image": str(path), "modality": "t2", "case": "sub"})["modality"] == "t2"  # what a case says goes first
    far = LoadHead(spacing_range=(0.5, 3.0))({"image": str(path), "case": "sub"})
    assert "outside the training range" in far["notes"]


@pytest.mark.parametrize(
    ("name", "modality"),
    [
        ("ms_cs07_t1post", "t1"),
        ("sub-01_T1w", "t1"),
        ("x_mprage", "t1"),
        ("T2w", "t2"),
        ("a-t2-b", "t2"),
        ("sub_T2_FLAIR", "flair"),
        ("t2flair", "flair"),
    ],
)
def test_names_that_tell_the_modality(name, modality):
    assert modality_of(name) == modality


@pytest.mark.parametrize("name", ["scan", "t1_and_t2", "cat12", "t2star", "art1st"])
def test_names_that_do_not(name):
    with pytest.raises(InputError, match="set modality="):
        modality_of(name)


GOOD = toy_head(stripped=True)[0]


@pytest.mark.parametrize(
    ("case", "message"),
    [
        ({"image": np.stack([GOOD, GOOD], 3)}, "slice .H, W. or a volume"),
        ({"image": np.where(GOOD > 500, np.nan, GOOD)}, "NaN"),
        ({"image": GOOD - 1000}, "only magnitude MR"),
        ({"image": (GOOD > 0).astype(np.float32)}, "label map"),
        ({"image": GOOD[:, :, 20:24]}, "too few to find the brain in"),
        ({"image": GOOD[:, :, 20]}, "too few to find the brain in"),
        ({"image": np.random.default_rng(0).random((40, 40, 40))}, "no brain found"),
        ({"image": GOOD, "mask": np.zeros((3, 4, 5))}, "the mask of the array has shape"),
        ({"image": GOOD, "modality": "pd"}, "unknown"),
    ],
)
def test_what_is_no_head_mr_is_refused_in_one_line(case, message):
    with pytest.raises(InputError, match=message) as caught:
        LoadHead(modality="t1")({"case": "a"} | case)
    assert "\n" not in str(caught.value)


def test_files_are_refused_for_space_modality_and_settings(nifti):
    volume, affine, brain = toy_head(stripped=True)
    path, moved = nifti(volume, affine, "scan.nii.gz"), nifti(np.uint8(brain), np.diag([4, 4, 4, 1.0]), "label.nii.gz")
    with pytest.raises(InputError, match="the name does not tell"):
        LoadHead()({"image": str(path), "case": "a"})
    with pytest.raises(InputError, match="resample the mask"):
        LoadHead(modality="t1")({"image": str(path), "mask": str(moved), "case": "a"})
    with pytest.raises(InputError, match="grid_mm=0"):
        LoadHead(grid_mm=0)
    with pytest.raises(InputError, match="unknown"):
        LoadHead(modality="t3")


def test_the_case_and_the_file_stay_as_they_were(nifti):
    volume, affine, _ = toy_head(stripped=True)
    path = nifti(volume, affine, "a_t1.nii.gz")
    case = {"image": str(path), "case": "a"}
    data = LoadHead()(case)
    before = data["image"].clone()
    BackToScan(("image",))(data)
    assert case == {"image": str(path), "case": "a"} and torch.equal(data["image"], before)
    assert np.array_equal(nib.load(path).get_fdata(), volume)
