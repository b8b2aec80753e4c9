"""Measures what becomes of lesions in bundles/fgdm, into docs/results.json as "lesions"; and writes quantiles to compare with.

python tools/measure_fgdm.py fgdm --data FOLDER [--config gan] [--every 5] [--quantiles]

Lesions: discs of 6 mm radius, brighter and darker than the soft tissue around them by 4 standard deviations of the cone beam's
noise, are put into test slices of the CT, from which the cone-beam CT is simulated with and without them. One survives where the
difference between both translations keeps half of its contrast or more; one is invented where the translation without any
differs from the truth at its place by that much, against the ring around it. --quantiles writes models/quantiles.safetensors
from the training list, and measures nothing. With --config the figures are those of an overlay, as "lesions_NAME".
"""

import argparse
import json
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from scipy import ndimage

from data_folder import data_folder, datalist, recipe_of
from figures import rounded, store

ROOT = Path(__file__).resolve().parents[1]
RADIUS, CLEAR, APART = 6.0, 9.0, 35.0  # mm: of a lesion, of the tissue around its middle, and between two
TISSUE = (-20.0, 150.0)  # HU
TIMES = 4.0  # standard deviations
KEPT = 0.5  # of the contrast


def main() -> None:
    options = _options()
    bundle = ROOT / "bundles" / options.name
    lists = datalist(data_folder(options.data), recipe_of(options.name))
    if options.quantiles:
        write_quantiles(lists["training"], bundle / "models" / "quantiles.safetensors")
        return
    configs = ("inference", *filter(None, [options.config]), "evaluate")
    figures = lesions(bundle, lists["test"][0], options.every, configs)
    key = "_".join(filter(None, ["lesions", options.config]))
    store(bundle, key, [f"every={options.every}"], figures, weights=options.config or "model")
    print(json.dumps(figures, indent=1))


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("name", help="a bundle that translates cone-beam CT to CT")
    parser.add_argument("--data", help="the data folder (default: DIFFZOO_DATA)")
    parser.add_argument("--config", help="an overlay of the bundle, such as gan")
    parser.add_argument("--every", type=int, default=5, help="take every n-th slice of the test")
    parser.add_argument("--quantiles", action="store_true", help="write the quantiles of the training CT, and measure nothing")
    return parser.parse_args()


def write_quantiles(entries: Sequence[dict], path: Path, grid_mm: float = 2.0) -> None:
    """Quantiles of the CT numbers in the bodies of a training list, each entry by its weight."""
    from diffzoo.tasks.translate.ct_baselines import save_quantiles, training_quantiles
    from diffzoo.tasks.translate.ct_slices import real_slices

    stacks = [real_slices(entry, grid_mm) for entry in entries]
    weights = torch.tensor([float(entry.get("weight", 1.0)) for entry in entries])
    save_quantiles(training_quantiles(stacks, weights / weights.sum(), grid_mm), path)


def lesions(bundle: Path, entry: dict, every: int, configs: Sequence[str] = ("inference", "evaluate")) -> dict:
    """How many lesions were put in, survived and were invented, and the mean share of their contrast that is kept."""
    from diffzoo.imaging.geometry import crop_slices, orient, parse_slices
    from diffzoo.tasks.translate.ct import read_ct
    from diffzoo.zoo.session import Session

    session = Session(str(bundle), tuple(configs), {}, device="cpu")
    volume = orient(read_ct(entry["image"])[0], "RAS")
    volume = crop_slices(volume, *parse_slices(entry.get("slices", "all"), volume.shape[-1]))
    hu, affine = volume.as_tensor()[0].numpy()[..., ::every], volume.affine.numpy() @ np.diag([1.0, 1.0, every, 1.0])
    with tempfile.TemporaryDirectory() as folder:
        clean = translated(session, hu, affine, Path(folder) / "clean_ct.nii.gz")
        contrast = TIMES * noise_of(clean)
        changed = planted(hu, float(affine[0, 0]), contrast, np.random.default_rng(0))
        figures = {"noise_hu": contrast / TIMES, "contrast_hu": contrast}
        translation = translated(session, changed, affine, Path(folder) / "lesions_ct.nii.gz")
    parts = [judged(clean, translation, sign * contrast) for sign in (1.0, -1.0)]
    return rounded(figures | summary([row for part in parts for row in part]))


