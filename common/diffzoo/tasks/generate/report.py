"""The report of a generation: pairs of image and labels, a contact sheet, and how near the real ones they come where known."""

from collections.abc import Mapping, Sequence

import numpy as np

from diffzoo.imaging.geometry import plain, spacing
from diffzoo.imaging.positions import place
from diffzoo.imaging.preview import Column
from diffzoo.imaging.tissue import LABELS
from diffzoo.metrics.image_quality import slice_metrics
from diffzoo.metrics.overlap import label_scores
from diffzoo.tasks.case_report import CaseReport

SHEET, ROWS = 16, 4  # cases on the contact sheet, and its rows
PLACES = (0.35, 0.5, 0.62, 0.75)  # of the slices of a first volume, from below
OWN, SHOWN, ROUND = "painted", "shown", "round_trip"  # the image on the grid of the input, and of the model


class GenerationReport(CaseReport):
    """`CaseReport` of a generation; `methods`: what an evaluation judges.

    An item is that of `tasks.generate.outputs.NamePainted`; "real" is what the image is compared with.
    """

    most = SHEET

    def shape_of(self, item: Mapping):
        """The image that was painted."""
        return item[OWN]

    def facts(self, item: Mapping) -> dict:
        """Volume of each label in ml, as the model's grid has it, and the figures of an evaluation."""
        maps = plain(item["maps"])
        voxel = np.prod(spacing(item["image"].affine)) / 1000
        facts = {"label_ml": {name: round(float(part.sum() * voxel), 2) for name, part in zip(LABELS[1:], maps[1:], strict=True)}}
        facts |= {key: item[key] for key in ("subject", "group") if key in item}
        if metrics := {method: self._judged(item, method) for method in self.methods if method in item}:
            facts["metrics"] = {method: figures for method, figures in metrics.items() if figures}
        return facts

    def _judged(self, item: Mapping, method: str) -> dict[str, float]:
        if method == ROUND:
            labels, truth = (plain(item[key]).argmax(0)[None, None] for key in (ROUND, "maps"))
            tissue = [x.masked_fill(x == len(LABELS) - 1, 0) for x in (labels, truth)]
            figures = {"dice": label_scores(*tissue, (1.0,) * 3)["dice"]}
            lesions = [(x == len(LABELS) - 1).long() for x in (labels, truth)]
            return figures | ({"lesion_dice": label_scores(*lesions, (1.0,) * 3)["dice"]} if lesions[1].any() else {})
        if not plain(item["real"]).numel():
            return {}
        pair = [plain(item[key]).numpy()[0] for key in (SHOWN if method == OWN else method, "real")]
        return {name: float(np.mean(values)) for name, values in slice_metrics(*pair).items() if values}

    def rows_of(self, item: Mapping) -> list[dict]:
        """Slices of a first volume; of another case the middle one."""
        known = plain(item["real"]).numel() and OWN in self.methods
        stacks = {key: plain(item[key])[0].numpy() for key in (SHOWN, *(["real"] * bool(known)))}  # axes grow to R, A and S
        stacks["label"] = plain(item["maps"]).argmax(0).numpy().astype(float)
        count = stacks["label"].shape[-1]
        picked = [0.5] if self.cases[1:] or count < ROWS else PLACES
        steps = spacing(item["image"].affine)[:2]
        return [
            {"case": item["case"], "spacing": steps, "planes": {k: v[..., z] for k, v in stacks.items()}}
            | {"place": place(np.asarray(item["image"].affine), stacks["label"].shape, z, own=False)}
            for z in (int(p * (count - 1)) for p in picked)
        ]

    def columns_of(self, rows: Sequence[Mapping]) -> list[Column]:
        """Labels and images side by side, as many times as it takes to have no more than a few rows."""
        columns = []
        for start in range(0, len(rows), ROWS):
            rows_here = rows[start : start + ROWS]
            rows_here = [*rows_here, *[rows_here[-1]] * (min(ROWS, len(rows)) - len(rows_here))]
            labels = [row["planes"]["label"] for row in rows_here]
            legend = {k: name for k, name in enumerate(LABELS) if k} if start == 0 else None
            columns.append(Column("labels", [0 * plane for plane in labels], overlays=labels, legend=legend))
            columns.append(Column("painted", [row["planes"][SHOWN] for row in rows_here], unit="of white matter"))
            if all("real" in row["planes"] for row in rows):
                columns.append(Column("real", [row["planes"]["real"] for row in rows_here], unit="of white matter"))
        return columns

    def caption(self, case: Mapping) -> str:
        """What it was made from."""
        return f"{case['acquisition']['words']} | red fluid, blue grey matter, green white matter, purple lesion"
