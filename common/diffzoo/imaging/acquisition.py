"""From a scan on disk to what a reconstruction takes: MONAI dictionary transforms, in the order in which a config lists them.

A case is {"image": path, "case": name}. The transforms add "mask", "reference", "coils_simulated", "scale", "slice_index",
"notes" and "acquisition", a JSON text of figures for the report with a few "words" for a person.
"""

import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from monai.data import MetaTensor
from monai.transforms import Transform
from torch import Tensor

from diffzoo.diffusion.noise import stream
from diffzoo.errors import InputError
from diffzoo.imaging.geometry import check_spacing, crop_slices, parse_slices, restore, spacing, to_slices
from diffzoo.imaging.intensity import robust_scale
from diffzoo.imaging.io.files import RAW, read_volume, suffix_of
from diffzoo.imaging.io.kspace import read_kspace
from diffzoo.imaging.simulate import simulate_kspace
from diffzoo.operators.coils import FEWEST, calibration_region, root_sum_of_squares
from diffzoo.operators.fourier import (
    MaskedFourier,
    RealMaskedFourier,
    complex_of,
    fft,
    from_centred,
    ifft,
    pairs_of,
    uncentre,
)
from diffzoo.operators.masks import effective_acceleration, make_mask


class LoadScan(Transform):
    """Reads "image": a magnitude volume as [1, H, W, D], or k-space of an HDF5 file as coil images [2 C, H, W, D]; slices last.

    An array or tensor in its place ([H, W] or [H, W, D], magnitude) is taken as it is (`from_array`). Measured k-space with a
    mask adds "mask" [1, H, W], centred. `spacing_range` (mm, in the slice plane) is the valid range; beyond it a note is added.
    """

    def __init__(self, spacing_range: tuple[float, float] = (0.0, float("inf"))) -> None:
        self.spacing_range = tuple(spacing_range)

    def __call__(self, data: Mapping) -> dict:
        source = data["image"]
        out = dict(data) | {"image_path": str(source) if isinstance(source, str | Path) else "array"}
        if isinstance(source, str | Path) and suffix_of(source) in RAW:
            image, mask, notes = _read_raw(source)
            out["mask"] = mask
        else:
            image, notes = _read_magnitude(source)
        if out.get("mask") is None:
            out.pop("mask", None)
        warning = check_spacing(spacing(image.affine)[:2], *self.spacing_range)
        notes = "\n".join(notes + ([warning] if warning else []))  # one text: collating turns an empty list into None
        return out | {"image": image, "notes": notes}


def _read_magnitude(source) -> tuple[MetaTensor, list[str]]:
    if isinstance(source, str | Path):
        volume = read_volume(source)
        notes = list(volume.meta["warnings"])
    else:
        volume, notes = from_array(source), []
    if volume.min() < 0:
        notes.append("negative values were set to 0: a magnitude image has none")
    image = to_slices(volume)
    if min(image.shape[1:3]) < 16:
        size = f"{image.shape[1]} x {image.shape[2]}"
        raise InputError(f"{_named(source)}: slices of {size} pixels are too small to undersample; at least 16 x 16")
    plain = with_meta(image.as_tensor().clamp(min=0), image.affine, volume.affine)
    return plain, notes


def _named(source) -> str:
    return str(source) if isinstance(source, str | Path) else "the array"


def with_meta(x: Tensor, affine, stored) -> MetaTensor:
    """A tensor that carries its affine and that of the stored volume, and nothing else of a header."""
    meta = {"stored_affine": np.asarray(stored, dtype=np.float64)}
    return MetaTensor(x, affine=torch.as_tensor(np.asarray(affine, dtype=np.float64)), meta=meta)


def from_array(source) -> MetaTensor:
    """An array or tensor [H, W] or [H, W, D] as a volume [1, H, W, D] with its affine, or voxels of 1 mm where it has none.

    Raises InputError for another shape, for NaN, and for a constant.
    """
    x = torch.as_tensor(np.asarray(source), dtype=torch.float32)
    x = x[..., None] if x.ndim == 2 else x
    if x.ndim != 3:
        raise InputError(f"an array must be a slice [H, W] or a volume [H, W, D], not of shape {list(x.shape)}")
    if not torch.isfinite(x).all() or x.max() == x.min():
        raise InputError("the array holds NaN or infinity, or is constant: there is nothing to work on")
    affine = getattr(source, "affine", np.eye(4))
    return MetaTensor(x[None], affine=torch.as_tensor(np.asarray(affine)))


