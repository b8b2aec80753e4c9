"""The report of a registration: how much the pair agrees before and after, what the field does, and the way there."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from monai.data import MetaTensor
from torch import Tensor

from diffzoo.imaging.animation import animate
from diffzoo.imaging.fields import inverse_onto, jacobian, places, warp_onto, write_affine, write_field
from diffzoo.imaging.geometry import orient, plain, spacing
from diffzoo.imaging.io.files import write_frames, write_volume
from diffzoo.imaging.positions import place
from diffzoo.imaging.preview import Column
from diffzoo.imaging.registration import alignment_field
from diffzoo.metrics.overlap import label_scores
from diffzoo.tasks.case_report import WHOLE, CaseReport
from diffzoo.tasks.register.inferer import correlation
from diffzoo.tasks.register.pairs import unit_levels

SLICES = 4  # of the first case in the preview
GAIN = 2.0  # of the differences
LINES = 8.0  # mm between the lines of the deformed grid
OWN = "network"


class RegistrationReport(CaseReport):
    """`CaseReport` of a registration; `methods`: whose fields are judged where both labels are known, the network's first.

    An item is that of `FieldToFixed`; the field of another method is "field_<method>", its time "seconds_<method>".
    """

    def shape_of(self, item: Mapping):
        """The fixed image as stored."""
        return item["fixed_scan"]

    def write(self, path: Path, key: str, item: Mapping) -> Path:
        """The field in the convention of ITK, the path as a 4D file, labels as whole numbers, images as they are."""
        affine, like = item["fixed_scan"].affine.numpy(), item["fixed_scan"].meta
        if key == "field":
            return write_field(path, plain(item[key])[None], affine, like)
        if key == "path":
            self._animate(path, item)
            return write_frames(path, plain(item[key]).numpy(), affine, like=like)
        return write_volume(path, item[key], affine, like=like, dtype="uint8" if key in WHOLE else "float32")

    def more(self, item: Mapping) -> list[Path]:
        """Beside the field the way back, on the moving image's grid, and the alignment that both hold, as an affine map."""
        if "field" not in self.volumes:
            return []
        fixed, moving, start = item["fixed_scan"], item["moving_scan"], np.asarray(item["alignment"])
        theirs = moving.affine.numpy()
        back, self.miss = inverse_onto(plain(item["field"])[None], fixed.affine.numpy(), theirs, moving.shape[1:], start)
        place = self.folder / f"{item['case']}_field_inverse.nii.gz"
        write_field(place, back, theirs, moving.meta)
        return [place, write_affine(place.with_name(f"{item['case']}_affine.tfm"), start)]

    def facts(self, item: Mapping) -> dict:
        """Agreement on the model's grid, Jacobian of the field on the fixed image's; with labels the overlap of every method."""
        stats, field = self.inferer.stats, plain(item["field"])[None]
        facts = {key: round(stats[key], 5) for key in ("ncc_before", "ncc_after")}
        facts["jacobian"] = _jacobian(field)
        facts["displacement_mm"] = _lengths(item, field)
        facts |= {key: stats[key] for key in ("path_ncc", "inverse_error") if key in stats}
        facts |= {key: item[key] for key in ("subject", "moving_subject", "group") if key in item}
        facts |= {"inverse_field_error_mm": round(self.miss, 4)} if "field" in self.volumes else {}
        facts["deformation_seconds"] = round(stats["seconds"], 4)
        if "fixed_label_scan" in item and "moving_label_scan" in item:
            truth = plain(item["fixed_label_scan"])[None]
            facts["dice_aligned"] = round(
                label_scores(_aligned_label(item), truth, spacing(item["fixed_scan"].affine))["dice"], 4
            )
            there = [method for method in self.methods if method == OWN or f"field_{method}" in item]
            facts["metrics"] = {method: self._judged(item, method) for method in there}
        return facts

    def _judged(self, item: Mapping, method: str) -> dict[str, float]:
        own = method == OWN
        field = plain(item["field" if own else f"field_{method}"])[None]
        affine = item["fixed_scan"].affine.numpy()
        label, truth = item["moving_label_scan"], plain(item["fixed_label_scan"])
        moved = warp_onto(plain(label)[None].float(), label.affine.numpy(), field, affine, nearest=True)
        warped = _warped(item, field)
        return label_scores(moved, truth[None], spacing(affine)) | {
            "ncc": float(correlation(warped, plain(item["fixed_scan"])[None].float())),
            "folding": _jacobian(field)["folding"],
            "seconds": self.inferer.stats["seconds"] if own else item[f"seconds_{method}"],
        }

    def rows_of(self, item: Mapping) -> list[dict]:
        """Slices at even distances through what the labels mark, or through the image; of a later case only one."""
        fixed, affine = item["fixed_scan"], item["fixed_scan"].affine
        start = alignment_field(np.asarray(item["alignment"]), fixed)
        moving = MetaTensor(_warped(item, start)[0], affine=affine)
        volumes = {"fixed": _unit(fixed, fixed), "moving": _unit(moving, item["moving_scan"])}
        volumes["warped"] = _unit(item["warped"], item["moving_scan"])
        labels = {"label": "fixed_label_scan", "label_warped": "label_warped"}
        volumes |= {name: item[key] for name, key in labels.items() if key in item}
        volumes |= {"label_aligned": _aligned_label(item)[0]} if "moving_label_scan" in item else {}
        field = plain(item["field"])[None]
        volumes |= {"lines": _lines(field - start.to(field), fixed), "jacobian": _determinant(field)}
        stacks = {k: plain(orient(MetaTensor(plain(v).float(), affine=affine), "RAS")).numpy()[0] for k, v in volumes.items()}
        marked = np.flatnonzero(stacks.get("label", stacks["fixed"]).any((0, 1)))
        levels = np.linspace(marked.min(), marked.max(), (1 if self.cases[1:] else SLICES) + 2)[1:-1].round().astype(int)
        turned, shape = np.asarray(orient(fixed, "RAS").affine), stacks["fixed"].shape
        shared = {"case": item["case"], "spacing": spacing(turned)[:2]}
        return [
            shared | {"planes": {k: v[..., z] for k, v in stacks.items()}, "place": place(turned, shape, int(z), item["notes"])}
            for z in levels[::-1]
        ]

    def columns_of(self, rows: Sequence[Mapping]) -> list[Column]:
        """Fixed, moving as aligned, warped, what still differs before and after, a grid that is bent, and the Jacobian.

        Labels lie over the images where they are known.
        """
        planes = {key: [row["planes"][key] for row in rows] for key in ("fixed", "moving", "warped", "lines")}
        known = all({"label", "label_warped", "label_aligned"} <= row["planes"].keys() for row in rows)
        drawn = {"fixed": "label", "moving": "label_aligned", "warped": "label_warped"} if known else {}
        overlays = {key: [row["planes"][name] for row in rows] for key, name in drawn.items()}
        before, after = ([x - f for x, f in zip(planes[k], planes["fixed"], strict=True)] for k in ("moving", "warped"))
        names = {int(k): f"label {int(k)}" for plane in overlays.get("fixed", ()) for k in np.unique(plane) if k}
        own = "of own range"
        return [
            Column(
                "fixed", planes["fixed"], overlays=overlays.get("fixed"), unit=own, legend=dict(sorted(names.items())) or None
            ),
            Column("moving, aligned", planes["moving"], overlays=overlays.get("moving"), unit=own),
            Column("moving, warped", planes["warped"], overlays=overlays.get("warped"), unit=own),
            Column("difference before", before, "signed", GAIN),
            Column("difference after", after, "signed", GAIN),
            Column("deformed grid", planes["lines"]),
            Column("Jacobian", [row["planes"]["jacobian"] - 1 for row in rows], "signed", scale=(1.0, 1.0)),
        ]

    def words(self, case: Mapping) -> list[str]:
        """The leading figure of each method, how much the pair agrees, and folding."""
        agreement = f"NCC {case['ncc_before']:.3f} to {case['ncc_after']:.3f}"
        return [*super().words(case), f"{agreement}, folding {case['jacobian']['folding']:.2%}"]

    def caption(self, case: Mapping) -> str:
        """The pair, how well it agrees before and after, folding, and the Dice where labels are known."""
        words = [
            case["acquisition"]["words"],
            f"NCC {case['ncc_before']:.3f} to {case['ncc_after']:.3f}",
            f"folding {100 * case['jacobian']['folding']:.2g} %",
        ]
        if "metrics" in case:
            before = "dice_aligned" in case and "aligned" not in case["metrics"]
            words += [f"Dice aligned {case['dice_aligned']:.2f}"] if before else []
            words += [f"Dice {method.replace('_', ' ')} {v['dice']:.2f}" for method, v in case["metrics"].items()]
        return " | ".join(words)

    def _animate(self, path: Path, item: Mapping) -> None:
        """A moving picture of the path: the middle planes of each frame."""
        affine, frames = item["fixed_scan"].affine, []
        steps = spacing(orient(item["fixed_scan"], "RAS").affine)
        for frame in _unit(item["path"], item["moving_scan"]):
            volume = plain(orient(MetaTensor(frame[None], affine=affine), "RAS")).numpy()[0]
            x, y, z = (n // 2 for n in volume.shape)
            frames.append([volume[:, :, z], volume[:, y], volume[x]])
        animate(path.with_name(path.name.split(".")[0] + ".png"), frames, [steps[:2], steps[::2], steps[1:]])


def _warped(item: Mapping, field: Tensor) -> Tensor:
    """The moving image [1, 1, X, Y, Z] as a field puts it onto the fixed image's grid."""
    moving, affine = item["moving_scan"], item["fixed_scan"].affine.numpy()
    return warp_onto(plain(moving)[None].float(), moving.affine.numpy(), field, affine, fill=float(moving.min()))


def _aligned_label(item: Mapping) -> Tensor:
    """The moving image's label [1, 1, X, Y, Z] as the alignment alone puts it onto the fixed image's grid."""
    label, fixed = item["moving_label_scan"], item["fixed_scan"]
    start = alignment_field(np.asarray(item["alignment"]), fixed)
    return warp_onto(plain(label)[None].float(), label.affine.numpy(), start, fixed.affine.numpy(), nearest=True)


def _lines(bent: Tensor, fixed: MetaTensor) -> Tensor:
    """A grid of lines [1, X, Y, Z] in the plane of the picture, each LINES mm apart, bent by a field in voxels."""
    steps, where = spacing(fixed.affine), places(bent.shape[2:], bent) + bent
    across = int(np.abs(np.asarray(fixed.affine)[2, :3]).argmax())  # the stored axis that the slices are counted along
    shown = torch.zeros_like(bent[:, 0])
    for axis in (k for k in range(3) if k != across):
        period = max(4.0, LINES / steps[axis])
        off = (where[:, axis] + 0.5 * period) % period - 0.5 * period  # voxels from the nearest line
        shown = torch.maximum(shown, (1 - off.abs() / 0.75).clamp(min=0))
    return shown


def _determinant(field: Tensor) -> Tensor:
    """The Jacobian determinant [1, X, Y, Z] of a field; of a slice that in its plane."""
    kept = [k for k, n in enumerate(field.shape[2:]) if n > 1]
    flat = field[:, kept].reshape(1, len(kept), *(field.shape[2 + k] for k in kept))
    return jacobian(flat).reshape(1, *field.shape[2:])


def _unit(volume, scan: MetaTensor) -> Tensor:
    """A volume in [0, 1] of the levels of a scan."""
    low, high = unit_levels(scan)
    return ((plain(volume).float() - low) / (high - low)).clamp(0, 1)


def _jacobian(field: Tensor) -> dict[str, float]:
    """Least, greatest and 1 and 99 percentile of the determinant, and the share of voxels that fold; of a slice in its plane."""
    values = _determinant(field).flatten()
    low, high = torch.quantile(values[:: max(1, len(values) // 1_000_000)], torch.tensor([0.01, 0.99])).tolist()
    figures = {"least": values.min().item(), "p01": low, "p99": high, "greatest": values.max().item()}
    return {key: round(value, 4) for key, value in figures.items()} | {"folding": float((values <= 0).float().mean())}


def _lengths(item: Mapping, field: Tensor) -> dict[str, float]:
    """Mean and greatest length of the displacement beyond the alignment, in mm of the header."""
    own = field - alignment_field(np.asarray(item["alignment"]), item["fixed_scan"]).to(field)
    linear = torch.as_tensor(np.asarray(item["fixed_scan"].affine)[:3, :3]).to(own)
    length = torch.einsum("ij,bj...->bi...", linear, own).norm(dim=1)
    return {"mean": round(length.mean().item(), 3), "greatest": round(length.max().item(), 3)}
