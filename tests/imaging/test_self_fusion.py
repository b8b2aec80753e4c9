"""Self-fusion: registration of neighbours, their weights, and how much less noise is left."""

import pytest
import torch
from scipy import ndimage

from diffzoo.imaging.phantoms.retina import display, retina
from diffzoo.imaging.self_fusion import fused_stack, joint_weights, self_fused, shifted_onto
from diffzoo.imaging.speckle import log_speckle


def frames(motion: float, count: int = 7) -> torch.Tensor:
    eye = display(retina((96, 96, count), 4, motion=motion).levels)
    return torch.from_numpy(eye).movedim(-1, 0).float().contiguous()


def speckled(clean: torch.Tensor) -> torch.Tensor:
    return clean + 4.4 * log_speckle(tuple(clean.shape), 1, 0.6, torch.Generator().manual_seed(0))


def test_a_shift_is_undone():
    frame = frames(0.0)[3]
    moved = torch.from_numpy(ndimage.shift(frame.numpy(), (2, -3), order=1, mode="nearest"))
    inner = (slice(8, -8), slice(8, -8))
    before = float((moved - frame)[inner].abs().mean())
    assert float((shifted_onto(moved, frame) - frame)[inner].abs().mean()) < 0.15 * before


def test_a_shift_too_far_is_taken_for_a_mistake():
    frame = frames(0.0)[3]
    assert torch.equal(shifted_onto(frame.roll(20, 0), frame), frame.roll(20, 0))


def test_weights_sum_to_one_and_a_stranger_counts_less():
    clean = frames(0.0)
    noisy = speckled(clean)
    images = torch.stack([noisy[2], noisy[4], noisy[5].flip(1)])
    weights = joint_weights(noisy[3], images)
    torch.testing.assert_close(weights.sum(0), torch.ones(96, 96))
    assert float(weights[2].mean()) < 0.8 * float(weights[:2].mean())


def test_equal_neighbours_count_alike_and_change_nothing():
    stack = frames(0.0)[3].expand(5, -1, -1).contiguous()
    torch.testing.assert_close(joint_weights(stack[0], stack[1:]), torch.full((4, 96, 96), 0.25))
    torch.testing.assert_close(self_fused(stack, 2), stack[0])


@pytest.mark.parametrize("motion", [0.0, 1.0])
def test_fused_frames_have_less_than_half_of_the_noise(motion):
    clean = frames(motion)
    noisy = speckled(clean)
    fused = fused_stack(noisy, 3, [3])[0]
    assert float((fused - clean[3]).std()) < 0.5 * float((noisy[3] - clean[3]).std())
    assert float((fused - clean[3]).mean()) == pytest.approx(0, abs=1.0)


def test_a_frame_alone_stays_and_a_radius_is_a_count():
    stack = frames(0.0)
    assert torch.equal(self_fused(stack[:1], 0), stack[0]) and torch.equal(self_fused(stack, 2, 0), stack[2])
    with pytest.raises(ValueError, match="counts neighbours"):
        self_fused(stack, 2, -1)
