"""The way of a CT volume or a measured sinogram into a limited-angle reconstruction."""

import json
import math
from functools import reduce

import numpy as np
import pytest
import torch
from anatomy import anatomy

from diffzoo.errors import InputError
from diffzoo.imaging.acquisition import SelectSlices
from diffzoo.imaging.io.sinogram import Sinogram, write_sinogram
from diffzoo.imaging.tomography import WATER, attenuation_of
from diffzoo.operators.beams import FanBeam, ParallelBeam, arc
from diffzoo.operators.radon import Radon
from diffzoo.tasks.reconstruct_ct.projections import FirstImage, LoadTomogram, Project, projector_of

SHAPE = (36, 32, 5)


def ct(shape=SHAPE, seed=0):
    """CT-like numbers [X, Y, Z]: air, soft tissue, bone."""
    return 1.4 * anatomy(shape, seed) - 1000


def way(slices="all", **options):
    steps = [LoadTomogram(), SelectSlices(slices), Project(**{"arc": 90.0, "dose": 1e6} | options), FirstImage()]
    return lambda data: reduce(lambda found, step: step(found), steps, data)


def test_a_volume_becomes_projections_a_first_image_and_a_reference(nifti):
    data = way()({"image": str(nifti(ct(), np.diag([0.8, 1.2, 3.0, 1.0]))), "case": "scan"})
    told = json.loads(data["acquisition"])
    assert told["arc"] == 90 and told["views"] == 90 and told["dose"] == 1e6 and "90 degrees" in told["words"]
    assert data["sinogram"].shape[:2] == (1, 90) and data["sinogram"].shape[3] == 5
    assert data["beam"][:2].tolist() == pytest.approx([0.8, 1.2]) and float(data["beam"][3]) == pytest.approx(0.8)
    assert data["image"].shape == (1, *SHAPE) and np.allclose(data["image"].affine, np.diag([0.8, 1.2, 3.0, 1.0]))
    assert torch.allclose(data["reference"].as_tensor()[0], torch.from_numpy(ct()).float())
    truth = attenuation_of(data["reference"].as_tensor())
    assert (data["image"] - truth).norm() < 0.5 * truth.norm()


def test_the_projections_are_those_of_the_volume_in_millimetres():
    data = way(dose=None, views_per_degree=0.5)({"image": ct(), "case": "array"})
    raw, scaled = projector_of(data, SHAPE[:2])
    x = attenuation_of(torch.from_numpy(ct()).float()).movedim(-1, 0)[:, None]
    y, plainly = data["sinogram"].movedim(-1, 0), raw.A(x)
    assert 1e-4 < (y - plainly).norm() / plainly.norm() < 0.03  # the same scan, but not by the operator that inverts it
    halves = ParallelBeam(raw.beam.angles, 2 * raw.beam.detectors, raw.beam.detector_spacing / 2)
    fine = Radon(halves, (2 * SHAPE[0], 2 * SHAPE[1]), (0.5, 0.5)).A(x.repeat_interleave(2, -1).repeat_interleave(2, -2))
    torch.testing.assert_close(y, fine.unflatten(-1, (-1, 2)).mean(-1), rtol=1e-4, atol=1e-3)
    assert raw is projector_of(data, SHAPE[:2])[0]  # built once
    probe = torch.randn(4, 1, *SHAPE[:2], generator=torch.Generator().manual_seed(0))
    assert (scaled.A(probe).flatten(1).norm(dim=1) <= 1.001 * probe.flatten(1).norm(dim=1)).all()


def test_noise_follows_seed_and_slice_and_not_the_selection():
    whole, some = (way(slices)({"image": ct(), "case": "a"})["sinogram"] for slices in ("all", "2:4"))
    other = way(seed=1)({"image": ct(), "case": "a"})["sinogram"]
    assert torch.equal(whole[..., 2:4], some) and not torch.equal(whole, other)


def test_a_case_may_name_the_block_of_its_volume(nifti):
    path = str(nifti(ct()))
    whole, block = way()({"image": path, "case": "a"}), way()({"image": path, "case": "a", "slices": "1:4"})
    assert torch.equal(block["reference"].as_tensor(), whole["reference"].as_tensor()[..., 1:4])


