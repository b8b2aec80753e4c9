"""What an anomaly detection leaves: healthy version, map and mask under their names, and the maps of other models."""

import json
from collections.abc import Mapping

import torch
from monai.data import MetaTensor
from monai.transforms import Transform
from torch import nn

from diffzoo.tasks.anomaly import FindAnomalies
from diffzoo.tasks.measured import plain


class NameMaps(Transform):
    """Splits "pred" [2, H, W, D] into "healthy" and "anomaly_map" and adds "mask": where the map reaches the threshold.

    A true label that came as "mask" becomes "lesion". "change" = healthy - image, in the unit of the image.
    """

    def __init__(self, threshold: float) -> None:
        self.threshold = threshold

    def __call__(self, data: Mapping) -> dict:
        image, out = data["image"], dict(data)
        if "mask" in out:
            out["lesion"] = out.pop("mask")
        healthy, score = (part.cpu() for part in plain(data["pred"]).split(1))
        inside = plain(data["brain"]).cpu().bool()
        made = {"healthy": healthy, "anomaly_map": score, "mask": (score >= self.threshold) & inside}
        made["change"] = healthy - plain(image).cpu()
        words = {"modality": data["modality"], "threshold": self.threshold}
        words["words"] = f"{data['modality'].upper()}, threshold {self.threshold:.3g}"
        return out | {k: MetaTensor(v, affine=image.affine) for k, v in made.items()} | {"acquisition": json.dumps(words)}


class OnScan(Transform):
    """Adds "healthy": the scan with "change" [1, X, Y, Z] (on its grid, in its unit) added; what is not changed is exact.

    "scan" [1, X, Y, Z] is the stored volume. Below 0 is cut, as a magnitude image has none.
    """

    def __call__(self, data: Mapping) -> dict:
        scan, change = data["scan"], plain(data["change"])
        values = plain(scan).to(change)
        healthy = torch.where(change == 0, values, (values + change).clamp(min=0))
        return dict(data) | {"healthy": MetaTensor(healthy, affine=scan.affine)}


class AddMap(Transform):
    """Adds the anomaly map of another network under `key`, from the same prepared item."""

    def __init__(self, inferer: FindAnomalies, network: nn.Module, key: str) -> None:
        self.inferer, self.network, self.key = inferer, network, key

    def __call__(self, data: Mapping) -> dict:
        names = ("vector", "slice_index", "brain")
        conditions = {name: torch.as_tensor(data[name]).cpu()[None] for name in names}
        pred = self.inferer(plain(data["image"]).cpu()[None], self.network.cpu(), **conditions)
        return dict(data) | {self.key: MetaTensor(pred[0, 1:], affine=data["image"].affine)}
