"""Measures what no evaluation of bundles/cola_diff does, into docs/results.json as "checks": lesions that are kept, memory saved.

python tools/measure_cola_diff.py cola_diff --data FOLDER [--every 4] [--draws 4] [--corrupt t1 --steps 500]

The auto-weights after some further steps of training in which one source is drowned in noise: its factor should fall below the
mean of the others'. On the test person with a lesion mask: contrast of the lesions to the tissue around them in T2 made from T1
and FLAIR, over that of the true T2, for one draw, the mean of draws and the regression network. And how many times fewer
activations the diffusion network has at the latents' size than at the image's.
"""

import argparse
import json
import tempfile
from pathlib import Path

import numpy as np
import torch
from scipy import ndimage

from data_folder import data_folder, datalist, recipe_of
from figures import rounded, store

ROOT = Path(__file__).resolve().parents[1]
SHELL = (2, 5)  # voxels around a lesion that tissue is taken from: beyond the first, up to the second
METHODS = ("draw", "mean", "regression")
LEAST = 20  # voxels of lesion on the slices that are measured


def main() -> None:
    options = _options()
    bundle, data = ROOT / "bundles" / options.name, data_folder(options.data)
    recipe = recipe_of(options.name)
    lists = datalist(data, recipe)
    figures = measured(bundle, lists["lesions"][0], options.every, options.draws)
    figures |= corrupted_factors(bundle, lists, options.corrupt, options.steps)
    settings = [f"every={options.every}", f"samples={options.draws}", f"corrupted={options.corrupt}", f"steps={options.steps}"]
    store(bundle, "checks", settings, figures)
    print(json.dumps(rounded(figures), indent=1))


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("name", help="a bundle that makes contrasts in latents")
    parser.add_argument("--data", help="the data folder (default: DIFFZOO_DATA)")
    parser.add_argument("--every", type=int, default=4, help="take every n-th slice")
    parser.add_argument("--draws", type=int, default=4, help="of which the mean is taken")
    parser.add_argument("--corrupt", default="t1", help="source that is drowned in noise")
    parser.add_argument("--steps", type=int, default=500, help="of the optimiser with that source, in 50s")
    return parser.parse_args()


def measured(bundle: Path, entry: dict, every: int, draws: int) -> dict[str, float]:
    """All figures of one person, whose entry has a "mask" of lesions in the space of its images."""
    from diffzoo.imaging.heads import resample
    from diffzoo.imaging.io.files import read_volume
    from diffzoo.zoo.session import Session

    with tempfile.TemporaryDirectory() as folder:
        settings = {"given": "t1+flair", "every": every, "samples": draws}
        session = Session(str(bundle), ("inference", "evaluate"), settings, device="cpu", output_dir=folder)
        [case] = session.expanded([{k: v for k, v in entry.items() if k != "mask"} | {"case": "test"}])
        item = session.get("preprocessing")(case)
    inferer = session.get("inferer")
    known = {key: torch.as_tensor(item[key])[None] for key in inferer.conditions}
    pred = inferer(torch.as_tensor(item["image"])[None], session.get("network"), **known)[0]
    results = session.get("postprocessing")(dict(item) | {"pred": pred})
    mask = read_volume(entry["mask"], allow_constant=True)
    grid, shape = item["image"].affine.numpy(), item["image"].shape[1:]
    lesion = resample(mask[0].numpy(), mask.affine.numpy(), grid, shape, nearest=True) > 0.5
    inside, t2 = np.asarray(item["inside"])[0] > 0, session.get("roles").index("t2")
    truth = contrast(np.asarray(item["truth"])[t2], lesion, inside)
    kept = {f"kept_{method}": contrast(np.asarray(results[method])[t2], lesion, inside) / truth for method in METHODS}
    figures = {"lesion_voxels": int(lesion.sum()), "contrast_true": truth, **kept}
    return figures | {"activations_saved": activations_saved(session.get("network"), inside.shape[:2])}


def corrupted_factors(bundle: Path, lists: dict, role: str, steps: int) -> dict[str, float]:
    """Mean auto-weight of a source and of the others where they are given, before and after training with it as noise."""
    from monai.bundle import ConfigWorkflow

    configs = [str(bundle / "configs" / f"{name}.yaml") for name in ("train", "train_diffusion")]
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "datalist.json").write_text(json.dumps(lists), encoding="utf-8")
        places = {"bundle_root": str(bundle), "dataset_dir": folder, "output_dir": f"{folder}/out"}
        flow = ConfigWorkflow(configs, workflow_type="train", epochs=max(1, steps // 50), augmented=2, **places)
        number = flow.parser.get_parsed_content("roles").index(role)
        flow.parser["corrupted"] = number
        flow.initialize()
        network, batches = (flow.parser.get_parsed_content(key) for key in ("network", "train::dataset"))
        before = source_factors(network.diffusion, batches)
        flow.run()
        after = source_factors(network.diffusion, batches)
    others = [k for k in range(len(after)) if k != number]
    return {
        "factor_before": float(before[number]),
        "others_before": float(before[others].mean()),
        "factor_as_noise": float(after[number]),
        "others_as_noise": float(after[others].mean()),
    }


@torch.no_grad()
def source_factors(diffusion, batches) -> np.ndarray:
    """Mean factor [R] of each contrast over the items of a dataset in which it is given."""
    total = weight = 0
    for k in range(len(batches)):
        batch = batches[k]
        given = batch["vector"][:, : diffusion.roles]
        total = total + (diffusion.factors(batch["concat"])[:, : diffusion.roles] * given).sum(0)
        weight = weight + given.sum(0)
    return (total / weight).numpy()


def activations_saved(network, size: tuple[int, int]) -> float:
    """How many times fewer activations a call in latents takes than the same network would on images of that size."""
    diffusion, factor = network.diffusion, network.autoencoder.factor
    return activations(diffusion, size) / activations(diffusion, tuple(n // factor for n in size))


@torch.no_grad()
def activations(diffusion, size: tuple[int, int]) -> int:
    """Values that the layers of the network give in one call for an image of that size."""
    counts, layers = [], [layer for layer in diffusion.modules() if not list(layer.children())]
    hooks = [layer.register_forward_hook(lambda _, __, out: counts.append(out.numel())) for layer in layers]
    image = torch.zeros(1, diffusion.latent_channels, *size)
    concat = torch.zeros(1, diffusion.weighs + diffusion.roles + 1, *size)
    diffusion(image, concat=concat, vector=torch.zeros(1, 2 * diffusion.roles + 1))
    for hook in hooks:
        hook.remove()
    return sum(counts)


def contrast(image: np.ndarray, lesion: np.ndarray, inside: np.ndarray) -> float:
    """Mean of an image [H, W, D] in a lesion mask less that of a shell around it. Raises ValueError for few voxels."""
    if lesion.sum() < LEAST:
        raise ValueError(f"only {int(lesion.sum())} voxels of lesion on the slices: take more of them (--every)")
    plane = ndimage.generate_binary_structure(2, 1)[..., None]
    near, far = (ndimage.binary_dilation(lesion, plane, iterations=n) for n in SHELL)
    return float(image[lesion].mean() - image[far & ~near & inside].mean())


if __name__ == "__main__":
    main()
