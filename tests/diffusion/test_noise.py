import pytest
import torch

from diffzoo.diffusion.noise import Gaussian, mixture, noised, stream


def test_items_have_their_own_streams():
    like = torch.zeros(3, 2, 5)
    whole = Gaussian([1, 2, 3])
    first, second = whole(like), whole(like)
    alone = Gaussian([2])
    assert torch.equal(first[1:2], alone(like[:1])) and torch.equal(second[1:2], alone(like[:1]))
    assert not torch.equal(first, second)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_dtype_and_moments(dtype):
    draw = Gaussian([0, 1])(torch.zeros(2, 1, 20000, dtype=dtype))
    assert draw.dtype == dtype
    assert draw.double().mean().abs() < 0.02 and draw.double().std() == pytest.approx(1, abs=0.02)
    assert (draw[0].double() * draw[1].double()).mean().abs() < 0.03


def test_bad_input():
    with pytest.raises(ValueError, match="3 items needs 3 seeds"):
        Gaussian([1, 2])(torch.zeros(3, 1, 4))
    for dtype in (torch.int64, torch.complex64):
        with pytest.raises(ValueError, match="real floating"):
            Gaussian([1])(torch.zeros(1, 1, 4, dtype=dtype))


def test_streams_are_mixed_stable_and_distinct():
    seeds = {stream(s, a, b) for s in range(5) for a in range(20) for b in range(20)}
    assert len(seeds) == 2000 and all(0 <= s < 2**63 for s in seeds)
    assert stream(0, 1, 2) != stream(0, 2, 1) != stream(0, 12) and stream(7) == stream(7)
    ones = sum(bin(stream(0, k) ^ stream(0, k + 1)).count("1") for k in range(200)) / 200
    assert ones == pytest.approx(31.5, abs=2)


def test_noised():
    assert torch.equal(noised(torch.ones(1, 1, 3), 2.0, torch.ones_like), torch.full((1, 1, 3), 3.0))


def test_a_mixture_draws_each_item_from_one_of_two_noises():
    like = torch.zeros(4000, 1, 2, 2)
    ones, twos = (lambda x, g: torch.ones_like(x)), (lambda x, g: 2 * torch.ones_like(x))
    drawn = mixture(ones, twos, 0.25)(like, torch.Generator().manual_seed(0))
    assert (drawn.amax((1, 2, 3)) == drawn.amin((1, 2, 3))).all()
    share = (drawn[:, 0, 0, 0] == 1).double().mean()
    assert abs(share - 0.25) < 4 * (0.25 * 0.75 / 4000) ** 0.5
    with pytest.raises(ValueError, match="share"):
        mixture(ones, twos, 1.5)
