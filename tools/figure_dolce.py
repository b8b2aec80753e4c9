"""Draws the figure of dolce's card: one test slice from 60, 90 and 120 degrees, by each method, with the errors.

python tools/figure_dolce.py --data FOLDER [--slice 12]

The slice is one of the recipe's test block. All numbers under the picture are of this slice.
"""

import argparse
import tempfile
from pathlib import Path

import numpy as np

from data_folder import data_folder, datalist, recipe_of
from diffzoo.imaging.preview import Column, montage
from diffzoo.metrics.image_quality import slice_metrics
from diffzoo.zoo.session import Session

ROOT = Path(__file__).resolve().parents[1]
ARCS = (60.0, 90.0, 120.0)
METHODS = {"fbp": "filtered backprojection", "total_variation": "total variation", "recon": "DOLCE"}
LOW = -1000.0  # HU


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", help="the data folder (default: DIFFZOO_DATA)")
    parser.add_argument("--slice", type=int, default=12, help="of the test block")
    options = parser.parse_args()
    [entry] = datalist(data_folder(options.data), recipe_of("dolce"))["test"]
    cases = [volumes(entry, arc, options.slice) for arc in ARCS]
    path = montage(
        ROOT / "bundles" / "dolce" / "docs" / "figure.png",
        columns(cases),
        window=(-1000.0 - LOW, 600.0 - LOW),
        labels=[f"{arc:.0f} degrees" for arc in ARCS],
        caption=caption(cases),
        limit=700_000,
    )
    print(path)


def volumes(entry: dict, arc: float, place: int) -> dict[str, np.ndarray]:
    """Planes of one slice above air, in HU + 1000, by method."""
    with tempfile.TemporaryDirectory() as folder:
        session = Session("dolce", ["inference", "evaluate"], {"arc": arc, "slices": str(place)}, "cpu", folder)
        session.run([entry | {"case": "slice"}])
        output = session.get("evaluator").state.output[0] | session.get("evaluator").state.batch[0]
    return {key: np.asarray(output[key])[0, :, :, 0] - LOW for key in ("reference", *METHODS)}


def columns(cases: list[dict[str, np.ndarray]]) -> list[Column]:
    """Truth, methods, and the errors of the two best."""
    shown = [Column("truth", [volume["reference"] for volume in cases])]
    shown += [Column(title, [volume[key] for volume in cases]) for key, title in METHODS.items()]
    for key in ("total_variation", "recon"):
        errors = [np.abs(volume[key] - volume["reference"]) for volume in cases]
        shown.append(Column(f"error of {METHODS[key]}", errors, "error", 4.0))
    return shown


def caption(cases: list[dict[str, np.ndarray]]) -> str:
    """PSNR of each method at each arc."""
    words = []
    for arc, volume in zip(ARCS, cases, strict=True):
        truth = volume["reference"][..., None]
        psnr = {title: slice_metrics(volume[key][..., None], truth)["psnr"][0] for key, title in METHODS.items()}
        words.append(f"{arc:.0f} degrees: " + ", ".join(f"{title} {value:.1f} dB" for title, value in psnr.items()))
    return " | ".join(words)


if __name__ == "__main__":
    main()
