"""Measures the patches of pddpm on the healthy validation scan: error beside a whole-slice DDPM, and seams. docs/checks.json.

python tools/measure_patches.py pddpm --data FOLDER
"""

import argparse

import torch

from anomaly_parts import healthy_head, parts, slices_of, write

EVERY = 3  # slices of the scan that are measured
BAND = 2  # voxels on either side of the border of a box


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("name")
    parser.add_argument("--data", help="the data folder (default: DIFFZOO_DATA)")
    options = parser.parse_args()
    config, head = parts(options.name, "evaluate"), healthy_head(options.name, options.data)
    x, brain, vector, index = (part[::EVERY] for part in slices_of(head))
    with torch.no_grad():
        write(options.name, errors(config, x, brain, vector, index) | {"seams": seams(config, x, brain, vector, index)})


def errors(config, x, brain, vector, index) -> dict:
    """Mean |healthy version - scan| over the brain, by noise level: patches, and whole slices by one call; same noise."""
    from diffzoo.diffusion.denoiser import Denoiser
    from diffzoo.diffusion.noise import stream

    precond, noise = (config.get_parsed_content(key) for key in ("precond", "noise"))
    denoise = Denoiser(config.get_parsed_content("whole"), precond).bind(vector=vector, concat=brain)
    drawn, figures = noise([stream(0, i, 0) for i in index])(x), {}
    for level in (0.12, 0.25, 0.5, 1.0):
        by_patches = patched(config, x, brain, vector, index, level)
        once = denoise(x + level * drawn, level)
        error = {"patches": by_patches, "whole": once}
        figures[f"level {level:g}"] = {key: float((v - x).abs()[brain > 0].mean()) for key, v in error.items()}
    return {"healthy L1 error, one call": figures}


def patched(config, x, brain, vector, index, level: float, **options) -> torch.Tensor:
    """The estimate of each slice from its patches at one level, with the bundle's boxes unless told otherwise."""
    from diffzoo.diffusion.denoiser import Denoiser
    from diffzoo.diffusion.noise import stream
    from diffzoo.tasks.anomaly.patches import FindByPatches, PatchEdit

    precond, noise = (config.get_parsed_content(key) for key in ("precond", "noise"))
    boxes = {key: config.get_parsed_content(key) for key in ("patch", "overlap", "blend")} | options
    task = FindByPatches(precond, PatchEdit([level], noise, **boxes), score=None)
    denoise = task.conditioned(Denoiser(config.get_parsed_content("network"), precond), vector, brain)
    return task.edit(denoise, x, [stream(0, i, 0) for i in index])


def seams(config, x, brain, vector, index) -> dict:
    """Mean residual near the borders of the boxes over that inside them, at the default level: as used, and without overlap."""
    from diffzoo.diffusion.patches import grid_boxes

    level, figures = float(config.get_parsed_content("levels")[0]), {}
    for label, options in (("as used", {}), ("without overlap", {"overlap": 0.0})):
        residual = (patched(config, x, brain, vector, index, level, **options) - x).abs()
        used = {key: config.get_parsed_content(key) for key in ("patch", "overlap")} | options
        near = torch.zeros(x.shape[2:], dtype=torch.bool)
        for box in grid_boxes(x.shape[2:], used["patch"], used["overlap"]):
            for axis, part in enumerate(box):
                for edge in (part.start, part.stop):
                    if 0 < edge < x.shape[2 + axis]:
                        near.narrow(axis, edge - BAND, 2 * BAND)[:] = True
        inside = brain > 0
        figures[label] = float(residual[inside & near].mean() / residual[inside & ~near].mean())
    return figures


if __name__ == "__main__":
    main()