@pytest.mark.parametrize(
    ("image", "message"),
    [
        (anatomy(SHAPE), "not CT in Hounsfield units"),
        (ct((12, 12, 2)), "too small to project"),
        (np.full(SHAPE, np.nan), "NaN"),
        (np.zeros((4, 4, 4, 4)) - 1000, "must be a slice"),
    ],
)
def test_what_is_not_ct_is_refused(image, message):
    with pytest.raises(InputError, match=message):
        LoadTomogram()({"image": image, "case": "a"})


@pytest.mark.parametrize("options", [{"arc": 0.0}, {"arc": 200.0}, {"arc": 5.0}, {"dose": -1.0}, {"dose": 0.0}])
def test_bad_settings_are_refused(options):
    with pytest.raises(InputError, match=r"arc=|dose="):
        way(**options)({"image": ct(), "case": "a"})


def test_warnings_tell_of_cut_values_spacing_and_unlearnt_arcs(nifti):
    bright = ct()
    bright[18, 16, 2] = 3000
    path = str(nifti(bright, np.diag([4.0, 4.0, 4.0, 1.0])))
    loaded = LoadTomogram(spacing_range=(0.5, 2.5))({"image": path, "case": "a"})
    assert "up to 3000" in loaded["notes"] and "outside the training range" in loaded["notes"]
    assert loaded["image"].max() == 2000
    assert "an arc of 40 degrees is outside" in way(arc=40.0)({"image": path, "case": "a"})["notes"]
    assert "arc" not in way()({"image": ct(), "case": "a"})["notes"]


def measured(tmp_path, beam, name="scan.h5", **facts):
    """A sinogram file of two slices of water-like anatomy, and their attenuation [2, 1, n, n]."""
    truth = attenuation_of(torch.from_numpy(ct((48, 48, 2))).float()).movedim(-1, 0)[:, None]
    op = Radon(beam, (48, 48))
    values = WATER * op.A(op.field_of_view * truth)[:, 0]
    path = tmp_path / name
    write_sinogram(path, Sinogram(values, beam.angles, slice_spacing=2.0, **facts))
    return str(path), op.field_of_view * truth


@pytest.mark.parametrize("start", [0.0, 30.0])
def test_a_measured_arc_gives_the_same_image_in_the_world_wherever_it_starts(tmp_path, start):
    """The image is turned so that the arc starts at 0; its affine turns it back."""
    path, truth = measured(tmp_path, ParallelBeam(arc(170, 120, start), 48))
    data = way()({"image": path, "case": "a"})
    assert float(data["angles"][0]) == 0 and "come from the file" in data["notes"]
    assert data["image"].shape == (1, 48, 48, 2) and "reference" not in data
    affine = np.asarray(data["image"].affine)
    assert np.linalg.norm(affine[:3, 2]) == pytest.approx(2.0) and np.allclose(affine[:2, :2], rotation(start))
    centre = np.linalg.inv(affine) @ [6.0, -5.0, 0, 1]  # a point of the world, mm from the centre of rotation
    i, j = np.rint(centre[:2]).astype(int)
    x, y = 6 + 47 / 2, -5 + 47 / 2
    patch = truth[0, 0, int(x) - 1 : int(x) + 3, int(y) - 1 : int(y) + 3].mean()
    assert data["image"][0, i - 1 : i + 2, j - 1 : j + 2, 0].mean() == pytest.approx(float(patch), abs=0.12)


def rotation(degrees):
    a = math.radians(degrees)
    return [[math.cos(a), -math.sin(a)], [math.sin(a), math.cos(a)]]


def test_a_fan_beam_file_is_reconstructed_at_the_size_of_its_field(tmp_path):
    beam = FanBeam(arc(200, 140), 64, 2.0, source_distance=200.0, detector_distance=200.0)
    path, truth = measured(tmp_path, beam, detector_spacing=2.0, source_distance=200.0, detector_distance=200.0)
    data = way()({"image": path, "case": "a"})
    assert data["beam"][:2].tolist() == [1.0, 1.0] and data["image"].shape == (1, 64, 64, 2)
    found = data["image"][0, 8:56, 8:56].movedim(-1, 0)[:, None]
    assert (found - truth).norm() < 0.35 * truth.norm()
