"""Measures what no evaluation of bundles/pet_ddpm does, into docs/results.json as "checks": regions, lesions, what the std says,
and the ends of the data rule.

python tools/measure_pet_ddpm.py pet_ddpm --data FOLDER [--dose 0.1] [--samples 4] [--filters]

With --filters, for each dose, the width of the Gaussian and the strength of non-local means that are best on validation; no more.

On the simulated PET of the test person, for each mode: mean bias in grey and white matter, recovery of the contrast of a hot and
a cold lesion that T1 does not show, rank correlation of std and error and the mean std in the brain; and of the mode that is held
to the data, on the middle slices, the PSNR to the measured PET as its noise is taken to vanish, and the largest difference from
the mode without data as it is taken to be endless.
"""

import argparse
import json
import tempfile
from pathlib import Path

import numpy as np
import torch

from data_folder import data_folder, datalist, recipe_of
from figures import rounded, store

ROOT = Path(__file__).resolve().parents[1]
MODES = ("pet", "pet_mr", "mr", "mr_petcon")
GREY, WHITE, HOT, COLD = 1, 2, 3, 4  # of the file of regions
MIDDLE = 2  # slices for the ends of the data rule


WIDTHS, STRENGTHS = (4.0, 5.0, 6.0, 7.0, 8.0), (0.3, 0.5, 0.65, 0.8, 1.0, 1.3)  # of the filters that are tried
DOSES = (0.25, 0.1, 0.05)


def main() -> None:
    options = _options()
    bundle, lists = ROOT / "bundles" / options.name, datalist(data_folder(options.data), recipe_of(options.name))
    if options.filters:
        print(json.dumps({dose: filters(bundle, lists["validation"][0], dose) for dose in DOSES}, indent=1))
        return
    entry = lists["test"][0]
    with tempfile.TemporaryDirectory() as folder:
        figures = rounded(measured(bundle, entry, folder, options))
    store(bundle, "checks", [f"dose={options.dose}", f"samples={options.samples}"], figures)
    print(json.dumps(figures, indent=1))


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("name", help="a bundle that makes a PET of full counts")
    parser.add_argument("--data", help="the data folder (default: DIFFZOO_DATA)")
    parser.add_argument("--dose", type=float, default=0.1, help="share of the counts that is given")
    parser.add_argument("--samples", type=int, default=4, help="draws, whose mean is judged")
    parser.add_argument("--filters", action="store_true", help="tune the filters on validation, and print that alone")
    return parser.parse_args()


def filters(bundle: Path, entry: dict, dose: float) -> dict[str, dict[str, float]]:
    """PSNR (dB) on every fourth slice of a person, by the width of the Gaussian and by the strength of non-local means."""
    from diffzoo.metrics.translated import translated_metrics
    from diffzoo.tasks.translate.pet_outputs import AddFilters

    with tempfile.TemporaryDirectory() as folder:
        session = opened(bundle, folder, "pet", dose, 1, every=4)
        [case] = session.expanded([entry | {"case": "validation"}])
        item = session.get("preprocessing")(case)
    truth, inside = item["truth"].as_tensor()[0].numpy(), item["inside"].as_tensor()[0].numpy() > 0

    def psnr(key: str, width: float, strength: float) -> float:
        image = AddFilters(width, strength)(item)[key].as_tensor()[0].numpy()
        return round(translated_metrics(image, truth, inside)["psnr"], 2)

    widths = {str(width): psnr("gaussian", width, 1.0) for width in WIDTHS}
    return {"gaussian": widths, "nonlocal": {str(s): psnr("nonlocal", 5.0, s) for s in STRENGTHS}}


def measured(bundle: Path, entry: dict, folder: str, options: argparse.Namespace) -> dict[str, float]:
    """All figures of one person."""
    figures, case = {}, None
    for mode in MODES:
        session = opened(bundle, folder, mode, options.dose, options.samples)
        if case is None:
            [case] = session.expanded([entry | {"case": "test"}])
        item = session.get("preprocessing")(case)
        pred = drawn(session, item)
        figures |= {f"{key}_{mode}": value for key, value in judged(pred, item, regions(case, item)).items()}
    return figures | ends(bundle, folder, case, options.dose)