def translated(session, hu: np.ndarray, affine: np.ndarray, path: Path) -> dict[str, np.ndarray]:
    """Volumes [H, W, D] in HU of a CT [X, Y, Z]: the simulated "source", the "truth", what is "made"; and the mask "inside"."""
    from diffzoo.imaging.edges import to_hu
    from diffzoo.imaging.geometry import plain
    from diffzoo.imaging.io.files import write_volume

    write_volume(path, hu, affine)
    item = session.get("preprocessing")({"image": str(path), "ct": str(path), "case": path.name})
    inferer = session.get("inferer")
    known = {name: torch.as_tensor(plain(item[name]))[None] for name in inferer.conditions}
    translation = inferer(plain(item["image"])[None], session.get("network"), **known)
    volumes = {"source": plain(item["image"])[0], "truth": plain(item["truth"])[0], "made": translation[0, 0]}
    return {key: to_hu(value).numpy() for key, value in volumes.items()} | {"inside": plain(item["inside"])[0].numpy() > 0}


def noise_of(item: dict[str, np.ndarray]) -> float:
    """Standard deviation in HU of the source's fine error in soft tissue."""
    error = item["source"] - item["truth"]
    fine = error - ndimage.gaussian_filter(error, (4, 4, 0))
    tissue = item["inside"] & (item["truth"] > TISSUE[0]) & (item["truth"] < TISSUE[1])
    return float(fine[tissue].std())


def planted(hu: np.ndarray, pixel: float, contrast: float, generator: np.random.Generator) -> np.ndarray:
    """A CT [X, Y, Z] in HU with a brighter disc in each slice, and a darker one at a distance, where soft tissue has room."""
    volume = hu.copy()
    reach = int(np.ceil(CLEAR / pixel))
    around = np.hypot(*np.mgrid[-reach : reach + 1, -reach : reach + 1]) * pixel <= CLEAR
    smooth = ndimage.gaussian_filter(hu, (2, 2, 0))
    room = ndimage.binary_erosion((smooth > TISSUE[0]) & (smooth < TISSUE[1]), around[..., None])
    x, y = np.mgrid[: hu.shape[0], : hu.shape[1]] * pixel
    for k in range(hu.shape[2]):
        free = room[..., k].copy()
        for sign in (1.0, -1.0):
            places = np.argwhere(free)
            if not len(places):
                continue
            far = np.hypot(*[axis - at * pixel for axis, at in zip((x, y), generator.choice(places), strict=True)])
            volume[..., k][far <= RADIUS] += sign * contrast
            free &= far > APART
    return volume


def judged(clean: dict, after: dict, contrast: float) -> list[dict[str, float]]:
    """Of each lesion of that contrast the share of it that the translation keeps, that the source has, and that is invented."""
    change = (after["truth"] - clean["truth"]) / contrast
    rows = []
    for k in range(change.shape[-1]):
        inside = change[..., k] > 0.5
        if not inside.any():
            continue
        ring = ndimage.binary_dilation(inside, iterations=5) & ~ndimage.binary_dilation(inside, iterations=2)
        share = {key: float((after[key] - clean[key])[..., k][inside].mean() / contrast) for key in ("source", "made")}
        error = (clean["made"] - clean["truth"])[..., k]
        rows.append({**share, "invented": float((error[inside].mean() - error[ring].mean()) / abs(contrast))})
    return rows


def summary(rows: Sequence[dict[str, float]]) -> dict[str, float]:
    """Numbers and shares of lesions; KEPT of the contrast is the limit."""
    output, source, invented = (np.array([row[key] for row in rows]) for key in ("made", "source", "invented"))
    return {
        "lesions": len(rows),
        "survived": float((output >= KEPT).mean()),
        "contrast_kept": float(output.mean()),
        "contrast_in_source": float(source.mean()),
        "invented": float((np.abs(invented) >= KEPT).mean()),
    }


if __name__ == "__main__":
    main()
