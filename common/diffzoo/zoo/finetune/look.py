"""The first look at the data of a fine-tuning: what every scan is, what is out of the bundle's range, what cannot be read."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np

from diffzoo.errors import InputError
from diffzoo.imaging.geometry import check_spacing, spacing, to_slices
from diffzoo.imaging.io.files import read_volume, write_json
from diffzoo.imaging.io.frames import frames_of, read_frame, read_label
from diffzoo.imaging.io.naming import contrast_of, modality_of
from diffzoo.zoo.finetune.find import Scan

AIR = -500.0  # HU: half of a magnitude's voxels are never below that
SIDE = 128  # pixels of a picture of the contact sheet


@dataclass(frozen=True)
class Seen:
    """What was seen of one scan; error is why it cannot be used, notes are what is out of the bundle's range."""

    scan: Scan
    modality: str | None = None
    contrast: str | None = None
    shape: tuple[int, ...] = ()
    spacing_mm: tuple[float, ...] = ()
    levels: tuple[float, ...] = ()
    notes: tuple[str, ...] = ()
    error: str | None = None
    has: tuple[str, ...] = ()
    picture: np.ndarray | None = field(default=None, repr=False, compare=False)
    outline: np.ndarray | None = field(default=None, repr=False, compare=False)

    @property
    def record(self) -> dict:
        """The line of look.json."""
        facts = {k: v for k, v in asdict(self).items() if k not in ("scan", "picture", "outline") and v not in (None, ())}
        return {"scan": self.scan.name, "subject": self.scan.subject, "has": [], **facts}


