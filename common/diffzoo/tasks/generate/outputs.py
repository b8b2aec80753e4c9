"""What a generator of images leaves: image and labels under their names, and what an evaluation sets beside them."""

import json
from collections.abc import Mapping, Sequence

import torch
from monai.data import MetaTensor
from monai.transforms import Transform
from torch import Tensor

from diffzoo.imaging.geometry import plain
from diffzoo.networks.composite import LatentDiffusion

DRAWN = "a map that was drawn"


class NamePainted(Transform):
    """Splits "pred" [1 + K, H, W, D] into "painted" and "maps", of which "label" [1, H, W, D] is the likeliest.

    "shown" is "painted", to stay on this grid. A label volume that was given is not written again: of such a case there is no
    "label". Adds "acquisition", what it was made from. `names` are those of the labels.
    """

    def __init__(self, modality: str, style: str | None, names: Sequence[str]) -> None:
        self.modality, self.style, self.names = modality, style, tuple(names)

    def __call__(self, data: Mapping) -> dict:
        affine, stack = data["image"].affine, plain(data["pred"]).cpu()
        given = data.get("given", DRAWN)
        volumes = {"painted": stack[:1], "shown": stack[:1], "maps": stack[1:]}
        volumes |= {} if given == "labels" else {"label": stack[1:].argmax(0, keepdim=True)}
        style = {None: self.modality.upper(), "own": "its own contrast"}.get(self.style, "the style of another scan")
        words = {"modality": self.modality, "given": given, "words": f"on {given}, in {style}"}
        if data["asked"].numel():
            values = [float(value) for value in data["asked"]]
            copied = ("lesion", "position", *self.names[1:])
            words["asked"] = {name: value for name, value in zip(copied, values, strict=True) if value == value}
        known = {key: value for key, value in data.items() if value is not None}  # MONAI adds a label of None
        return known | {k: MetaTensor(v, affine=affine) for k, v in volumes.items()} | {"acquisition": json.dumps(words)}


class AddRoundTrip(Transform):
    """Adds "round_trip" [K, H, W, D]: the maps by way of the mean of their latents."""

    def __init__(self, network: LatentDiffusion, batch: int = 32) -> None:
        self.network, self.batch = network, batch

    @torch.no_grad()
    def __call__(self, data: Mapping) -> dict:
        maps, autoencoder = plain(data["maps"]).movedim(-1, 0), self.network.autoencoder.eval()
        device = self.network.scale.device
        parts = [maps[k : k + self.batch].to(device) for k in range(0, len(maps), self.batch)]
        back = torch.cat([autoencoder.decode(autoencoder.encode(part)[0], maps.shape[2:]).cpu() for part in parts])
        return dict(data) | {"round_trip": MetaTensor(back.movedim(0, -1), affine=data["maps"].affine)}


class AddFlat(Transform):
    """Adds "flat" [1, H, W, D], the trivial way to paint: each label in its mean shade of the real image, where there is one."""

    def __call__(self, data: Mapping) -> dict:
        real, maps = plain(data["real"]), plain(data["maps"])
        if not real.numel():
            return dict(data)
        return dict(data) | {"flat": MetaTensor(flat(real, maps), affine=data["maps"].affine)}


def flat(image: Tensor, maps: Tensor) -> Tensor:
    """The sum of maps [K, *S] times the shades that come nearest to an image [1, *S] by least squares; background 0."""
    rows = maps[1:].flatten(1).double()
    mixed = rows @ rows.T + 1e-6 * rows.shape[1] * torch.eye(len(rows), dtype=torch.float64)
    shades = torch.linalg.solve(mixed, rows @ image.flatten().double())
    return (shades @ rows).reshape(image.shape).to(image.dtype).clamp(min=0)