def _read_raw(source: str | Path) -> tuple[MetaTensor, Tensor | None, list[str]]:
    try:
        raw = read_kspace(source)
    except ValueError as error:
        raise InputError(str(error)) from error
    images = pairs_of(ifft(from_centred(raw.kspace)))  # [D, 2 C, H, W]
    voxel = raw.attributes.get("spacing")
    affine = np.diag([*(voxel[1:] if voxel else (1, 1)), voxel[0] if voxel else 1, 1.0])
    notes = [] if voxel else ["the file tells no voxel size: 1 mm is written"]
    if raw.mask is not None:
        _check_calibration(raw.mask, f"{source}")
    return with_meta(images.movedim(0, -1), affine, affine), None if raw.mask is None else raw.mask[None], notes


def _check_calibration(mask: Tensor, where: str, remedy: str = "") -> None:
    """Refuses complex k-space whose centred mask [H, W] leaves no block to estimate its phase and coil maps from."""
    try:
        calibration_region(uncentre(mask))
    except ValueError as error:
        raise InputError(f"{where}: {error}, for coil maps and phase{remedy}") from error


class SimulateCoils(Transform):
    """Turns a magnitude "image" [1, H, W, D] into what `coils` see, [2 coils, H, W, D]; "reference" keeps the magnitude.

    The scan gets a smooth phase of standard deviation `phase` rad, birdcage coils, and white noise of `noise_sd`, in units of its
    brightest tissue, on real and imaginary part of each coil (`imaging.simulate`), drawn from the seed and the volume. Images of
    several channels, which are of measured k-space, stay as they are; "coils_simulated" tells `Undersample` which they were.
    """

    def __init__(self, coils: int, phase: float = 1.0, noise_sd: float = 0.0, seed: int = 0) -> None:
        if coils < 1 or phase < 0 or noise_sd < 0:
            raise InputError(f"needs coils >= 1, phase and noise >= 0, not {coils}, {phase} and {noise_sd}")
        self.coils, self.phase, self.noise_sd, self.seed = coils, phase, noise_sd, seed

    def __call__(self, data: Mapping) -> dict:
        image = data["image"]
        if len(image) > 1:
            return dict(data)
        magnitude = image.as_tensor()[0].movedim(-1, 0)
        generator = torch.Generator().manual_seed(stream(self.seed, *magnitude.shape[1:], _fingerprint(image), 1))
        noise_sd = self.noise_sd * float(robust_scale(magnitude))
        kspace = simulate_kspace(magnitude, self.coils, noise_sd, generator, self.phase)
        seen = pairs_of(ifft(from_centred(kspace))).movedim(0, -1)
        seen = with_meta(seen, image.affine, image.meta["stored_affine"])
        return dict(data) | {"image": seen, "reference": image, "coils_simulated": True}


class Undersample(Transform):
    """Keeps the measured part of k-space: "image" becomes the zero-filled image, "mask" [1, H, W] the centred sampling mask.

    A case that brings its mask is left as it was measured. Any other is fully sampled: its slices are undersampled
    retrospectively with one mask, drawn from the seed and the volume, and "reference" keeps its magnitude [1, H, W, D], unless
    it has one. `lines` that are kept whole: "columns" of a slice [H, W], or "rows"; InputError otherwise.
    """

    def __init__(self, mask: str, acceleration: float, center_fraction: float, seed: int = 0, lines: str = "columns") -> None:
        if lines not in ("columns", "rows"):
            raise InputError(f"lines are columns or rows, not {lines!r}")
        self.kind, self.acceleration, self.center_fraction, self.seed = mask, acceleration, center_fraction, seed
        self.turned = lines == "rows"

    def __call__(self, data: Mapping) -> dict:
        image, out = data["image"], dict(data)
        if "mask" in data:
            note = "measured k-space: acceleration, center_fraction and mask come from the file"
            out["notes"] = "\n".join(filter(None, [data["notes"], note]))
            return out | {"acquisition": _words(data["mask"], "measured", real=len(image) == 1)}
        generator = torch.Generator().manual_seed(stream(self.seed, *image.shape[1:3], _fingerprint(image)))
        shape, center = image.shape[1:3], self._center(image, data.get("coils_simulated", False))
        if center != self.center_fraction:
            note = f"the {FEWEST} central lines are kept, more than center_fraction tells: coil maps and phase need them"
            out["notes"] = "\n".join(filter(None, [data["notes"], note]))
        try:
            mask = make_mask(self.kind, shape[:: -1 if self.turned else 1], self.acceleration, center, generator)
        except ValueError as error:
            raise InputError(str(error)) from error
        mask = mask.T.contiguous() if self.turned else mask
        if len(image) > 1:
            _check_calibration(mask, data["image_path"], ": raise center_fraction")
        slices, low = image.as_tensor().movedim(-1, 0), uncentre(mask)[None, None]
        if len(image) == 1:
            op = RealMaskedFourier(low)
            kept, reference = op.pinv(op.A(slices)), slices
        else:
            kept, reference = pairs_of(ifft(fft(complex_of(slices)) * low)), root_sum_of_squares(slices)
        stored = image.meta["stored_affine"]
        out |= {"image": with_meta(kept.movedim(0, -1), image.affine, stored), "mask": mask[None]}
        out.setdefault("reference", with_meta(reference.movedim(0, -1), image.affine, stored))
        return out | {"acquisition": _words(mask, "retrospective", real=len(image) == 1)}

    def _center(self, image: MetaTensor, simulated: bool) -> float:
        """The share of central lines; where the coils are simulated at least what a calibration needs."""
        least = FEWEST / image.shape[1 if self.turned else 2]
        return least if simulated and 0 < self.center_fraction < least else self.center_fraction


