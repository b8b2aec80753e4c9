"""The shipped OCT prior on simulated frames: contrast, edges, brightness, and the choice of the level."""

import math

import pytest
import torch

from diffzoo.diffusion.denoiser import Denoiser
from diffzoo.imaging.intensity import robust_scale
from diffzoo.imaging.noise_level import flat_noise_level
from diffzoo.imaging.phantoms.retina import LAYERS, display, retina
from diffzoo.imaging.speckle import log_speckle
from diffzoo.zoo.session import Session

FRAMES, SEEDS = 3, (900, 901)
GREY = 4.4
NAMES = [name for name, *_ in LAYERS]


@pytest.fixture(scope="module")
def denoise():
    session = Session("oct_ddpm", device="cpu")
    return Denoiser(session.get("network").eval(), session.get("precond")).bind()


def frames(looks: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, float]:
    """Clean and speckled frames [N, 1, X, Z] as grey values, their layers, and the noise that is told from the latter."""
    eyes = [retina((128, 128, FRAMES), seed) for seed in SEEDS]
    clean = torch.cat([torch.from_numpy(display(eye.levels)).movedim(-1, 0) for eye in eyes])[:, None].float()
    layers = torch.cat([torch.from_numpy(eye.layers).movedim(-1, 0) for eye in eyes])[:, None]
    noise = log_speckle(tuple(clean[:, 0].shape), looks, 0.6, torch.Generator().manual_seed(looks))[:, None]
    speckled = (clean + GREY * noise).clamp(min=0)
    return clean, speckled, layers, flat_noise_level(speckled[:, 0])


@torch.no_grad()
def restored(denoise, speckled: torch.Tensor, sd: float) -> torch.Tensor:
    scale = robust_scale(speckled)
    return denoise(speckled / scale, sd / scale) * scale


def contrast(image: torch.Tensor, layers: torch.Tensor, first: str, second: str) -> float:
    """Contrast-to-noise ratio of two layers."""
    a, b = (image[layers == 1 + NAMES.index(name)] for name in (first, second))
    return float((a.mean() - b.mean()).abs() / (0.5 * (a.var() + b.var())).sqrt())


def test_layers_stand_out_more_and_keep_their_edges_and_brightness(denoise):
    clean, speckled, layers, sd = frames(1)
    image = restored(denoise, speckled, sd)
    assert contrast(image, layers, "nerve fibres", "inner nuclear") > 1.5 * contrast(
        speckled, layers, "nerve fibres", "inner nuclear"
    )
    border = (layers[..., 1:] > 0) & (layers[..., :-1] == 0)  # of vitreous and retina
    steps = [float((x[..., 2:] - x[..., :-2])[border[..., 1:]].mean()) for x in (image, clean)]
    assert steps[0] > 0.8 * steps[1]
    for number in (1 + NAMES.index("nerve fibres"), 1 + NAMES.index("outer nuclear")):
        inside = layers == number
        assert float(image[inside].mean()) == pytest.approx(float(speckled[inside].mean()), rel=0.03)


def test_more_is_taken_out_at_a_higher_level_and_the_best_level_rises_with_the_noise(denoise):
    best = []
    for looks in (4, 2, 1):
        clean, speckled, _, sd = frames(looks)
        levels = [GREY * k for k in (1.6, 2.3, 3.5, 5.5, 8.0)]
        images = [restored(denoise, speckled, level) for level in levels]
        removed = [float((speckled - x).square().mean()) for x in images]
        assert removed == sorted(removed)
        errors = [float((x - clean).square().mean()) for x in images]
        best.append(levels[errors.index(min(errors))])
        assert abs(math.log(best[-1] / sd)) < math.log(1.8)  # what is told from the frame is near the best
    assert best == sorted(best) and best[0] < best[-1]
