"""Deformable registration by the latent of a diffusion network, with the path on the way and images generated along it."""

import math
import time
from collections.abc import Mapping, Sequence

import torch
from monai.inferers import Inferer
from monai.transforms import Transform
from torch import Tensor, nn

from diffzoo.diffusion.denoiser import Denoiser
from diffzoo.diffusion.guidance import clamp
from diffzoo.diffusion.noise import stream
from diffzoo.diffusion.precond import Precond
from diffzoo.imaging.fields import compose, folding, integrate, inverse_error, warp
from diffzoo.imaging.geometry import plain
from diffzoo.networks.diffusemorph import centred, registration_latent
from diffzoo.tasks.edit import Edit
from diffzoo.tasks.progress import Counter, Progress
from diffzoo.tasks.register.refine import Similarity, refinement

BASE_BYTES = 0.7e9  # Python with torch and MONAI
VOXEL_BYTES = 120.0  # of the scans, the field and their copies
NETWORK_BYTES = 0.5e9  # activations on the model's grid


def correlation(x: Tensor, y: Tensor) -> Tensor:
    """Pearson correlation [B] of images [B, C, *S], over all voxels: the global NCC; 0 for a constant image."""
    a, b = (v.flatten(1).float() - v.flatten(1).float().mean(1, keepdim=True) for v in (x, y))
    return (a * b).sum(1) / (a.norm(dim=1) * b.norm(dim=1)).clamp(min=1e-12)


def decorrelation(x: Tensor, y: Tensor) -> Tensor:
    """1 - `correlation`, the mean over the batch: a loss of images of like brightness, which local NCC does not see."""
    return 1 - correlation(x, y).mean()


