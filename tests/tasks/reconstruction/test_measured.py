"""The measured data behind a zero-filled image, and the forward model built from them alone."""

import pytest
import torch
from slices_toy import SIZE, coil_case, real_case

from diffzoo.imaging.geometry import plain
from diffzoo.operators.coils import root_sum_of_squares
from diffzoo.operators.fourier import MaskedFourier, uncentre
from diffzoo.tasks.reconstruction.measured import CG_STEPS, forward_model, kspace_of, zero_filled


def slices_of(image):
    return image[0].movedim(-1, 0)


def test_real_data_come_back_from_the_minimum_norm_image():
    image, mask, truth = real_case()
    low = uncentre(mask)
    y = kspace_of(slices_of(image), low)
    op = forward_model(y, low, real=True)
    torch.testing.assert_close(y, op.A(truth), rtol=0, atol=1e-6)
    torch.testing.assert_close(op.A(op.pinv(y)), y, rtol=0, atol=1e-6)
    torch.testing.assert_close(op.pinv(y), slices_of(image), rtol=0, atol=1e-6)


@pytest.mark.parametrize("coils", [1, 3])
def test_coil_data_come_back_from_zero_filled_coil_images(coils):
    image, mask, _ = coil_case(coils)
    low = uncentre(mask)
    y = kspace_of(slices_of(image), low)
    assert y.shape == (3, 2 * coils, *SIZE)
    assert torch.equal(y * low, y)
    each = MaskedFourier(low)
    images = each.AT(y.reshape(-1, 2, *SIZE)).reshape(y.shape)
    torch.testing.assert_close(images, slices_of(image), rtol=0, atol=1e-6)
    torch.testing.assert_close(zero_filled(y, low), root_sum_of_squares(images))


def test_zero_filling_of_a_real_image_is_not_its_minimum_norm_image():
    """The conjugate symmetry of a real image is a gain of the forward model, not of zero filling."""
    image, mask, truth = real_case()
    low = uncentre(mask)
    y = kspace_of(slices_of(image), low)
    plainly = MaskedFourier(low).AT(y)
    torch.testing.assert_close(zero_filled(y, low), root_sum_of_squares(plainly))
    assert (slices_of(image) - truth).norm() < (zero_filled(y, low) - truth).norm()


def test_masks_of_each_slice_are_taken():
    image, mask, _ = coil_case(2, slices=2)
    low = uncentre(mask)
    both = torch.cat([low, low.flip(-1).roll(1, -1)])
    y = kspace_of(slices_of(image), both)
    apart = torch.cat([zero_filled(y[i : i + 1], both[i : i + 1]) for i in (0, 1)])
    torch.testing.assert_close(zero_filled(y, both), apart)


def test_one_coil_is_seen_without_its_phase():
    image, mask, truth = coil_case(1)
    low = uncentre(mask)
    y = kspace_of(slices_of(image), low)
    op = forward_model(y, low, real=False)
    x = op.pinv(y)
    torch.testing.assert_close(op.A(x), y, rtol=0, atol=1e-5)
    torch.testing.assert_close(op.magnitude(x), zero_filled(y, low), rtol=0, atol=1e-5)
    assert x[:, 1].norm() < 0.35 * x[:, 0].norm()  # nearly real
    assert (x[:, 0] * truth[:, 0]).sum() > 0  # and positive


def test_a_real_image_is_shown_as_it_is():
    """Cutting it off at zero would change the measured data."""
    image, mask, _ = real_case()
    op = forward_model(kspace_of(slices_of(image), uncentre(mask)), uncentre(mask), real=True)
    x = torch.linspace(-1, 1, 12).reshape(1, 1, 3, 4)
    assert torch.equal(op.magnitude(x), x)


def test_several_coils_are_combined_by_few_steps_of_conjugate_gradients():
    image, mask, truth = coil_case(4)
    low = uncentre(mask)
    y = kspace_of(slices_of(image), low)
    op = forward_model(y, low, real=False)
    calls = []
    normal, op.AtA = op.AtA, lambda v: (calls.append(1), normal(v))[1]
    x = op.pinv(y)
    assert 0 < len(calls) <= CG_STEPS
    assert (op.magnitude(x) - truth).norm() < 0.95 * (zero_filled(y, low) - truth).norm()


def test_plain_takes_the_tensor_out_of_a_meta_tensor():
    from monai.data import MetaTensor

    x = torch.arange(3.0)
    assert type(plain(MetaTensor(x))) is torch.Tensor and plain(x) is x
