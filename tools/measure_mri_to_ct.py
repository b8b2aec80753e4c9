"""Measures what no evaluation of bundles/mri_to_ct does, into docs/results.json as "checks": is the MR used, is the ODE one map
there and back, and where does the spread of draws rise.

python tools/measure_mri_to_ct.py mri_to_ct --data FOLDER [--every 8] [--draws 4]

On the simulated T1 of the test person: PSNR of a draw from its own slices and from those of half the head away; the largest
difference between two runs from the same noise; the error of a CT taken up the ODE to the top level and down again; and the mean
standard deviation of draws where the T1 is dark beside soft tissue, inside a void that was cut into the T1 beside the same place
without one, and in the head for a T1 whose contrast is turned over.
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
PEAK = 1.5  # 3000 HU in model units
DARK, SOFT = 0.2, (0.5, 0.55)  # of the T1: bone or air; of the CT in model units: 0 to 100 HU
VOID_MM = 25.0  # radius
LEVELS = 40  # of the ODE there and back


def main() -> None:
    options = _options()
    bundle = ROOT / "bundles" / options.name
    lists = datalist(data_folder(options.data), recipe_of(options.name))
    figures = measured(bundle, lists["test"][0], options.every, options.draws)
    store(bundle, "checks", [f"every={options.every}", f"samples={options.draws}"], figures)
    print(json.dumps(figures, indent=1))


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("name", help="a bundle that makes a CT from MR")
    parser.add_argument("--data", help="the data folder (default: DIFFZOO_DATA)")
    parser.add_argument("--every", type=int, default=8, help="take every n-th slice")
    parser.add_argument("--draws", type=int, default=4, help="of which a standard deviation is taken")
    return parser.parse_args()


def measured(bundle: Path, entry: dict, every: int, draws: int) -> dict[str, float]:
    """All figures of one person."""
    from diffzoo.zoo.session import Session

    with tempfile.TemporaryDirectory() as folder:
        settings = {"given": "t1", "scanned": False, "every": every, "samples": draws}
        session = Session(str(bundle), ("inference", "evaluate"), settings, device="cpu", output_dir=folder)
        [case] = session.expanded([entry | {"case": "test"}])
        item = session.get("preprocessing")(case)
    first, _ = drawn(session, item, item["image"])
    again, _ = drawn(session, item, item["image"])
    return rounded(
        {"rerun_difference": float((first - again).abs().max()), **conditioning(session, item, first)}
        | {"ode_there_and_back": there_and_back(session, item)}
        | spread(session, item)
    )


def drawn(session, item: dict, image) -> tuple[torch.Tensor, torch.Tensor]:
    """The first draw and the standard deviation [H, W, D] of a case with another MR."""
    inferer = session.get("inferer")
    known = {key: torch.as_tensor(item[key])[None] for key in inferer.conditions}
    result = inferer(torch.as_tensor(image)[None], session.get("network"), **known)
    return result[0, 1], result[0, 2]


def conditioning(session, item: dict, own: torch.Tensor) -> dict[str, float]:
    """PSNR in the head of a draw from its own slices, and from those of half the head away."""
    slices = torch.as_tensor(item["image"])
    other, _ = drawn(session, item, slices.roll(slices.shape[-1] // 2, -1))
    first, second = (psnr(x, item) for x in (own, other))
    return {"psnr_own_mr": first, "psnr_other_mr": second, "drop_db": first - second}


def psnr(image: torch.Tensor, item: dict) -> float:
    """PSNR (dB) for 3000 HU over voxels of the head."""
    inside = torch.as_tensor(item["inside"])[0] > 0
    return float(10 * torch.log10(PEAK**2 / (image - torch.as_tensor(item["truth"])[0])[inside].square().mean()))


@torch.no_grad()
def there_and_back(session, item: dict) -> float:
    """Relative error of the true CT of the middle slice, taken up to the top level by the ODE's inversion and down by Euler."""
    from diffzoo.diffusion.denoiser import Denoiser
    from diffzoo.diffusion.samplers import euler, invert
    from diffzoo.diffusion.schedule import log_snr
    from diffzoo.tasks.translate.inferer import Slices

    inferer, middle = session.get("inferer"), item["image"].shape[-1] // 2
    image, truth, inside = (torch.as_tensor(item[key])[None, ..., middle].float() for key in ("image", "truth", "inside"))
    flags = (torch.as_tensor(item[key])[None] for key in ("given", "wanted"))
    batch = Slices(image, *flags, inside, torch.as_tensor(item["position"])[middle : middle + 1])
    denoise = inferer.bound(Denoiser(session.get("network").eval(), inferer.precond), batch, torch.zeros_like(truth))
    grid = log_snr(LEVELS, 0.02, inferer.sigmas[0])[:-1]
    start = truth + grid[-1] * torch.randn(truth.shape, generator=torch.Generator().manual_seed(0))  # the ODE begins at a level
    back = euler(denoise, invert(denoise, start, grid[::-1], corrections=4), grid)
    return float((back - start).norm() / start.norm())


def spread(session, item: dict) -> dict[str, float]:
    """Ratios of mean standard deviations of draws: dark to soft, a void to the same place without, turned contrast to its own."""
    image, truth = torch.as_tensor(item["image"]), torch.as_tensor(item["truth"])[0]
    inside = torch.as_tensor(item["inside"])[0] > 0
    _, std = drawn(session, item, image)
    dark, soft = inside & (image[0] < DARK), inside & (truth > SOFT[0]) & (truth < SOFT[1])
    hole = ball(item) & inside
    void, turned = image.clone(), image.clone()
    void[0][hole] = 0
    turned[0][inside] = (1 - image[0][inside]).clamp(min=0)
    stds = [drawn(session, item, x)[1] for x in (void, turned)]
    return {
        "std_dark_to_soft": float(std[dark].mean() / std[soft].mean()),
        "std_void_ratio": float(stds[0][hole].mean() / std[hole].mean()),
        "std_turned_contrast_ratio": float(stds[1][inside].mean() / std[inside].mean()),
    }


def ball(item: dict) -> torch.Tensor:
    """Bool [H, W, D]: a ball of VOID_MM in the front of the head, halfway up its slices."""
    affine, shape = item["image"].affine.numpy(), item["image"].shape[1:]
    sizes = np.linalg.norm(affine[:3, :3], axis=0)
    places = np.indices(shape) * sizes[:, None, None, None]
    centre = np.array([shape[0] / 2, 0.7 * shape[1], shape[2] / 2]) * sizes
    return torch.from_numpy(np.linalg.norm(places - centre[:, None, None, None], axis=0) <= VOID_MM)


if __name__ == "__main__":
    main()
