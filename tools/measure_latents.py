"""Measures the parts of banoddpm on validation scans: thresholds, marked sites, ranges of time, and time. docs/checks.json.

python tools/measure_latents.py banoddpm --data FOLDER
"""

import argparse
import time

import numpy as np
import torch
from monai.data import MetaTensor

from anomaly_parts import healthy_head, lesion_cases, parts, slices_of, write
from diffzoo.imaging.heads import MODALITIES

PERCENTILES = (90.0, 95.0, 97.5, 99.0)
RANGES = {"1 to 100": (5, 25, 50, 75, 100), "100 to 300": (100, 150, 200, 250, 300), "200 to 400": (200, 250, 300, 350, 400)}
RANGES |= {"400 to 600": (400, 450, 500, 550, 600), "900 to 999": (900, 925, 950, 975, 999)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("name")
    parser.add_argument("--data", help="the data folder (default: DIFFZOO_DATA)")
    options = parser.parse_args()
    config, head = parts(options.name), healthy_head(options.name, options.data)
    cases = list(lesion_cases(options.name, options.data))
    with torch.no_grad():
        scores = {label: auroc_of(config, cases, times) for label, times in RANGES.items()}
        figures = healthy_sites(config, head) | {"AUROC of the divergence of sites": scores}
        write(options.name, figures | seconds(config, head))


def prior_of(config, head: dict):
    """What the edit of a head is handed, and its slices and numbers."""
    from diffzoo.diffusion.denoiser import Denoiser

    x, brain, vector, index = slices_of(head)
    network, precond = (config.get_parsed_content(key) for key in ("network", "precond"))
    return config.get_parsed_content("inferer").conditioned(Denoiser(network, precond), vector, brain), x, index


def divergence_of(edit, prior, x, index) -> torch.Tensor:
    """Divergence [D, 1, *L] of the sites of slices, with the noise of the inference."""
    from diffzoo.diffusion.noise import stream

    return edit.divergence(prior, prior.space.encode(x), edit.noise([stream(0, i, 0) for i in index]))


def healthy_sites(config, head: dict) -> dict:
    """By contrast: percentiles of the divergence over the tissue of the healthy scan, and what the thresholds mark there.

    The scan is a T1; T2 and FLAIR are simulated from it, for there is no healthy scan of these.
    """
    edit, figures = config.get_parsed_content("edit"), {}
    for contrast in MODALITIES:
        prior, x, index = prior_of(config, shown(head, contrast))
        divergence = divergence_of(edit, prior, x, index)
        tissue = prior.outline > 0
        figures[contrast] = {
            "percentiles of the divergence": {f"{p:g}": float(np.percentile(divergence[tissue], p)) for p in PERCENTILES},
            "sites above the threshold": float(edit.above(divergence, prior)[tissue].float().mean()),
            "sites drawn anew, with those about them": float(edit.marked(divergence, prior)[tissue].float().mean()),
        }
    return {"healthy scan": figures}


def shown(head: dict, contrast: str) -> dict:
    """A loaded T1 head in another contrast."""
    from diffzoo.imaging.contrasts import shown_as
    from diffzoo.imaging.heads import one_hot

    vector = torch.as_tensor(head["vector"]).clone()
    vector[:, : len(MODALITIES)] = one_hot(contrast)
    slices = head["image"].as_tensor().movedim(-1, 0)
    image = shown_as(slices, vector[:, : len(MODALITIES)]).movedim(0, -1) if contrast != "t1" else head["image"].as_tensor()
    return {**head, "image": MetaTensor(image), "vector": vector}


def auroc_of(config, cases: list[dict], times: tuple[int, ...]) -> float:
    """Mean over the cases: how well the divergence at some times tells sites that are mostly lesion from others."""
    from dataclasses import replace

    from diffzoo.metrics.detection import auroc
    from diffzoo.networks.composite import site_shares

    edit, values = replace(config.get_parsed_content("edit"), times=times), []
    for case in cases:
        prior, x, index = prior_of(config, case)
        factor = config.get_parsed_content("network").autoencoder.factor
        lesion = site_shares(case["mask"].as_tensor().movedim(-1, 0).float(), factor) > 0.5
        tissue = prior.outline > 0
        if lesion[tissue].any():
            values.append(auroc(divergence_of(edit, prior, x, index)[tissue].numpy(), lesion[tissue].numpy()))
    return float(np.mean(values))


def seconds(config, head: dict, first: int = 20, count: int = 8) -> dict:
    """Seconds for some slices: as used, and as many network calls in pixels, of the same channels and blocks."""
    from diffzoo.diffusion.denoiser import Denoiser
    from diffzoo.diffusion.noise import Gaussian, noised
    from diffzoo.networks.unet import UNet

    edit, rows = config.get_parsed_content("edit"), slice(first, first + count)
    few = {key: head[key][..., rows] for key in ("image", "brain")} | {key: head[key][rows] for key in ("vector", "slice_index")}
    prior, x, index = prior_of(config, few)
    started = time.perf_counter()
    edit(prior, x, index)
    used = time.perf_counter() - started
    channels = config["network_def::diffusion::channels"]
    network = UNet(channels=channels, attention_levels=[False] * len(channels)).eval()
    denoise, noise = Denoiser(network, config.get_parsed_content("precond")).bind(), Gaussian(index)
    grid = [*edit.sigmas[:2], 0.0] if len(edit.sigmas) > 2 else edit.sigmas
    started = time.perf_counter()
    edit.sampler(denoise, noised(x, grid[0], noise), grid, noise=noise)
    pixels = (time.perf_counter() - started) * edit.steps / (len(grid) - 1)
    figures = {"latents, divergence and decoding included": used, "as many calls in pixels": pixels, "share": used / pixels}
    return {f"seconds of {count} slices": figures}


if __name__ == "__main__":
    main()
