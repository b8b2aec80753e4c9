"""The report of a segmentation: maps and masks, how much the draws differ, and how well they fit readers that are known."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from diffzoo.imaging.geometry import plain, restore
from diffzoo.imaging.io.files import write_volume
from diffzoo.imaging.positions import place
from diffzoo.imaging.preview import Column
from diffzoo.metrics import ambiguous
from diffzoo.metrics.regions import volume_ml
from diffzoo.tasks.case_report import CaseReport
from diffzoo.tasks.segment.cases import repeated
from diffzoo.tasks.segment.scans import window_of, windowed

SLICES = 4  # of the first case in the preview
ROOM = 24  # pixels around the patch in the preview
DRAWS = 3  # that the preview shows
FOUND, TRUE = 1, 2  # label colours: red, blue
BRIGHT = 0.7  # grey level that a picture shows as white


class SegmentationReport(CaseReport):
    """`CaseReport` of a segmentation, an item being that of `outputs.NameMasks` taken back to the stored axes.

    Where "readers" are known each of `methods` that an item has, bool [N, H, W, D], is judged as a set of masks by
    `metrics.ambiguous.figures`. Readers with "frequencies" count as often as these say, and "frequency" tells how far those of
    the draws are from them.
    """

    def shape_of(self, item: Mapping):
        """The probability map."""
        return item["probability"]

    def write(self, path: Path, key: str, item: Mapping) -> Path:
        """The mask in whole numbers, the maps as they are."""
        return write_volume(path, item[key], dtype="uint8" if key == "segmentation" else "float32")

    def more(self, item: Mapping) -> list[Path]:
        """Each draw, where these are asked for."""
        if "draws" not in item:
            return []
        folder, draws = self.folder, restore(item["draws"], item["image"].meta["stored_affine"])
        return [
            write_volume(folder / f"{item['case']}_draw_{k + 1:02}.nii.gz", draws[k : k + 1], dtype="uint8")
            for k in range(len(draws))
        ]

    def facts(self, item: Mapping) -> dict:
        """Volumes of the draws, their spread, and how well each method fits the readers."""
        mask, drawn = plain(item["segmentation"])[0].numpy() > 0, plain(item["drawn"])
        affine = np.asarray(item["image"].affine)
        sizes = [volume_ml(draw.numpy(), affine) for draw in drawn] if bool(item["sized"]) else []
        facts = {"segmented_ml": volume_ml(mask, affine), "least_ml": min(sizes), "most_ml": max(sizes)} if sizes else {}
        facts = {name: round(value, 4) for name, value in facts.items()}
        facts |= {"spread": round(float(ambiguous.distance(drawn, drawn).mean()), 4)}
        facts |= {key: item[key] for key in ("subject", "group") if key in item}
        if "readers" not in item:
            return facts
        readers = plain(item["readers"]) > 0.5
        facts["reader_pixels"] = [int(n) for n in readers.flatten(1).sum(1)]
        if "frequencies" in item:
            often = [float(f) for f in plain(item["frequencies"]).flatten()]
            off, met = ambiguous.frequency_distance(drawn, readers, often)
            facts["frequency"] = {"distance": off, "met": met.tolist(), "expected": often}
            readers = readers[repeated(often)]
        facts["metrics"] = {m: ambiguous.figures(plain(item[m]), readers) for m in self.methods if m in item}
        return facts

    def rows_of(self, item: Mapping) -> list[dict]:
        """Slices with the most that is probable, cut to the patch and some room; of a case that is not the first only one."""
        image = item["image"]
        share = plain(item["drawn"]).float().mean(0)
        grey = windowed(image.as_tensor()[0], window_of(self.parameters.get("window", "auto"), image))
        area = share.sum((0, 1))
        slices = [int(z) for z in area.argsort(descending=True)[: 1 if self.cases[1:] else SLICES]]
        field = window(plain(item["matrix"]).reshape(2, 3), image.shape[1:3], plain(item["patch"]).shape[1])
        stacks = {"image": grey, "share": share} | {
            f"draw {k + 1}": m.float() for k, m in enumerate(plain(item["drawn"])[:DRAWS])
        }
        if "readers" in item:
            readers = plain(item["readers"]) > 0.5
            often = (
                plain(item["frequencies"]).flatten() if "frequencies" in item else torch.full((len(readers),), 1 / len(readers))
            )
            stacks["readers"] = (readers.float() * often.reshape(-1, 1, 1, 1)).sum(0)
        shared = {"case": item["case"], "spacing": tuple(float(mm) for mm in plain(item["plane_mm"]).flatten())}
        affine, shape = np.asarray(image.affine), image.shape[1:]
        own = [int(k) for k in plain(item["slice_index"]).flatten()]
        return [
            shared
            | {"planes": {name: stack[field][..., z].numpy() for name, stack in stacks.items()}}
            | {"place": place(affine, shape, z, item["notes"], number=own[z])}
            for z in sorted(slices, reverse=True)
        ]

    def columns_of(self, rows: Sequence[Mapping]) -> list[Column]:
        """The image, some draws on it, the probability map, and the readers' where they are known."""
        images = [row["planes"]["image"] / BRIGHT for row in rows]
        names = [name for name in rows[0]["planes"] if name.startswith("draw")]
        columns = [Column("image", images, unit="grey level", scale=(BRIGHT, 0.0))]
        for name in names:
            masks = [outline(row["planes"][name]) * FOUND for row in rows]
            columns.append(
                Column(name, images, overlays=masks, unit="grey level", legend={FOUND: "outline"}, scale=(BRIGHT, 0.0))
            )
        columns.append(Column("share of draws", [row["planes"]["share"] for row in rows], "error", unit="share"))
        if all("readers" in row["planes"] for row in rows):
            columns.append(Column("share of readers", [row["planes"]["readers"] for row in rows], "error", unit="share"))
        return columns

    def words(self, case: Mapping) -> list[str]:
        """How much the draws differ, and GED and CI of each method."""
        return [case["acquisition"]["words"], *[f"{m.replace('_', ' ')} {_two(v)}" for m, v in case.get("metrics", {}).items()]]

    def caption(self, case: Mapping) -> str:
        """What the draws marked, and GED and CI of each method where readers are known."""
        return " | ".join([f"{case['network_calls']:g} network calls a draw", *self.words(case)])


def _two(figures: Mapping[str, float]) -> str:
    return f"GED {figures['ged']:.2f} CI {figures['ci']:.2f}"


def outline(mask: np.ndarray) -> np.ndarray:
    """The pixels of a plane's mask that touch what is not of it, as whole numbers 0 and 1."""
    inside = mask > 0.5
    padded = np.pad(inside, 1)
    core = padded[:-2, 1:-1] & padded[2:, 1:-1] & padded[1:-1, :-2] & padded[1:-1, 2:]
    return (inside & ~core).astype(np.uint8)


def window(matrix: Tensor, field: Sequence[int], size: int) -> tuple[slice, slice]:
    """The part of a field [H, W] that a patch of `size` pixels covers, with some room around it."""
    parts = []
    for axis, n in enumerate(field):
        half = float(matrix[1 - axis, 1 - axis]) * n / 2 * (1 + ROOM / size)
        middle = (float(matrix[1 - axis, 2]) + 1) * n / 2
        parts.append(slice(max(0, round(middle - half)), min(n, round(middle + half))))
    return parts[0], parts[1]
