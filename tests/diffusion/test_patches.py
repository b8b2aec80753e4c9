"""Patched diffusion: boxes that cover, noise in the box alone, a loss of the box alone, and exact answers for Gaussian data."""

import pytest
import torch

from diffzoo.diffusion.denoiser import Denoiser
from diffzoo.diffusion.patches import box_mask, grid_boxes, noised_in, patch_loss, patched_estimate, window
from diffzoo.diffusion.precond import edm

SHAPE = (12, 20)
CENTRE = (slice(4, 8), slice(6, 16))


def covered(boxes, shape=SHAPE):
    return sum(box_mask(shape, box) for box in boxes)


@pytest.mark.parametrize(("patch", "overlap", "count"), [(12, 0.0, 2), (6, 0.0, 8), (6, 0.5, 18), (5, 0.0, 12), (40, 0.5, 1)])
def test_boxes_cover_the_image_and_no_more(patch, overlap, count):
    boxes = grid_boxes(SHAPE, patch, overlap)
    assert len(boxes) == count and covered(boxes).min() >= 1
    for box in boxes:
        assert all(b.stop - b.start == min(patch, n) and b.start >= 0 and b.stop <= n for b, n in zip(box, SHAPE, strict=True))


def test_boxes_without_overlap_meet_where_they_fit():
    assert torch.equal(covered(grid_boxes((12, 24), 6), (12, 24)), torch.ones(12, 24))
    for settings in ((0, 0.0), (4, 1.0), (4, -0.1)):
        with pytest.raises(ValueError, match="side of 1 or more"):
            grid_boxes(SHAPE, *settings)


def test_the_input_outside_the_box_is_exact_and_inside_it_is_the_forward_process():
    x, noise, sigma = torch.rand(2, 1, *SHAPE), torch.randn(2, 1, *SHAPE), torch.tensor([0.3, 2.0])
    box = box_mask(SHAPE, CENTRE)[None, None]
    noisy = noised_in(x, sigma, noise, box)
    inside = box.bool().expand_as(x)
    assert torch.equal(noisy[~inside], x[~inside])
    assert torch.allclose(noisy[inside], (x + sigma.view(-1, 1, 1, 1) * noise)[inside])


class Toy(torch.nn.Module):
    """A network that makes the denoiser that of Gaussian data, of variance 1 about the mean of the clean context."""

    def forward(self, x, c_noise, *, concat, vector=None, tokens=None):
        sigma = torch.exp(4 * c_noise).view(-1, 1, 1, 1)
        skip, out, scale, _ = (c.view(-1, 1, 1, 1) for c in edm(1.0)(sigma.flatten()))
        image, box = x / scale, concat[:, 1:]
        mean = (image * (1 - box)).flatten(1).sum(1) / (1 - box).flatten(1).sum(1)
        mean = mean.view(-1, 1, 1, 1)
        return (mean + (image - mean) / (1 + sigma**2) - skip * image) / out


def test_the_loss_counts_the_tissue_of_the_box_alone_and_has_a_closed_form():
    x0, noise = torch.full((2, 1, *SHAPE), 0.7), torch.randn(2, 1, *SHAPE)
    sigma, box = torch.tensor([0.5, 1.5]), box_mask(SHAPE, CENTRE).expand(2, 1, -1, -1)
    tissue = torch.ones_like(box)
    tissue[..., :6, :] = 0
    denoiser, counted = Denoiser(Toy(), edm(1.0)), (box * tissue).bool()
    # context 0.7 everywhere: D - x0 = sigma n / (1 + sigma^2)
    shrunk = (sigma / (1 + sigma**2)).view(-1, 1, 1, 1) * noise
    out = edm(1.0)(sigma)[1]
    for power in (1.0, 2.0):
        found = patch_loss(denoiser, x0, sigma, noise, concat=torch.cat([tissue, box], 1), power=power)
        wanted = torch.stack([shrunk[i][counted[i]].abs().pow(power).mean() for i in range(2)]) / out**power
        assert torch.allclose(found, wanted, rtol=1e-4)
    empty = patch_loss(denoiser, x0, sigma, noise, concat=torch.cat([torch.zeros_like(box), box], 1))
    whole = torch.stack([shrunk[i][box[i].bool()].abs().mean() for i in range(2)]) / out
    assert torch.allclose(empty, whole, rtol=1e-4)


def test_estimates_of_overlapping_boxes_are_averaged_with_one_noise_an_item():
    x, noise = torch.rand(2, 1, *SHAPE) + 0.1, torch.randn(2, 1, *SHAPE)
    boxes, seen = grid_boxes(SHAPE, 6, 0.5), []

    def denoise(noisy, sigma, box, rows):
        seen.append((noisy - x[rows]) * box)
        return noisy * 0 + len(seen)

    found = patched_estimate(denoise, x, 0.4, noise, boxes)
    total = sum((k + 1) * box_mask(SHAPE, box) for k, box in enumerate(boxes))
    assert torch.allclose(found[0, 0], total / covered(boxes))
    for box, difference in zip(boxes, seen, strict=True):
        assert torch.allclose(difference, 0.4 * noise * box_mask(SHAPE, box), atol=1e-6)


def test_items_without_tissue_in_a_box_and_pixels_without_a_box_stay():
    x = torch.zeros(2, 1, *SHAPE)
    x[0, :, 4:8, 6:16] = 0.5
    calls = []

    def denoise(noisy, sigma, box, rows):
        calls.append(rows.tolist())
        return noisy * 0 + 9

    found = patched_estimate(denoise, x, 1.0, torch.randn_like(x), [CENTRE])
    assert calls == [[True, False]] and torch.equal(found[1], x[1])
    inside = box_mask(SHAPE, CENTRE).bool()
    assert torch.equal(found[0, 0][~inside], x[0, 0][~inside]) and (found[0, 0][inside] == 9).all()


def test_a_tent_is_highest_in_the_middle_and_positive_in_its_box():
    tent = window(SHAPE, CENTRE, "tent")
    assert torch.equal(tent > 0, box_mask(SHAPE, CENTRE).bool()) and tent.max() == 1
    assert tent[4, 6] == tent[7, 15] == 1 / 2 * 1 / 5 and torch.equal(window(SHAPE, CENTRE), box_mask(SHAPE, CENTRE))
    with pytest.raises(ValueError, match="blend"):
        window(SHAPE, CENTRE, "cut")