class Register(Inferer):
    """inferer(fixed, network, moving) -> [1, d (1 + frames) + generated, *S]: what `NameFields` takes apart.

    fixed and moving [1, 1, *S] in [0, 1] on one grid; network: a `DiffuseMorph`. The field is D(m, eta s) with the latent s of
    the clean fixed image at level `sigma`, in one call (Kim et al. 2022, sec. 3.3). `symmetric` takes half of the velocity of
    each direction, so that one is the inverse of the other. With `frames` > 1 also the fields D(m, e eta s) of e = 0 ... 1.
    `refine` steps (`refine.refinement`), on the loss `similarity`, make the field better for the pair; with `generate` an image,
    the moving one noised and denoised by `edit` given the pair. `inverse` registers the other way round too, to tell how well the
    two agree. `stats` tells of the latest call: seconds (of the field alone), network_calls, ncc_before, ncc_after, folding, and
    where asked for path_ncc (a list) and inverse_error (voxels).
    """

    conditions = ("moving",)  # items of a case that it takes beside the image

    def __init__(
        self,
        precond: Precond | None,
        sigma: float = 0.001,
        eta: float = 1.0,
        symmetric: bool = False,
        refine: int = 0,
        similarity: Similarity | None = None,
        frames: int = 0,
        generate: bool = False,
        edit: Edit | None = None,
        inverse: bool = False,
        seed: int = 0,
        autocast: str | None = None,
        progress: Progress | None = None,
    ) -> None:
        super().__init__()
        if frames < 0 or frames == 1:
            raise ValueError(f"a path has at least two frames (0 for none), not {frames}")
        if refine < 0 or (refine and similarity is None):
            raise ValueError(f"refine takes 0 steps or more, and a similarity to improve, not {refine}")
        if generate and edit is None:
            raise ValueError("generate needs edit: the level of the noise and the sampler that takes it away")
        if autocast not in (None, "bfloat16", "float16"):
            raise ValueError(f"autocast must be bfloat16, float16 or none, not {autocast!r}")
        self.precond, self.sigma, self.eta, self.frames, self.edit, self.inverse = precond, sigma, eta, frames, edit, inverse
        self.symmetric, self.refine, self.similarity = symmetric, refine, similarity
        self.generate, self.seed, self.autocast, self.progress, self.stats = generate, seed, autocast, progress, {}

    def workload(self) -> str:
        """What a pair costs, in words for a person."""
        return f"{self._calls()} network call{'s' * (self._calls() > 1)} a pair"

    def memory(self, shape: Sequence[int]) -> float:
        """Bytes that a pair of this stored shape is expected to take at the most."""
        return BASE_BYTES + NETWORK_BYTES + VOXEL_BYTES * (1 + self.frames / 10) * math.prod(shape)

    def _calls(self) -> int:
        return (1 + self.inverse) * (1 + self.symmetric) + (self.edit.steps if self.generate else 0)

    @torch.no_grad()
    def __call__(self, inputs: Tensor, network: nn.Module, moving: Tensor) -> Tensor:
        fixed, moving = plain(inputs).float(), plain(moving).float()
        if fixed.shape != moving.shape or fixed.shape[1] != 1:
            shapes = f"{list(fixed.shape)} and {list(moving.shape)}"
            raise ValueError(f"a pair is two grey images of one grid [B, 1, *S], not {shapes}: load it with LoadPair")
        started = time.perf_counter()
        way = self._way(network, moving, fixed)
        field, extra = self._refined(self._deform(network, way), moving, fixed)
        seconds = time.perf_counter() - started
        parts = [field]
        if self.generate:
            parts.append(self._generated(network, moving, fixed))
        shares = torch.linspace(0, 1, self.frames).tolist()
        path = [_and_then(self._deform(network, way, e), extra, e) for e in shares]
        self.stats = {"seconds": seconds, "network_calls": self._calls()} | self._judged(fixed, moving, field, path)
        if self.inverse:
            back = self._deform(network, self._way(network, fixed, moving))
            back, _ = self._refined(back, fixed, moving)
            self.stats["inverse_error"] = float(inverse_error(field, back).mean())
        return torch.cat([*parts, *path], 1)

    def _way(self, network: nn.Module, moving: Tensor, fixed: Tensor) -> list[tuple[Tensor, Tensor]]:
        """Images in [-1, 1] and their latents: of this direction, and if asked for of the other."""
        pairs = [(moving, fixed), (fixed, moving)][: 1 + self.symmetric]
        with self._precision(fixed):
            latents = [registration_latent(network, self.precond, source, target, self.sigma) for source, target in pairs]
        return [(centred(source), self.eta * latent) for (source, _), latent in zip(pairs, latents, strict=True)]

    def _deform(self, network: nn.Module, way: list[tuple[Tensor, Tensor]], share: float = 1.0) -> Tensor:
        (moving, latent), *back = [(image, share * latent) for image, latent in way]
        with self._precision(moving):
            return network.deform(moving, latent, *back)

    def _refined(self, field: Tensor, moving: Tensor, fixed: Tensor) -> tuple[Tensor, Tensor | None]:
        """The field made better for the pair, and the velocity that did it."""
        if not self.refine:
            return field, None
        extra = refinement(field, moving, fixed, self.similarity, self.refine)
        return _and_then(field, extra, 1.0), extra

    def _precision(self, like: Tensor) -> torch.autocast:
        kind = getattr(torch, self.autocast) if self.autocast else None
        return torch.autocast(like.device.type, kind, enabled=kind is not None)

    def _judged(self, fixed: Tensor, moving: Tensor, field: Tensor, path: Sequence[Tensor]) -> dict:
        figures = {
            "ncc_before": float(correlation(moving, fixed).mean()),
            "ncc_after": float(correlation(warp(moving, field), fixed).mean()),
            "folding": float(folding(field).mean()),
        }
        if path:
            figures["path_ncc"] = [float(correlation(warp(moving, step), fixed).mean()) for step in path]
        return figures

    def _generated(self, network: nn.Module, moving: Tensor, fixed: Tensor) -> Tensor:
        """The moving image noised, then denoised given the pair, [B, 1, *S] in [0, 1]."""
        pair = torch.cat([centred(moving), centred(fixed)], 1)
        denoise = clamp(Denoiser(network, self.precond, self.autocast).bind(concat=pair), -1.0, 1.0)
        seeds = [stream(self.seed, i) for i in range(len(fixed))]
        counter = Counter(self.progress, self.edit.steps)
        return ((self.edit(denoise, centred(moving), seeds, counter) + 1) / 2).clamp(0, 1)


def _and_then(field: Tensor, velocity: Tensor | None, share: float) -> Tensor:
    """A field followed by a share of a velocity's."""
    return field if velocity is None else compose(field, integrate(share * velocity))


class NameFields(Transform):
    """Splits "pred" of `Register` into "field" [d, *S], and where there are any "generated" [1, *S] and "path" [frames d, *S]."""

    def __call__(self, data: Mapping) -> dict:
        pred = plain(data["pred"]).detach().cpu()
        d = pred.ndim - 1
        field, rest = pred[:d], pred[d:]
        out = dict(data) | {"field": field}
        if len(rest) % d == 1:
            out["generated"], rest = rest[:1], rest[1:]
        return out | ({"path": rest} if len(rest) else {})