def look_at(scan: Scan, valid: Mapping, load: Callable[[dict], object] | None = None, truth: str | None = None) -> Seen:
    """Reads a scan and what goes with it, its `truth`; valid: the bundle's valid_range; load: its own reader, or None."""
    try:
        stored = read_frame(scan.image, 0) if frames_of(scan.image) else read_volume(scan.image)
        image = to_slices(stored)
        volume = image.as_tensor()[0].numpy()
        outline = _outline(scan, truth, stored)
        item = load(scan.entry | {"case": scan.name}) if load is not None else {}
    except InputError as error:
        return Seen(scan, error=str(error))
    sizes, levels = spacing(stored.affine), np.percentile(volume[:: max(1, volume.shape[0] // 64)], (0.5, 50, 99.5))
    label = f"{scan.name} {stored.meta.get('series_description', '')}"
    modality = str(stored.meta.get("modality", "") or "") or modality_of(label)
    modality = modality or ("CT" if levels[0] < AIR else None)
    notes = [check_spacing(sizes, *valid["spacing_mm"])] if valid.get("spacing_mm") else []
    if valid.get("modality") == "CT" and levels[0] > AIR:
        notes.append(f"no air (below {AIR:g}) in it: CT must be in HU")
    if min(image.shape[1:3]) < valid.get("min_size", 1):
        notes.append(f"slices of {image.shape[1]} x {image.shape[2]} pixels, under {valid['min_size']}")
    notes += str(item.get("notes", "")).splitlines() if isinstance(item, Mapping) else []
    middle = volume.shape[-1] // 2
    return Seen(
        scan,
        modality,
        contrast_of(label),
        tuple(int(n) for n in stored.shape[1:]),
        tuple(round(size, 3) for size in sizes),
        tuple(float(f"{level:.4g}") for level in levels),
        tuple(dict.fromkeys(note for note in notes if note)),
        None,
        (truth,) if truth in scan.more else (),
        _picture(volume[..., middle], spacing(image.affine)[:2], levels),
        None if outline is None else _picture(outline[..., middle], spacing(image.affine)[:2]),
    )


def _outline(scan: Scan, truth: str | None, stored) -> np.ndarray | None:
    """What goes with a scan, in the order of its slices, of several files the union; InputError where it is not on its grid."""
    paths = scan.more.get(truth)
    if not paths:
        return None
    paths = paths if isinstance(paths, list) else [paths]
    labels = [to_slices(read_label(path, 0, stored, scan.name)).as_tensor()[0].numpy() for path in paths]
    return np.max(labels, axis=0)


def _picture(plane: np.ndarray, sizes: Sequence[float], levels: Sequence[float] | None = None) -> np.ndarray:
    """A slice at most SIDE pixels wide and high, its pixels square; greys from 0 to 1, or labels as they are."""
    from scipy import ndimage

    extent = np.array(plane.shape) * sizes
    scale = SIDE / extent.max() * np.array(sizes)
    small = ndimage.zoom(plane.astype(np.float32), scale, order=0 if levels is None else 1, grid_mode=True, mode="nearest")
    return small if levels is None else np.clip((small - levels[0]) / max(levels[2] - levels[0], 1e-6), 0, 1)


@dataclass(frozen=True)
class Look:
    """The scans that were looked at, what the bundle takes, and the key of what goes with a scan, where it takes one."""

    seen: Sequence[Seen]
    valid: Mapping
    truth: str | None = None

    @property
    def good(self) -> list[Seen]:
        """Scans that can be used."""
        return [item for item in self.seen if item.error is None]

    def lines(self) -> list[str]:
        """What a person should know: counts, sizes, intensities, what is out of range, and a line a scan that is left out."""
        good, bad = self.good, [item for item in self.seen if item.error]
        subjects = len({item.scan.subject for item in good})
        kinds = Counter(item.contrast or item.modality or "no contrast in its name" for item in good)
        lines = [f"{len(good)} scans of {subjects} subjects: " + ", ".join(f"{n} {kind}" for kind, n in kinds.most_common())]
        if good:
            lines.append(
                f"sizes {_range_of([item.shape for item in good])} voxels of {_range_of([item.spacing_mm for item in good])} mm"
            )
            low, high = (f(item.levels[k] for item in good) for f, k in ((min, 0), (max, 2)))
            lines.append(f"intensities {low:g} to {high:g} (0.5 and 99.5 percentile, least and greatest)")
        if self.truth:
            lines.append(f"{sum(self.truth in item.scan.more for item in good)} of them have a {self.truth}")
        lines += _grouped("out of range", [(note, item.scan.name) for item in good for note in item.notes])
        return lines + [f"left out: {item.scan.name}: {item.error}" for item in bad]

    def refuse(self) -> None:
        """Raises InputError, one line, for data that cannot train the bundle whatever the options."""
        good, bad = self.good, [item for item in self.seen if item.error]
        if not good:
            raise InputError(f"none of {len(bad)} scans can be used, the first: {bad[0].error}")
        if bad and len(good) == 1:
            raise InputError(f"only 1 of {len(self.seen)} scans can be used; the first of the others: {bad[0].error}")
        wanted, partners = self.valid.get("modality"), self.valid.get("partners", ())
        if others := [item for item in good if item.modality not in (None, wanted, *partners)]:
            kinds = "mixed modalities" if len(others) < len(good) else "another modality"
            first = f"{others[0].scan.name} is {others[0].modality}"
            raise InputError(f"{kinds}: {len(others)} of {len(good)} scans are not {wanted} ({first}): leave them out")
        lacking = [item for item in good if self.truth and self.truth not in item.scan.more and not item.scan.more.get("normal")]
        if lacking and len(lacking) < len(good):
            extra = ', or give "normal": true in a datalist where there is no lesion' if self.truth == "mask" else ""
            what = f"missing {self.truth}s: {len(lacking)} of {len(good)} scans have none, first {lacking[0].scan.name}"
            raise InputError(f"{what}: add the file beside it as NAME_{self.truth}.nii.gz{extra}")

    def write(self, folder: str | Path, caption: str) -> list[Path]:
        """Writes look.json and contact_sheet.png; both name scans, so they stay outside the bundle."""
        from diffzoo.zoo.finetune.sheet import contact_sheet

        content = {"summary": self.lines(), "valid_range": dict(self.valid), "scans": [item.record for item in self.seen]}
        written = [write_json(Path(folder) / "look.json", content)]
        pictures = [item for item in self.good if item.picture is not None]
        return written + ([contact_sheet(Path(folder) / "contact_sheet.png", pictures, caption)] if pictures else [])


def _grouped(head: str, pairs: Sequence[tuple[str, str]]) -> list[str]:
    """A line for each text of (text, name), with the first name and the number of the others."""
    names: dict[str, list[str]] = {}
    for text, name in pairs:
        names.setdefault(text, []).append(name)
    return [f"{head}: {n[0]}{f' and {len(n) - 1} more' if n[1:] else ''}: {text}" for text, n in names.items()]


def _range_of(values: Sequence[Sequence[float]]) -> str:
    """One triple, or the least and the greatest of each axis."""
    low, high = np.min(values, axis=0), np.max(values, axis=0)
    return " x ".join(f"{a:g}" if a == b else f"{a:g}-{b:g}" for a, b in zip(low, high, strict=True))
