"""Counterfactuals of labelled images: encode a slice by the ODE as it is, decode it as if it were healthy."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor, nn

from diffzoo.diffusion import guidance
from diffzoo.diffusion.denoiser import Denoise, Denoiser, expand_as
from diffzoo.diffusion.deterministic import invert
from diffzoo.diffusion.march import Callback
from diffzoo.diffusion.noise import Noise, noised
from diffzoo.diffusion.schedule import from_alphas
from diffzoo.networks.label_tokens import HEALTHY, NULL, conditions_of
from diffzoo.tasks.anomaly.inferer import FindAnomalies


class LabelledDenoise:
    """A denoiser of a batch of slices to which a label can be told; called, it is told none.

    vector [B, E] and concat [B, 1, H, W] are the conditions of the slices. A network with `labels` takes the label by
    `networks.label_tokens`, the null label included; one without knows no labels.
    """

    def __init__(self, denoiser: Denoiser, vector: Tensor, concat: Tensor | None, labels: bool = True) -> None:
        self.denoiser, self.vector, self.concat, self.labels = denoiser, vector, concat, labels

    def __call__(self, x: Tensor, sigma: float) -> Tensor:
        return self.given(NULL)(x, sigma)

    def given(self, label: int) -> Denoise:
        """The denoiser under a label: 0 healthy, 1 diseased, -1 null."""
        if not self.labels:
            return self.denoiser.bind(vector=self.vector, concat=self.concat)
        labels = torch.full((len(self.vector),), label, device=self.vector.device)
        return self.denoiser.bind(concat=self.concat, **conditions_of(self.vector, labels))

    def log_prob(self, classifier: nn.Module, label: int) -> Callable[[Tensor, float], Tensor]:
        """log p(label | x) [B] of noisy slices x [B, 1, H, W] at a level, by a classifier that shares the preconditioner."""

        def of(x: Tensor, sigma: float) -> Tensor:
            levels = torch.full((len(x),), sigma, dtype=x.dtype, device=x.device)
            return classify(classifier.to(x.device), self.denoiser, x, levels, self.vector, self.concat)[:, label]

        return of


def classify(classifier: nn.Module, denoiser: Denoiser, x: Tensor, sigma: Tensor, vector: Tensor, concat: Tensor) -> Tensor:
    """log p(label | x) [B, K] of noisy images x [B, C, *S] at levels sigma [B], scaled as the preconditioner scales them."""
    _, _, scale, noise_label = denoiser.precond(sigma)
    return classifier(expand_as(scale, x) * x, noise_label, concat=concat, vector=vector).log_softmax(1)


class Guidance(Protocol):
    """How a counterfactual is steered: from the denoiser of a batch to those of encoding and decoding."""

    calls: int  # network calls of the diffusion network at each decoding step

    def encoder(self, denoise: LabelledDenoise) -> Denoise:
        """The denoiser on the way up, which knows no label."""

    def decoder(self, denoise: LabelledDenoise) -> Denoise:
        """The denoiser on the way down."""


@dataclass(frozen=True)
class ImplicitGuidance:
    """Classifier-free guidance towards a label, with dynamic normalisation in both directions (Sanchez et al. 2022, sec. 3).

    scale: w of e_0 + w (e_c - e_0): 0 gives the round trip without a label, 1 the label alone. quantile: of |x0| in a slice,
    which is brought down to `ceiling` where it lies above, and clipped there; 1 for none.
    """

    scale: float = 3.0
    quantile: float = 0.99
    ceiling: float = 1.5
    target: int = HEALTHY

    @property
    def calls(self) -> int:
        """Network calls a decoding step."""
        return 1 if self.scale in (0, 1) else 2

    def encoder(self, denoise: LabelledDenoise) -> Denoise:
        """The denoiser with the null label."""
        return self._normalised(denoise.given(NULL))

    def decoder(self, denoise: LabelledDenoise) -> Denoise:
        """The denoiser guided towards the target."""
        null = denoise.given(NULL)
        return self._normalised(null if self.scale == 0 else guidance.cfg(denoise.given(self.target), null, self.scale))

    def _normalised(self, denoise: Denoise) -> Denoise:
        return guidance.dynamic_threshold(denoise, self.quantile, self.ceiling) if self.quantile < 1 else denoise


@dataclass(frozen=True)
class ClassifierGuidance:
    """Guidance by the gradient of a classifier of noisy images (Dhariwal & Nichol 2021; Wolleb et al. 2022, alg. 1).

    scale: s of x0 + s sigma^2 grad log p(target | x); 0 gives the round trip.
    """

    classifier: nn.Module
    scale: float = 1.0
    target: int = HEALTHY
    calls: int = 1

    def encoder(self, denoise: LabelledDenoise) -> Denoise:
        """The denoiser, which knows no label."""
        return denoise.given(NULL)

    def decoder(self, denoise: LabelledDenoise) -> Denoise:
        """The denoiser with the gradient."""
        if self.scale == 0:
            return denoise.given(NULL)
        return guidance.classifier(denoise.given(NULL), denoise.log_prob(self.classifier, self.target), self.scale)


@dataclass(frozen=True)
class Counterfactual:
    """edit(denoise, x [B, C, *S], seeds, callback) -> x as it would be under the label that `guidance` steers to.

    Up the grid `sigmas` (from the level of encoding to 0, walked from its end) by the inversion of the ODE without a label,
    `corrections` of it a step, and down again by `sampler` under guidance: no noise is drawn, seeds are not used. With `noise`
    the way up is a draw of noise instead, as in `tasks.edit.Edit`. A grid that is empty changes nothing.
    """

    sampler: Callable[..., Tensor]
    sigmas: Sequence[float]
    guidance: Guidance
    corrections: int = 0
    noise: Noise | None = None

    @property
    def steps(self) -> int:
        """Steps of both ways together, of which each tells the callback once."""
        return (1 if self.noise else 2) * max(0, len(self.sigmas) - 1)

    @property
    def calls(self) -> int:
        """Calls of the diffusion network a slice, with a sampler of order 1."""
        up = 0 if self.noise else 1 + self.corrections
        return max(0, len(self.sigmas) - 1) * (up + self.guidance.calls)

    def __call__(self, denoise: LabelledDenoise, x: Tensor, seeds: Sequence[int], callback: Callback | None = None) -> Tensor:
        if not self.steps:
            return x.clone()
        decoder = self.guidance.decoder(denoise)
        if self.noise:
            source = self.noise(seeds)
            return self.sampler(decoder, noised(x, self.sigmas[0], source), self.sigmas, noise=source, callback=callback)
        rising = list(self.sigmas)[::-1]
        state = invert(self.guidance.encoder(denoise), x, rising, corrections=self.corrections, callback=callback)
        return self.sampler(decoder, state, self.sigmas, callback=callback)


class FindCounterfactuals(FindAnomalies):
    """`FindAnomalies` whose edit is told labels: a `Counterfactual` of each slice. labels: whether the network takes any."""

    def __init__(self, *given, labels: bool = True, **options) -> None:
        super().__init__(*given, **options)
        self.labels = labels

    def workload(self) -> str:
        """What a slice costs, in words for a person."""
        return f"{self.average * self.edit.calls} network calls a slice of the brain"

    def conditioned(self, denoiser: Denoiser, facts: Tensor, inside: Tensor) -> LabelledDenoise:
        """The denoiser of some slices, to which a label can be told."""
        return LabelledDenoise(denoiser, facts, inside if self.outline else None, self.labels)


def encoding_levels(alphas_cumprod: Tensor, steps: int, ratio: float, scale: float = 1.0) -> list[float]:
    """Grid of the lower part of a DDIM chain of `steps` over a DDPM table alpha_bar [T]: a share `ratio`, times `scale`, then 0.

    The explicit list of (t, t_next) pairs that a published setting encodes and decodes on. `scale` carries its unit of intensity
    over to ours. Raises ValueError for a ratio beyond 0 to 1, or more steps than the table has.
    """
    if not 0 <= ratio <= 1:
        raise ValueError(f"the share of the chain lies between 0 and 1, not at {ratio}")
    count = round(ratio * steps)
    return [scale * level for level in from_alphas(alphas_cumprod, steps)[-count - 1 :]] if count else []
