"""What the commands need to know of this task. Light: no torch here."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType

from diffzoo.tasks.task import Entries, Rows, Task

MOST = 0.7  # mean distance of two draws above which they hardly agree


class Segment(Task):
    """Several plausible masks of what an image shows."""

    title = "ambiguous segmentation"
    pipeline_tag = "image-segmentation"
    sample = scan = "nodule"
    truth = "mask"
    own, trivial, chief = ("drawn",), ("empty",), "ci"
    simulation, example, folder = "nodule", "scan.nii.gz", "scan.nii.gz"
    pattern = "cimd"
    training = MappingProxyType(
        {"batch_size": 2, "phantoms": 50, "validation_phantoms": 10, "learning_rate": 0.002, "ema_decay": 0.98}
    )

    def partner_files(self, folder: Path, path: Path, array, affine, seed: int, kind: str = "nodule") -> dict[str, str]:
        """The masks of four readers of a simulated scan, of which a list names all; a folder alone one."""
        from diffzoo.imaging.io.files import write_volume
        from diffzoo.imaging.phantoms.volumes import readers

        stem = path.name.removesuffix(".nii.gz")
        masks = readers(array.shape, affine, seed, kind)
        return {"mask": str(write_volume(folder / f"{stem}_mask.nii.gz", masks[2], affine, dtype="uint8"))}

    def truth_files(self, folder: Path, path: Path, array, affine, seeds: Sequence[int]) -> dict[str, str]:
        """The masks of the readers, beside the scan."""
        return self.partner_files(folder, path, array, affine, seeds[0])

    def doubts(self, case: Mapping, changed: Mapping) -> list[str]:
        """Also draws that mark nothing at all, and draws that hardly agree."""
        reasons = super().doubts(case, changed)
        if not case["acquisition"]["marked"]:
            reasons.append("no draw marks anything: is the middle of the patch on what you look for? set centre")
        elif case["spread"] > MOST:
            reasons.append(f"the draws hardly agree: the mean distance (1 - IoU) of two of them is {case['spread']:.2f}")
        return reasons

    def headline(self, methods: Mapping[str, str], entry: Mapping) -> str:
        """GED of each method."""
        own, *others = (m for m in methods if m in entry["mean"])
        rest = "".join(f", {methods[m]} {{mean[{m}][ged]:.2f}}" for m in others)
        return f"GED (lower is better) {{mean[{own}][ged]:.2f}}{rest} ({{count}} test images)"

    def kept(self, summary: Mapping, cases: Sequence[Mapping]) -> dict:
        """Means, the values of each of few subjects, and GED and CI of each of few cases."""
        from diffzoo.tasks.segment.card import compact

        return compact(summary, cases)

    def tables(self, entries: Entries, recipe: Mapping) -> list[Rows]:
        """A row an evaluation and method, then case by case, then how often each outline was drawn."""
        from diffzoo.tasks.segment.card import segmentation_rows

        return segmentation_rows(entries, recipe)


TASK = Segment()
