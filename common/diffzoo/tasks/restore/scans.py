"""From a scan on disk to what a restoration takes: its noise, a finer grid, one scale; and a clean scan made worse for a trial.

MONAI dictionary transforms, in the order in which a config lists them. A case is that of `imaging.acquisition.LoadScan`.
"""

import json
from collections.abc import Callable, Mapping, Sequence

import numpy as np
import torch
from monai.data import MetaTensor
from monai.transforms import Transform
from torch import Tensor

from diffzoo.diffusion.noise import stream
from diffzoo.errors import InputError
from diffzoo.imaging.acquisition import with_meta
from diffzoo.imaging.intensity import robust_scale
from diffzoo.imaging.noise_level import noise_level
from diffzoo.operators.fourier import centre, fft, ifft, uncentre
from diffzoo.tasks.restore.problem import KINDS


class Degrade(Transform):
    """Makes a clean "image" [1, H, W, D] coarse and noisy, and keeps it as "reference".

    factor: pixels of the reference a pixel, in the slice plane, by leaving out the outer part of k-space; noise: standard
    deviation in units of the brightest tissue; kind: "rician", as magnitudes have it, or "gaussian". Drawn from the seed and the
    slices' size. Raises InputError for another kind, a negative noise or a factor below 1.
    """

    def __init__(self, noise: float, kind: str = "rician", factor: float = 1.0, seed: int = 0) -> None:
        if kind not in KINDS or noise < 0 or factor < 1:
            raise InputError(
                f"needs noise >= 0 that is {' or '.join(KINDS)}, and factor >= 1; not {noise}, {kind!r} and {factor}"
            )
        self.noise, self.kind, self.factor, self.seed = noise, kind, factor, seed

    def __call__(self, data: Mapping) -> dict:
        image = data["image"]
        slices = image.as_tensor().movedim(-1, 0)
        size = [max(8, round(n / self.factor)) for n in image.shape[1:3]] if self.factor > 1 else image.shape[1:3]
        coarse = resized(slices, size)
        generator = torch.Generator().manual_seed(stream(self.seed, *image.shape))
        sd = self.noise * robust_scale(image.as_tensor())
        real, imaginary = sd * torch.randn((2, *coarse.shape), generator=generator)
        noisy = torch.hypot(coarse + real, imaginary) if self.kind == "rician" else coarse + real
        return dict(data) | {"image": _on_grid(noisy, image, size), "reference": image}


class MeasureNoise(Transform):
    """Adds "noise_sd" in the image's unit: `level` times its robust maximum, or without a level what the image tells.

    estimate: slices [D, H, W] -> standard deviation, a function of `imaging.noise_level`. Raises InputError for the coil images
    of k-space.
    """

    def __init__(self, level: float | None = None, estimate: Callable[[Tensor], float] = noise_level) -> None:
        self.level, self.estimate = level, estimate

    def __call__(self, data: Mapping) -> dict:
        image = data["image"].as_tensor()
        if len(image) > 1:
            where = data.get("image_path", "the scan")
            raise InputError(f"{where}: k-space is no magnitude image: reconstruct it first, with score_mri or csgm_mri")
        measured = self.estimate(image[0].movedim(-1, 0)) if self.level is None else self.level * robust_scale(image)
        return dict(data) | {"noise_sd": float(measured)}


class Refine(Transform):
    """Brings "image" [1, H, W, D] onto a grid `factor` times as fine in the slice plane, or onto that of a "reference".

    Zeros fill the outer part of k-space, so nothing is added; pixel (0, 0) stays where it is. "box" [1, H, W] is 1 where k-space
    is known, centred. A factor of 1 leaves the image as it is.
    """

    def __init__(self, factor: float = 1.0) -> None:
        if factor < 1:
            raise InputError(f"factor must be at least 1, not {factor}")
        self.factor = factor

    def __call__(self, data: Mapping) -> dict:
        image = data["image"]
        known = image.shape[1:3]
        size = data["reference"].shape[1:3] if "reference" in data else [round(n * self.factor) for n in known]
        if tuple(size) == tuple(known):
            return dict(data) | {"box": torch.ones(1, *size)}
        box = _padded(torch.ones(1, 1, *known), size)[0]
        fine = resized(image.as_tensor().movedim(-1, 0), size)
        return dict(data) | {"image": _on_grid(fine, image, size), "box": box}


class ScaleNoisy(Transform):
    """Divides "image" and "noise_sd" by the robust maximum of the image, kept as "scale", and adds the words of "acquisition".

    Noise above `most`, of which the prior has seen none, adds a note.
    """

    def __init__(self, most: float = 0.3) -> None:
        self.most = most

    def __call__(self, data: Mapping) -> dict:
        image = data["image"]
        scale = robust_scale(image.as_tensor())
        noise, finer = data["noise_sd"] / scale, (float(data["box"].mean()) ** -0.5)
        words = f"noise of {noise:.1%} of the brightest tissue" + (f", {finer:.2g} times as fine" if finer > 1.001 else "")
        facts = {"words": words, "noise": round(noise, 4), "finer": round(finer, 3)}
        warning = f"noise of {noise:.0%} of the brightest tissue is more than the prior has seen: do not rely on the result"
        notes = "\n".join(filter(None, [data["notes"], warning if noise > self.most else ""]))
        scaled = {"image": image / scale, "noise_sd": noise, "scale": scale, "notes": notes}
        return dict(data) | scaled | {"acquisition": json.dumps(facts)}


def resized(slices: Tensor, size: Sequence[int]) -> Tensor:
    """Real slices [D, 1, H, W] on another grid of the same field, by cutting their centred k-space or filling it with zeros."""
    if tuple(size) == tuple(slices.shape[2:]):
        return slices
    spectrum, ratio = centre(fft(slices)), float(np.prod(size)) / float(np.prod(slices.shape[2:]))
    return ifft(uncentre(_padded(_cut(spectrum, size), size))).real * ratio**0.5


def _cut(x: Tensor, size: Sequence[int]) -> Tensor:
    """The central part of [..., H, W] that is no larger than `size`; element N // 2 stays the central one."""
    for axis, n in zip((-2, -1), size, strict=True):
        if n < x.shape[axis]:
            x = x.narrow(axis, x.shape[axis] // 2 - n // 2, n)
    return x


def _padded(x: Tensor, size: Sequence[int]) -> Tensor:
    """[..., H, W] amid zeros of at least `size`; element N // 2 stays the central one."""
    out = x.new_zeros(*x.shape[:-2], *[max(n, m) for n, m in zip(size, x.shape[-2:], strict=True)])
    starts = [m // 2 - n // 2 for m, n in zip(out.shape[-2:], x.shape[-2:], strict=True)]
    out[..., starts[0] : starts[0] + x.shape[-2], starts[1] : starts[1] + x.shape[-1]] = x
    return out


def _on_grid(slices: Tensor, like: MetaTensor, size: Sequence[int]) -> MetaTensor:
    """Slices [D, 1, H, W] as [1, H, W, D] with the affine of `like`, its in-plane voxels changed to fit `size`."""
    ratio = np.diag([*(m / n for m, n in zip(like.shape[1:3], size, strict=True)), 1.0, 1.0])
    return with_meta(slices.movedim(0, -1), np.asarray(like.affine) @ ratio, like.meta["stored_affine"])
