"""The report of an anomaly detection: what was found and where, and how well where a mask is known."""

from collections.abc import Mapping, Sequence

import numpy as np
from monai.data import MetaTensor

from diffzoo.imaging.geometry import orient, plain, spacing
from diffzoo.imaging.positions import place, placed, stated
from diffzoo.imaging.preview import Column
from diffzoo.metrics import detection
from diffzoo.metrics.regions import pieces, volume_ml
from diffzoo.tasks.case_report import CaseReport, in_unit

SLICES = 4  # of the first case in the preview
FOUND, TRUE = 1, 2  # label colours: red, blue
RATES = (0.05, 0.02, 0.01, 0.005)  # false-positive rates for which a healthy case tells the threshold


class AnomalyReport(CaseReport):
    """`CaseReport` of an anomaly detection; `methods`: keys of the maps to judge, the bundle's own first.

    An item has "scan", "image", "healthy", the maps, "mask" (what was found), "brain", and where it is known "lesion" (the
    truth), "ignore" (voxels that do not count), "clean" (the image before a synthetic lesion). Voxels of the brain count. Maps
    that were taken back to the scan are judged by their Dice alone.
    """

    def __init__(
        self,
        bundle_root: str,
        output_dir: str,
        weights: str,
        inferer,
        volumes: Sequence[str],
        methods: Sequence[str],
        threshold: float,
        parameters: Mapping | None = None,
        trust: str = "not scanned",
    ) -> None:
        super().__init__(bundle_root, output_dir, weights, inferer, volumes, parameters, trust, methods)
        self.threshold = threshold

    def shape_of(self, item: Mapping):
        """The anomaly map."""
        return item[self.methods[0]]

    def facts(self, item: Mapping) -> dict:
        """What was found; with a true mask also how well each method finds it, without any lesion how often it is wrong."""
        mask, affine = _array(item["mask"]) > 0, np.asarray(item["mask"].affine)
        regions = placed(pieces(mask, affine), affine, mask.shape, _middle(item))
        brain = volume_ml(_array(item["brain"]) > 0, np.asarray(item["brain"].affine))
        facts = {"found_ml": round(volume_ml(mask, affine), 3), "brain_ml": round(brain, 1), "regions": regions}
        facts |= {key: item[key] for key in ("subject", "group") if key in item}
        if "lesion" in item:
            truth = _array(item["lesion"]) > 0
            facts["lesion_ml"] = round(volume_ml(truth, affine), 3)
            if _one_grid(item["brain"], item["mask"]):
                facts |= self._judged(item, truth)
            elif truth.any():
                facts["metrics"] = {self.methods[0]: {"dice": detection.dice_at(mask, truth, 1)}}
        return facts

    def _judged(self, item: Mapping, truth: np.ndarray) -> dict:
        counts = _array(item["brain"]) > 0
        if "ignore" in item:
            counts = counts & ~(_array(item["ignore"]) > 0)
        labels = truth[counts]
        scores = {m: _array(item[m])[counts] for m in self.methods if m in item}
        own = scores[self.methods[0]]
        healthy = own[~labels]
        figures = {"prevalence": float(labels.mean()), "fpr": detection.false_positive_rate(healthy, self.threshold)}
        if not labels.any():
            return figures | {"by_threshold": {str(rate): detection.threshold_at_fpr(healthy, rate) for rate in RATES}}
        metrics = {m: _detection(values, labels) for m, values in scores.items()}
        metrics[self.methods[0]]["dice"] = detection.dice_at(own, labels, self.threshold)
        for method, key in zip(self.methods, ("healthy", *(f"{m}_healthy" for m in self.methods[1:])), strict=True):
            if key in item:
                metrics[method] |= _changed(item, key, truth, counts)
        return figures | {"metrics": metrics}

    def rows_of(self, item: Mapping) -> list[dict]:
        """The slices with most found volume; of a case that is not the first only one."""
        keys = {"scan": "scan" if _one_grid(item["scan"], item["healthy"]) else "image"}
        keys |= {"healthy": "healthy", "map": self.methods[0], "mask": "mask"}
        keys |= {"lesion": "lesion"} if "lesion" in item else {}
        stacks = {name: _array(orient(item[key].float(), "RAS")) for name, key in keys.items()}
        area = stacks["lesion" if "lesion" in stacks and stacks["lesion"].any() else "mask"].sum((0, 1))
        wanted = 1 if self.cases[1:] else SLICES
        ground = stacks["scan"][..., stacks["map"].any((0, 1))] if stacks["map"].any() else stacks["scan"]
        affine, shape = np.asarray(orient(item[keys["scan"]], "RAS").affine), stacks["scan"].shape
        own = keys["scan"] == "scan"
        shared = {"case": item["case"], "ground": ground, "spacing": spacing(affine)[:2]}
        return [
            shared
            | {"planes": {k: v[..., z] for k, v in stacks.items()}, "place": place(affine, shape, int(z), item["notes"], own=own)}
            for z in _places(area, wanted)
        ]

    def columns_of(self, rows: Sequence[Mapping]) -> list[Column]:
        """Scan, healthy version, map, and the scan with what was found."""
        scans = [in_unit(row["planes"]["scan"], row["ground"]) for row in rows]
        healthy = [in_unit(row["planes"]["healthy"], row["ground"]) for row in rows]
        maps = [row["planes"]["map"] / max(2 * self.threshold, 1e-6) for row in rows]
        overlays = [np.where(row["planes"]["mask"] > 0, FOUND, 0) for row in rows]
        columns = [
            Column("scan", scans, unit="of the brightest"),
            Column("healthy version", healthy, unit="of the brightest"),
            Column(f"map, threshold {self.threshold:.3g}", maps, "error", scale=(2 * self.threshold, 0.0)),
            Column("found", scans, overlays=overlays, unit="of the brightest", legend={FOUND: "found"}),
        ]
        if all("lesion" in row["planes"] for row in rows):
            true = [np.where(row["planes"]["lesion"] > 0, TRUE, 0) for row in rows]
            columns.append(Column("known truth", scans, overlays=true, unit="of the brightest", legend={TRUE: "lesion"}))
        return columns

    def words(self, case: Mapping) -> list[str]:
        """The leading figure of each method, and the volume found."""
        return [*super().words(case), f"{case['found_ml']:.1f} ml found"]

    def caption(self, case: Mapping) -> str:
        """Contrast, threshold, volume found, and AUPRC where the truth is known."""
        words = [
            f"{case['acquisition']['words']}, {case['network_calls']:g} network calls a slice",
            f"{case['found_ml']:.1f} ml found",
        ]
        if "metrics" in case:
            words += [f"{m.replace('_', ' ')} AUPRC {v['auprc']:.2f}" for m, v in case["metrics"].items() if "auprc" in v]
        return " | ".join(words)


