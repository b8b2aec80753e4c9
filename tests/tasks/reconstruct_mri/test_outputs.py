"""The network's answer as named volumes, in the units and the geometry of the input."""

import numpy as np
import pytest
import torch
from monai.data import MetaTensor
from slices_toy import SIZE, Smooth, coil_case, phantom, psnr, real_case, reconstruct

from diffzoo.operators.coils import root_sum_of_squares
from diffzoo.operators.fourier import complex_of, pairs_of, uncentre
from diffzoo.tasks.reconstruct_mri.outputs import AddTotalVariation, NameOutputs
from diffzoo.tasks.reconstruction.baselines import total_variation
from diffzoo.tasks.reconstruction.measured import forward_model, kspace_of, zero_filled

AFFINE = torch.tensor([[0.0, 2, 0, 5], [3, 0, 0, 6], [0, 0, 4, 7], [0, 0, 0, 1]], dtype=torch.float64)


def case(kind: str = "real", scale: float = 50.0) -> dict:
    image, mask, truth = real_case() if kind == "real" else coil_case(int(kind))
    return {
        "image": MetaTensor(image[0], affine=AFFINE),
        "mask": MetaTensor(mask[0]),
        "scale": scale,
        "truth": truth,
        "notes": "kept",
    }


def slices(data, key):
    return data[key].as_tensor().movedim(-1, 0)


def test_volumes_are_named_scaled_and_placed():
    data = case()
    data["pred"] = MetaTensor(torch.rand(2, *SIZE, 3))
    out = NameOutputs()(data)
    assert torch.equal(out["recon"].as_tensor(), data["pred"].as_tensor()[:1] * 50)
    assert torch.equal(out["std"].as_tensor(), data["pred"].as_tensor()[1:] * 50)
    for key in ("recon", "std", "zero_filled"):
        assert out[key].shape == (1, *SIZE, 3) and torch.equal(out[key].affine, AFFINE)
    assert out["notes"] == "kept" and "recon" not in data


def test_one_sample_has_no_spread():
    out = NameOutputs()(case() | {"pred": MetaTensor(torch.rand(1, *SIZE, 3))})
    assert "std" not in out


@pytest.mark.parametrize("kind", ["real", "1", "4"])
def test_zero_filled_is_that_of_the_measured_data(kind):
    data = case(kind)
    out = NameOutputs()(data | {"pred": MetaTensor(torch.rand(1, *SIZE, 3))})
    low = uncentre(data["mask"].as_tensor())[None]
    y = kspace_of(slices(data, "image"), low)
    expected = slices(data, "image") if kind == "real" else zero_filled(y, low)  # a real image's has the symmetry that all know
    torch.testing.assert_close(slices(out, "zero_filled"), 50 * expected)


@pytest.mark.parametrize("kind", ["real", "1", "4"])
def test_total_variation_is_the_better_picture(kind):
    data = case(kind)
    out = AddTotalVariation(weight=0.003)(data)
    found = out["total_variation"]
    assert found.shape == (1, *SIZE, 3) and torch.equal(found.affine, AFFINE)
    low = uncentre(data["mask"].as_tensor())[None]
    zero = zero_filled(kspace_of(slices(data, "image"), low), low)
    assert psnr(found.as_tensor()[None] / 50, data["truth"]) > psnr(zero.movedim(0, -1)[None], data["truth"]) + 3


def test_several_coils_are_shown_as_their_root_sum_of_squares():
    """The reference of a multi-coil scan is a root sum of squares, which fades out where no coil sees signal."""
    data = case("4")
    found = slices(AddTotalVariation(weight=0.003)(data), "total_variation") / 50
    low = uncentre(data["mask"].as_tensor())[None]
    y = kspace_of(slices(data, "image"), low)
    op = forward_model(y, low, real=False)
    x = total_variation(op, y, 0.003)
    coil_images = torch.view_as_complex(op.maps) * complex_of(x)
    torch.testing.assert_close(found, root_sum_of_squares(pairs_of(coil_images)))
    assert (root_sum_of_squares(x) - found).max() > 0.003  # the image alone is another picture


def test_the_whole_way_gives_the_reconstruction_in_the_input_units():
    data = case()
    pred = reconstruct()(data["image"][None], Smooth(), mask=data["mask"][None])
    out = NameOutputs()(data | {"pred": MetaTensor(pred[0])})
    np.testing.assert_allclose(out["recon"].numpy(), 50 * pred[0].numpy(), rtol=1e-6)
    assert out["recon"].max() < 50 * 1.6 * phantom().max()
