"""Maps drawn from latents and images painted on them: by seed, by condition, and in a style."""

import math

import pytest
import torch
from torch import nn

from diffzoo.diffusion.noise import stream
from diffzoo.diffusion.precond import x0
from diffzoo.diffusion.samplers import ancestral, euler
from diffzoo.errors import InputError
from diffzoo.networks.autoencoder import Autoencoder
from diffzoo.networks.composite import LatentDiffusion
from diffzoo.networks.spade import SpadeGenerator
from diffzoo.tasks.generate.inferer import DrawMaps, disobeyed, paint, styles_of

SIZE, SIGMAS = (13, 10), [4.0, 1.0, 0.3, 0.0]


class Asked(nn.Module):
    """Estimates that every latent is the value that was asked for, 0 where none was; it remembers how it was called."""

    def forward(self, x, c_noise, *, tokens, **others):
        self.called = getattr(self, "called", 0) + 1
        return tokens[:, 0, -1].view(-1, 1, 1, 1).expand_as(x)


@pytest.fixture
def system():
    torch.manual_seed(0)
    return LatentDiffusion(Autoencoder(2, 3, (4, 8, 8), norm_num_groups=2, soft_labels=True), Asked()).eval()


@pytest.fixture
def painter():
    torch.manual_seed(0)
    painter = SpadeGenerator(2, 3, 1, (8, 8), 4, 8, (4, 8)).eval()
    painter.last.bias.data.fill_(1.0)  # untrained it paints about 0, which is cut
    return painter


def draw(sampler=euler, **more):
    return DrawMaps(x0(), sampler, SIGMAS, SIZE, **more)


def values(*flags):
    return torch.tensor([[flag, math.nan] for flag in flags])


def test_maps_are_a_partition_of_unity_of_the_size_that_was_asked(system):
    maps = draw()(system, values(1.0, 0.0), [0, 1])
    assert maps.shape == (2, 3, *SIZE) and torch.allclose(maps.sum(1), torch.ones(2, *SIZE), atol=1e-5)


def test_they_end_where_the_network_says_and_follow_what_is_asked(system):
    """The last step of Euler lands on the estimate, which is known here in closed form."""
    maps = draw()(system, values(0.7, -0.2, math.nan), [0, 1, 2])
    for one, level in zip(maps, (0.7, -0.2, 0.0), strict=True):
        with torch.no_grad():
            expected = system.space.decode(torch.full((1, 3, 4, 3), level), SIZE)[0]
        assert torch.allclose(one, expected, atol=1e-5)


def test_a_map_does_not_depend_on_those_beside_it(system):
    system.diffusion = nn.Identity()
    system.diffusion.forward = lambda x, c_noise, tokens, **_: 0.9 * x
    both = draw(ancestral)(system, values(1.0, 0.0), [5, 6])
    again = draw(ancestral)(system, values(0.0), [6])
    assert torch.allclose(both[1:], again, atol=1e-5) and not torch.allclose(both[0], both[1], atol=1e-3)


def test_guidance_goes_beyond_what_is_asked(system):
    plain, guided = (draw(guidance=scale)(system, values(0.5), [0]) for scale in (1.0, 3.0))
    with torch.no_grad():  # unconditionally it would be 0: 0 + 3 (0.5 - 0)
        expected = system.space.decode(torch.full((1, 3, 4, 3), 1.5), SIZE)
    assert torch.allclose(guided, expected, atol=1e-5) and not torch.allclose(plain, guided, atol=1e-4)


def test_every_step_is_told(system):
    told = []
    draw()(system, values(0.0), [0], callback=lambda i, *_: told.append(i))
    assert len(told) == len(SIGMAS) - 1 == system.diffusion.called


def test_a_map_that_disobeys_its_flag_is_drawn_again_alone(monkeypatch):
    asked_of = []

    def drawn(self, network, values, seeds, callback):
        """Maps whose last label is shown by the seed: half of all."""
        asked_of.append(list(seeds))
        return torch.tensor([float(stream(seed, 9) % 2) for seed in seeds])[:, None, None, None].repeat(1, 2, 3, 3)

    monkeypatch.setattr(DrawMaps, "_drawn", drawn)
    seeds, flags = list(range(20)), values(*([1.0] * 10 + [0.0] * 9 + [math.nan]))
    once = draw()(None, flags, seeds)
    wrong = disobeyed(once, flags)
    assert 3 < wrong.sum() < 17 and not wrong[-1] and asked_of == [seeds]
    often = draw(attempts=8)(None, flags, seeds)
    assert not disobeyed(often, flags).any() and torch.equal(often[~wrong], once[~wrong])
    assert [len(one) for one in asked_of[1:3]] == [20, int(wrong.sum())] and len(asked_of) < 9  # no more than there is need for
    assert torch.equal(draw(attempts=8)(None, flags[wrong], [k for k in seeds if wrong[k]]), often[wrong])


def test_images_are_painted_in_their_style_on_no_background(painter):
    maps = torch.zeros(3, 3, 12, 12)
    maps[:, 1, :, :6], maps[:, 0, :, 6:] = 1, 1
    codes = torch.randn(2, painter.style_size, generator=torch.Generator().manual_seed(0))[[0, 1, 0]]
    made = paint(painter, maps, codes, batch=2)
    assert made.shape == (3, 1, 12, 12) and (made >= 0).all() and not made[..., 6:].any() and made[..., :6].any()
    assert torch.allclose(made[0], made[2], atol=1e-6)
    assert not torch.allclose(made[0], made[1], atol=1e-4)
    assert torch.allclose(paint(painter, maps, codes[:1])[1], made[0], atol=1e-6)  # one style for all


def test_a_style_is_the_mean_over_slices(painter):
    slices = torch.rand(4, 1, 12, 12)
    with torch.no_grad():
        expected = painter.encode(slices)[0].mean(0, keepdim=True)
    assert torch.allclose(styles_of(painter, slices), expected)
    with pytest.raises(InputError, match="needs an image"):
        styles_of(painter, slices[:0])


def test_seeds_of_another_number_are_told(system):
    with pytest.raises(InputError, match="2 maps are asked for, with 1 seeds"):
        draw()(system, values(0.0, 1.0), [0])