def _fingerprint(image: MetaTensor) -> int:
    """A number of a volume, so that each has a mask of its own: the same however its axes are stored and whatever its unit is."""
    size = root_sum_of_squares(image.as_tensor().movedim(-1, 0)) if len(image) > 1 else image.as_tensor()
    return stream(*(int((size > share / 16 * size.max()).sum()) for share in range(1, 16)))


def _words(mask: Tensor, kind: str, real: bool) -> str:
    """What the report says of a sampling mask [..., H, W]; of a real image the mirrored part of k-space is known too."""
    factor, known = round(effective_acceleration(mask), 3), round(known_share(mask, real), 3)
    words = f"{factor:.2f}x {kind} undersampling" + (f", {known:.0%} of k-space known by symmetry" if real else "")
    facts = {"words": words, "undersampling": kind, "effective_acceleration": factor, "known_share": known}
    return json.dumps(facts)


def known_share(mask: Tensor, real: bool) -> float:
    """Share of k-space that a centred mask [..., H, W] leaves known: what it keeps and, of a real image, the mirror of that."""
    low = uncentre(mask)
    mirror = low.flip(-2, -1).roll((1, 1), (-2, -1))  # k -> -k
    return float((torch.maximum(low, mirror) if real else low).mean())


class Normalise(Transform):
    """Divides "image" by the robust maximum of its zero-filled magnitude, kept as "scale"; the reference is not used."""

    def __call__(self, data: Mapping) -> dict:
        image = data["image"]
        slices, mask = image.as_tensor().movedim(-1, 0), uncentre(data["mask"])[None]
        if len(image) == 1:
            slices = MaskedFourier(mask).AT(RealMaskedFourier(mask).A(slices))
        scale = robust_scale(root_sum_of_squares(slices))
        return dict(data) | {"image": image / scale, "scale": scale}


class SelectSlices(Transform):
    """Keeps some slices ("all", "central:8", "60:70", "12") of "image", "reference" and "sinogram"; adds "slice_index" [D].

    It comes after masks and scale, so that a slice is reconstructed alike alone and within its volume. "peak" is the maximum of
    the whole volume, which measures of quality refer to whatever slices were kept; one that a case brings stays.
    """

    def __init__(self, slices: str = "all") -> None:
        self.slices = slices

    def __call__(self, data: Mapping) -> dict:
        first, stop = parse_slices(self.slices, data["image"].shape[-1])
        kept = {key: crop_slices(data[key], first, stop) for key in ("image", "reference") if key in data}
        kept |= {"sinogram": data["sinogram"][..., first:stop]} if "sinogram" in data else {}
        peak = {"peak": float(data.get("reference", data["image"]).max())} | {k: data[k] for k in ("peak",) if k in data}
        return dict(data) | kept | peak | {"slice_index": torch.arange(first, stop)}


class Restore(Transform):
    """Takes volumes back to the axis order and directions of the stored scan; absent keys are passed over."""

    def __init__(self, keys: tuple[str, ...]) -> None:
        self.keys = tuple(keys)

    def __call__(self, data: Mapping) -> dict:
        stored = data["image"].meta["stored_affine"]
        return dict(data) | {key: restore(data[key], stored) for key in self.keys if key in data}
