"""Simulated T1, T2 and CT of one head as files, so that a translation can be measured where no pair of scans is at hand."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from monai.data import MetaTensor
from scipy import ndimage
from torch import Tensor

from diffzoo.diffusion.noise import stream
from diffzoo.errors import InputError
from diffzoo.imaging.fields import warp
from diffzoo.imaging.geometry import spacing
from diffzoo.imaging.io.files import read_volume, write_volume
from diffzoo.imaging.paired_heads import air_share, average_head, head_labels, soft_maps
from diffzoo.imaging.paired_render import render, smooth_noise
from diffzoo.tasks.translate.head_ct import SOURCES, TARGETS
from diffzoo.tasks.translate.roles import available, pattern_cases

BEND_MM, KNOTS_MM = 4.0, 50.0  # how far a further draw of a head is bent, and over which distance
BLUR = 0.4  # voxels in the plane: no scanner sees an edge
MR_SCALE = 1000.0


def simulated_cases(
    cases: Sequence[Mapping], folder: str | Path, given: str = "all", draws: int = 1, seed: int = 0, scanned: bool = True
) -> list[dict]:
    """Cases of an evaluation, as `roles.pattern_cases`, from heads with their own CT and from T1 heads whose CT is simulated.

    A case without "ct" has "template", the four files of `paired_heads.average_head`: `draws` heads are made of it, the first
    in its own shape and the others bent, and written into `folder` as <case>_<k>_t1, _t2 and _ct. scanned: its T1 as it is beside
    the CT simulated for it, too. Raises InputError for fewer than one draw.
    """
    if draws < 1:
        raise InputError(f"draws={draws}: an evaluation needs at least one simulated head a scan")
    simulations, own = [], []
    for case in cases:
        if case.get("ct") is not None or not case.get("template"):
            own.append(dict(case))
            continue
        average = average_head([read_volume(path) for path in case["template"]])
        name, source = str(case.get("case") or Path(str(case["image"])).name.split(".")[0]), case.get("t1") or case["image"]
        labels, _ = head_labels(read_volume(source), *average)
        for k in range(draws):
            files = _write(Path(folder), f"{name}_{k}", simulated(labels, stream(seed, k), bent=k > 0))
            entry = {"subject": case.get("subject", name), "image": files["t1"]}
            simulations.append({**entry, **files, "case": f"{name}_{k}"})
            if scanned and not k:
                simulations.append({**entry, "image": source, "t1": source, "ct": files["ct"], "case": f"{name}_scan"})
    return pattern_cases([*own, *simulations], (*SOURCES, *TARGETS), SOURCES, TARGETS, given)


def simulated(labels: MetaTensor, seed: int, bent: bool = False) -> dict[str, MetaTensor]:
    """{"t1", "t2", "ct"}, each [1, X, Y, Z] on the grid of labels [1, X, Y, Z]: MR about 0 to 1000, CT in HU; one draw a seed."""
    generator, sizes = torch.Generator().manual_seed(seed), spacing(labels.affine)
    maps = soft_maps(labels, np.asarray(labels.affine), labels.shape[1:])
    maps = np.stack([ndimage.gaussian_filter(label_map.astype(np.float32), (BLUR, BLUR, 0)) for label_map in maps])
    maps_air = torch.from_numpy(np.concatenate([maps, air_share(maps, sizes)[None]])).float()[None]
    maps_air = warp(maps_air, bend(maps_air, sizes, generator)) if bent else maps_air
    mr, hu = render(maps_air[:, :-1], maps_air[:, -1:], generator)
    stack = {"t1": mr[:, 0] * MR_SCALE, "t2": mr[:, 1] * MR_SCALE, "ct": hu[:, 0]}
    return {role: MetaTensor(values.round(), affine=labels.affine) for role, values in stack.items()}


def bend(like: Tensor, sizes: Sequence[float], generator: torch.Generator) -> Tensor:
    """A smooth random displacement [1, 3, X, Y, Z] in voxels of `sizes` mm, of about 4 mm along each axis."""
    shape, knots = like.shape[2:], [max(2, 1 + round(n * size / KNOTS_MM)) for n, size in zip(like.shape[2:], sizes, strict=True)]
    coarse = [smooth_noise(torch.zeros(1, 1, *knots), 1, generator) for _ in sizes]
    fine = torch.nn.functional.interpolate(torch.cat(coarse, 1), shape, mode="trilinear", align_corners=True)
    return BEND_MM * fine / torch.tensor(sizes).view(1, 3, 1, 1, 1)


def _write(folder: Path, name: str, volumes: Mapping[str, MetaTensor]) -> dict[str, str]:
    folder.mkdir(parents=True, exist_ok=True)
    roles = available(volumes, (*SOURCES, *TARGETS))
    return {role: str(write_volume(folder / f"{name}_{role}.nii.gz", volumes[role], dtype="int16")) for role in roles}
