"""What an anomaly detection leaves: healthy version, map and mask under their names, and the maps of other models."""

import json
from collections.abc import Mapping

import torch
from monai.data import MetaTensor
from monai.transforms import Transform
from torch import nn

from diffzoo.imaging.geometry import plain
from diffzoo.tasks.anomaly.inferer import FindAnomalies


class NameMaps(Transform):
    """Splits "pred" [2, H, W, D] into "healthy" and "anomaly_map" and adds "mask": where the map reaches the threshold.

    A true label that came as "mask" becomes "lesion". "given" is a copy of the image, to travel beside the healthy version.
    """

    def __init__(self, threshold: float) -> None:
        self.threshold = threshold

    def __call__(self, data: Mapping) -> dict:
        image, out = data["image"], dict(data)
        if "mask" in out:
            out["lesion"] = out.pop("mask")
        healthy, score = (part.cpu() for part in plain(data["pred"]).split(1))
        inside = plain(data["brain"]).cpu().bool()
        volumes = {"healthy": healthy, "anomaly_map": score, "mask": (score >= self.threshold) & inside}
        volumes["given"] = plain(image).cpu()
        words = {"modality": data["modality"], "threshold": self.threshold}
        words["words"] = f"{data['modality'].upper()}, threshold {self.threshold:.3g}"
        return out | {k: MetaTensor(v, affine=image.affine) for k, v in volumes.items()} | {"acquisition": json.dumps(words)}


class OnScan(Transform):
    """Makes "healthy" the scan itself plus what was changed, healthy - given, all [1, X, Y, Z] on its grid and in its units.

    "scan" is the stored volume: what is not changed stays exact, the head around the brain too. Below 0 is cut, as a magnitude
    image has none.
    """

    def __call__(self, data: Mapping) -> dict:
        scan, change = data["scan"], plain(data["healthy"]) - plain(data["given"])
        values = plain(scan).to(change)
        healthy = torch.where(change == 0, values, (values + change).clamp(min=0))
        return dict(data) | {"healthy": MetaTensor(healthy, affine=scan.affine)}


class AddMap(Transform):
    """Adds the anomaly map of another network under `key`, and its healthy version under `<key>_healthy`, from the same item."""

    def __init__(self, inferer: FindAnomalies, network: nn.Module, key: str) -> None:
        self.inferer, self.network, self.key = inferer, network, key

    def __call__(self, data: Mapping) -> dict:
        names = ("vector", "slice_index", "brain")
        conditions = {name: torch.as_tensor(plain(data[name])).cpu()[None] for name in names}
        pred = self.inferer(plain(data["image"]).cpu()[None], self.network.cpu(), **conditions)
        healthy, score = (MetaTensor(part, affine=data["image"].affine) for part in pred[0].split(1))
        return dict(data) | {self.key: score, f"{self.key}_healthy": healthy}