def opened(bundle: Path, folder: str, mode: str, dose: float, samples: int, **more):
    """A session of a mode."""
    from diffzoo.zoo.session import Session

    settings = {"mode": mode, "dose": dose, "samples": samples, **more}
    return Session(str(bundle), ("inference", "evaluate"), settings, device="cpu", output_dir=folder)


def drawn(session, item: dict) -> torch.Tensor:
    """Mean, first draw and standard deviation [3, H, W, D], or a draw [1, H, W, D]."""
    inferer = session.get("inferer")
    known = {key: torch.as_tensor(item[key])[None] for key in inferer.conditions}
    return inferer(torch.as_tensor(item["image"])[None], session.get("network"), **known)[0]


def regions(case: dict, item: dict) -> torch.Tensor:
    """Regions [H, W, D] on the model's grid."""
    from diffzoo.imaging.geometry import orient
    from diffzoo.imaging.heads import resample
    from diffzoo.imaging.io.files import read_volume

    stored = orient(read_volume(case["pet"].replace("_pet.", "_regions."), allow_constant=True), "RAS")
    grid = item["image"].affine.numpy()
    labels = resample(stored.as_tensor()[0].numpy(), stored.affine.numpy(), grid, item["image"].shape[1:], nearest=True)
    return torch.from_numpy(labels.round())


def judged(pred: torch.Tensor, item: dict, where: torch.Tensor) -> dict[str, float]:
    """Bias of regions (relative), recovery of lesions (1 = true), rank correlation of std and error, mean std."""
    from scipy.stats import spearmanr

    truth, inside = torch.as_tensor(item["truth"])[0], torch.as_tensor(item["inside"])[0] > 0
    image, std = pred[0], pred[-1]
    figures = {}
    for name, label in (("bias_grey", GREY), ("bias_white", WHITE)):
        own = (where == label) & inside
        figures[name] = float((image[own].mean() - truth[own].mean()) / truth[own].mean())
    for name, lesion, around in (("hot", HOT, WHITE), ("cold", COLD, GREY)):
        own, other = (where == lesion) & inside, (where == around) & inside
        contrasts = [x[own].mean() - x[other].mean() for x in (image, truth)]
        figures[f"recovery_{name}"] = float(contrasts[0] / contrasts[1])
    error = (image - truth).abs()[inside].numpy()
    figures["spearman"] = float(spearmanr(std[inside].numpy()[::7], error[::7]).statistic)
    return figures | {"mean_std": float(std[inside].mean())}


def ends(bundle: Path, folder: str, case: dict, dose: float) -> dict[str, float]:
    """The data rule at a noise of next to nothing, and at one beyond all bounds."""
    near, far, free = (
        opened(bundle, folder, mode, dose, 1, trust=trust, sampler="ancestral")
        for mode, trust in (("mr_petcon", 1e-5), ("mr_petcon", 1e5), ("mr", 1.0))
    )
    items = [middle(session.get("preprocessing")(case)) for session in (near, far, free)]
    images = [drawn(session, item)[0] for session, item in zip((near, far, free), items, strict=True)]
    given, inside = torch.as_tensor(items[0]["image"])[0].clamp(0, 2), torch.as_tensor(items[0]["inside"])[0] > 0
    error = float((images[0] - given)[inside].square().mean())
    return {
        "psnr_to_measured": float(10 * np.log10(float(given[inside].max()) ** 2 / max(error, 1e-12))),
        "difference_without_data": float((images[1] - images[2]).abs().max()),
    }


def middle(item: dict) -> dict:
    """The middle slices of an item."""
    first = item["image"].shape[-1] // 2
    own = slice(first, first + MIDDLE)
    stacks = {key: torch.as_tensor(item[key])[..., own] for key in ("image", "truth", "inside")}
    return item | stacks | {key: item[key][own] for key in ("position", "slice_index")}


if __name__ == "__main__":
    main()
