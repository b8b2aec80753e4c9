"""Frequency guidance in closed form: what an exact denoiser makes of the start, what the guide carries, one stream a slice."""

import pytest
import torch
from ct_toy import body
from torch import nn

from diffzoo.diffusion.precond import x0
from diffzoo.diffusion.samplers import ancestral, dpmpp_2m
from diffzoo.diffusion.short_schedule import short_levels
from diffzoo.imaging.edges import to_units
from diffzoo.imaging.guide import Guide
from diffzoo.tasks.translate.frequency import FrequencyGuided

IMAGE = to_units(torch.from_numpy(body()))[None, None]  # [1, 1, 72, 64, 6]
INDEX = torch.arange(6)[None]


def flags(image=IMAGE, index=INDEX):
    """What every translation takes beside the image; this one reads the numbers of the slices alone."""
    told = {"given": torch.ones(1, 1), "wanted": torch.ones(1, 1), "inside": image > 0.1, "position": torch.zeros(index.shape)}
    return told | {"slice_index": index}


class Exact(nn.Module):
    """The denoiser of Gaussian pixels N(mean, spread^2): the estimate of x0 from x0 + sigma n; it keeps what it was told."""

    def __init__(self, mean: float = 0.5, spread: float = 0.2) -> None:
        super().__init__()
        self.mean, self.spread, self.told = mean, spread, []

    def forward(self, x, c_noise, *, concat=None, vector=None, tokens=None):
        self.told.append(concat)
        variance, noise = self.spread**2, c_noise.view(-1, 1, 1, 1).exp() ** 2
        return (noise * self.mean + variance * x) / (noise + variance)


class FromGuide(nn.Module):
    """The first of what is told, as the estimate."""

    def forward(self, x, c_noise, *, concat=None, vector=None, tokens=None):
        return concat[:, :1]


def inferer(**options):
    return FrequencyGuided(**{"precond": x0(), "sampler": ancestral, "sigmas": short_levels(8), "guide": Guide(), **options})


def test_the_network_is_told_the_edges_of_the_source():
    found = inferer()(IMAGE, FromGuide(), **flags())
    torch.testing.assert_close(found[0].movedim(-1, 0), Guide()(IMAGE[0].movedim(-1, 0))[:, :1])
    assert not inferer(guide=Guide(edges=None))(IMAGE, FromGuide(), **flags()).any()


def test_the_start_keeps_as_much_of_the_source_as_the_exact_answer_does():
    # a deterministic sampler of Gaussian pixels shrinks what the start deviates by spread / sqrt(spread^2 + sigma^2)
    fine = {"sampler": dpmpp_2m, "sigmas": short_levels(400)}
    shades = torch.tensor([0.4, 0.6]).view(1, 1, 1, 1, 2).expand(1, 1, 96, 96, 2)
    found = inferer(**fine)(shades, Exact(), **flags(shades, INDEX[:, :2]))
    share = 0.2 / (0.2**2 + short_levels(4)[0] ** 2) ** 0.5
    for shade, part in zip((0.4, 0.6), found.unbind(-1), strict=True):
        assert float(part.mean()) == pytest.approx(0.5 + share * (shade - 0.5), abs=0.01)
    lost = inferer(**fine, start="noise")(shades, Exact(), **flags(shades, INDEX[:, :2]))
    assert float(lost.mean()) == pytest.approx(0.5 - share * 0.5, abs=0.01)  # as from a source of air


def test_four_steps_of_a_gan_are_those_of_the_card():
    chain = inferer(sigmas=short_levels(4))
    network = Exact()
    chain(IMAGE, network, **flags())
    assert len(network.told) == 4 and chain.stats["network_calls"] == 4 and chain.workload() == "4 steps a slice"


def test_a_slice_depends_neither_on_its_batch_nor_on_the_others():
    network = Exact()
    whole = inferer(slice_batch=8)(IMAGE, network, **flags())
    parts = inferer(slice_batch=2)(IMAGE, network, **flags())
    torch.testing.assert_close(whole, parts)
    alone = inferer()(IMAGE[..., 4:5], network, **flags(IMAGE[..., 4:5], torch.tensor([[4]])))
    torch.testing.assert_close(whole[..., 4:5], alone)
    assert not torch.allclose(whole, inferer(seed=1)(IMAGE, network, **flags()))


def test_draws_give_mean_first_and_spread():
    one = inferer()(IMAGE, Exact(), **flags())
    several = inferer(samples=5)
    found = several(IMAGE, Exact(), **flags())
    assert one.shape == (1, 1, 72, 64, 6) and found.shape == (1, 3, 72, 64, 6)
    torch.testing.assert_close(found[:, 1:2], one)
    draws = torch.cat([found[:, 1:2], one])
    assert float((found[:, 0] - draws[0]).abs().mean()) > 0.01 and 0.05 < float(found[:, 2].mean()) < 0.3
    assert several.stats["network_calls"] == 8 and several.workload() == "8 steps a slice, 5 draws"
    assert several.memory((256, 256, 80)) > several.memory((128, 128, 80)) > 0.7e9


def test_options_that_make_no_sense_are_refused():
    with pytest.raises(ValueError, match="starts from source or noise"):
        inferer(start="edges")
    with pytest.raises(ValueError, match="at least 1"):
        inferer(samples=0)
