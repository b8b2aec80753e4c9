"""Draws of missing contrasts: exact on Gaussian data, and what is given is never touched."""

from functools import partial

import pytest
import torch
from torch import nn

from diffzoo.diffusion import samplers
from diffzoo.diffusion.precond import x0
from diffzoo.diffusion.schedule import karras
from diffzoo.tasks.translate.inferer import Translate

ROLES = ("a", "b", "c")
H, W, D = 8, 10, 5
SD = 0.1


class Correlated(nn.Module):
    """The exact denoiser of targets that are Gaussian about the mean of what is given, each pixel with the same sd."""

    def forward(self, x, c_noise, *, concat, vector):
        sources, flags = concat[:, :3], concat[:, 3:6]
        mean = sources.sum(1, keepdim=True) / flags.sum(1, keepdim=True).clamp(min=1)
        sigma = c_noise.exp().view(-1, 1, 1, 1)  # `x0` gives the network ln sigma
        return (SD**2 * x + sigma**2 * mean) / (SD**2 + sigma**2)


def made(samples=1, sampler=samplers.heun, steps=24, **options):
    return Translate(x0(), sampler, karras(steps, 0.002, 10.0), ROLES, ROLES, samples=samples, **options)


def item(given=(1, 0, 0), wanted=(0, 1, 1)):
    generator = torch.Generator().manual_seed(0)
    image = 0.8 + 0.3 * torch.rand(1, 3, H, W, D, generator=generator)
    inside = torch.ones(1, 1, H, W, D)
    inside[..., :2, :, :] = 0
    told = {"given": torch.tensor([given]).float(), "wanted": torch.tensor([wanted]).float(), "inside": inside}
    return image * inside, told | {"position": torch.linspace(0, 1, D)[None], "slice_index": torch.arange(D)[None]}


def test_draws_have_the_mean_and_the_spread_of_the_posterior():
    image, told = item()
    found = made(200, shared_noise=False)(image, Correlated(), **told)
    mean, first, std = found[0].split(3)
    inside = told["inside"][0, 0] > 0
    assert (mean[1] - image[0, 0])[inside].abs().mean() < 3 * SD / 200**0.5
    assert std[1][inside].mean() == pytest.approx(SD, rel=0.03) and not torch.equal(first[1], first[2])


def test_what_is_not_wanted_and_what_lies_outside_are_zero():
    image, told = item(wanted=(0, 0, 1))
    found = made()(image, Correlated(), **told)[0]
    assert found.shape == (3, H, W, D) and not found[:2].any() and not found[2][:2].any() and found[2][2:].all()


def test_given_images_stay_at_every_level_as_they_are():
    image, told = item()
    states = []

    def watched(denoise, x, sigmas, **options):
        states.append(x)
        return samplers.euler(lambda y, s: states.append(y) or denoise(y, s), x, sigmas, **options)

    inferer = made(sampler=watched, steps=6)
    inferer(image, Correlated(), **told)
    clean = image[0, 0].movedim(-1, 0)
    for state in states:
        torch.testing.assert_close(state[:, 0], clean, atol=1e-6, rtol=0)


def test_a_draw_depends_on_neither_batch_nor_order():
    image, told = item()
    whole, single = (made(slice_batch=n, shared_noise=False)(image, Correlated(), **told) for n in (16, 1))
    torch.testing.assert_close(whole, single)


def test_slices_share_their_noise_unless_asked_otherwise():
    image, told = item()
    flat = image[..., :1].expand(image.shape).contiguous()
    shared, own = (made(shared_noise=flag)(flat, Correlated(), **told)[0, 1] for flag in (True, False))
    assert torch.equal(shared[..., 0], shared[..., 3]) and not torch.equal(own[..., 0], own[..., 3])


@pytest.mark.parametrize("name", ["dpmpp_2m", "euler", "ancestral", "predictor_corrector", "euler_maruyama"])
def test_every_sampler_finds_the_posterior_mean(name):
    image, told = item()
    inferer = made(30, partial(samplers.named(name)), 100, shared_noise=False)
    mean = inferer(image, Correlated(), **told)[0, 1]
    inside = told["inside"][0, 0] > 0
    assert (mean - image[0, 0])[inside].abs().mean() < 0.04
    assert inferer.stats["network_calls"] >= 100 and "30 draws" in inferer.workload() and inferer.memory((9, 9, 9)) > 1e8


def test_no_draw_and_no_slice_are_refused():
    with pytest.raises(ValueError, match="at least 1"):
        made(0)


def test_the_network_can_be_left_untold_of_what_is_given():
    image, told = item()
    seen = []

    class Watched(Correlated):
        def forward(self, x, c_noise, *, concat, vector):
            seen.append((concat[:, 3:6].abs().sum(), vector[:, :3].abs().sum(), concat[:, :3].abs().sum()))
            return super().forward(x, c_noise, concat=concat, vector=vector)

    made(steps=2, tell_given=False)(image, Watched(), **told)
    assert all(planes == 0 and flags == 0 and images > 0 for planes, flags, images in seen)
