"""Simulated PET of a real T1 head as files, at full and at few counts, so that a translation can be measured."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from monai.data import MetaTensor
from scipy import ndimage

from diffzoo.diffusion.noise import stream
from diffzoo.errors import InputError
from diffzoo.imaging.geometry import spacing
from diffzoo.imaging.heads import head_grid
from diffzoo.imaging.io.files import read_volume, write_volume
from diffzoo.imaging.paired_heads import CSF, GREY, WHITE, average_head, head_labels, soft_maps
from diffzoo.imaging.pet import FWHM, activity, blob, counted, scanned
from diffzoo.tasks.translate.pet import FULL
from diffzoo.tasks.translate.roles import with_first

VOXEL_MM, SPREAD_MM, FILTER_MM = 2.0, 5.0, 4.0
SCALE = 10000.0  # of the files' values: grey matter
LESIONS = ((1.8, 4.0), (0.35, 5.0))  # uptake in units of grey matter, radius in voxels
TISSUES = {1: GREY, 2: WHITE}  # labels of the file of regions; lesions are 3 and 4


def simulated_pets(
    cases: Sequence[Mapping], folder: str | Path, counts: float = 60.0, dose: float = 0.1, seed: int = 0, lesions: bool = True
) -> list[dict]:
    """Cases of an evaluation: those that bring a "fullpet", and PET simulated from T1 heads, which name a "template".

    Of a T1 head its tissues take up tracer, with a hot and a cold lesion in the white and grey matter if `lesions`; the scanner
    blurs by 5 mm and filters by 4 mm at half maximum. `counts` a voxel of grey matter are the full ones, `dose` the share that
    is given. Written into `folder`: <case>_pet, _fullpet and _regions (1 grey, 2 white, 3 hot, 4 cold). Raises InputError for
    a dose that is not in (0, 1], and for a case with neither.
    """
    if not 0 < dose <= 1 or not counts > 0:
        raise InputError(f"counts must be positive and dose lie in (0, 1], not {counts} and {dose}")
    out = []
    for case in cases:
        case = with_first(case, ("pet", "t1", FULL))
        if case.get(FULL) is not None:
            out.append(dict(case))
            continue
        source = case.get("t1") if case.get("t1") is not None else case["image"]
        if not case.get("template"):
            raise InputError(f"{source}: nothing to compare with: give a fullpet of the same person, or a T1 with its template")
        average = average_head([read_volume(path) for path in case["template"]])
        labels, _ = head_labels(read_volume(source), *average)
        name = str(case.get("case") or Path(str(source)).name.split(".")[0])
        volumes = simulated_pet(labels, counts, dose, stream(seed, len(out)), lesions)
        files = {role: str(_written(Path(folder) / f"{name}_{role}.nii.gz", volume)) for role, volume in volumes.items()}
        kept = {key: case[key] for key in ("subject", "group") if key in case}
        out.append({**kept, "image": files["pet"], "pet": files["pet"], "t1": source, FULL: files[FULL], "case": name})
    return out


def simulated_pet(labels: MetaTensor, counts: float, dose: float, seed: int, lesions: bool = True) -> dict[str, MetaTensor]:
    """{"pet", "fullpet", "regions"} [1, X, Y, Z] of labels [1, *] of a head, on a grid of 2 mm; grey matter about 10000."""
    affine, head = np.asarray(labels.affine, np.float64), labels.as_tensor()[0].numpy() > 0
    grid, shape = head_grid(head, affine, VOXEL_MM)
    maps = torch.from_numpy(soft_maps(labels, grid, shape)).float()
    generator, sizes = torch.Generator().manual_seed(seed), spacing(grid)
    uptake, regions = activity(maps[None], generator)[0, 0], torch.zeros(shape)
    for value, tissue in TISSUES.items():
        regions[maps[tissue] > 0.9] = value
    if lesions:
        uptake, regions = _with_lesions(uptake, regions, maps, generator)
    slices = uptake.movedim(-1, 0)[:, None]
    seen = _across(_blurred(slices, SPREAD_MM), SPREAD_MM / sizes[2])
    few = counted(seen, counts * dose, FILTER_MM / VOXEL_MM, generator)
    full = _blurred(seen, FILTER_MM)
    volumes = {"pet": few * SCALE, FULL: full * SCALE}
    out = {role: MetaTensor(x[:, 0].movedim(0, -1)[None], affine=torch.from_numpy(grid)) for role, x in volumes.items()}
    return out | {"regions": MetaTensor(regions[None], affine=torch.from_numpy(grid))}


def _with_lesions(uptake: torch.Tensor, regions: torch.Tensor, maps: torch.Tensor, generator: torch.Generator):
    """A hot lesion in white matter and a cold one in grey, which T1 does not show."""
    for number, ((level, radius), tissue) in enumerate(zip(LESIONS, (WHITE, GREY), strict=True), 3):
        brain = torch.nn.functional.avg_pool3d(maps[None, CSF:].sum(1, keepdim=True), 9, 1, 4)[0, 0]
        places = ((maps[tissue] > 0.9) & (brain > 0.95)).nonzero()
        if not len(places):
            continue
        centre = places[int(torch.randint(len(places), (), generator=generator))].tolist()
        spot = blob(uptake.shape, centre, radius)
        uptake, regions = uptake * (1 - spot) + level * spot, torch.where(spot > 0.9, float(number), regions)
    return uptake, regions


def _blurred(slices: torch.Tensor, mm: float) -> torch.Tensor:
    return scanned(slices, mm / VOXEL_MM)


def _across(slices: torch.Tensor, width: float) -> torch.Tensor:
    """The same point spread from slice to slice: slices [D, 1, H, W], width at half maximum in slices."""
    return torch.from_numpy(ndimage.gaussian_filter1d(slices.numpy(), width / FWHM, axis=0))


def _written(path: Path, volume: MetaTensor) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    return Path(write_volume(path, volume.round(), dtype="uint8" if path.name.endswith("_regions.nii.gz") else "int16"))