def _one_grid(first: MetaTensor, other: MetaTensor) -> bool:
    return first.shape == other.shape and np.allclose(first.affine, other.affine)


def _middle(item: Mapping) -> float | None:
    """The middle of the brain from left to right, x in mm; None where the header states no orientation."""
    inside = np.argwhere(_array(item["brain"]) > 0)
    if not stated(item["notes"]) or not len(inside):
        return None
    return float((np.asarray(item["brain"].affine) @ [*inside.mean(0), 1.0])[0])


def _array(volume) -> np.ndarray:
    return plain(volume).cpu().numpy()[0]


def _detection(scores: np.ndarray, labels: np.ndarray) -> dict[str, float]:
    """How well a score finds the lesion voxels, whatever the threshold."""
    best, threshold = detection.best_dice(scores, labels)
    values = {"auprc": detection.average_precision(scores, labels), "auroc": detection.auroc(scores, labels)}
    return values | {"best_dice": best, "best_threshold": threshold}


def _changed(item: Mapping, key: str, truth: np.ndarray, counts: np.ndarray) -> dict[str, float]:
    """What a healthy version made of the image: PSNR where it is healthy, and the way a lesion moved to what was there before."""
    image, healthy = _array(item["image"]), _array(item[key])
    error = np.mean((healthy - image)[counts & ~truth] ** 2)
    figures = {"healthy_psnr": float(-10 * np.log10(max(error, 1e-12)))}
    if "clean" in item:
        way = (_array(item["clean"]) - image)[truth]
        figures["moved"] = float(np.sum((healthy - image)[truth] * np.sign(way)) / max(np.abs(way).sum(), 1e-12))
    return figures


def _places(area: np.ndarray, wanted: int) -> list[int]:
    """Numbers of `wanted` slices, those with most area and not next to each other; the middle where there is none."""
    if not area.any():
        return [int(k) for k in np.linspace(0, len(area) - 1, wanted + 2)[1:-1].round()]
    places: list[int] = []
    for apart in (len(area) // 12, 1):
        for k in np.argsort(-area, kind="stable"):
            if len(places) < wanted and area[k] and all(abs(k - p) > apart for p in places):
                places.append(int(k))
    return sorted(places, reverse=True)
