"""What the commands need to know of this task. Light: no torch here."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType

from diffzoo.tasks.task import Entries, Plan, Rows, Task

MOST = 0.3  # of the brain, above which a mask is no lesion
LEAST_ML = 100.0  # of a brain
FREE = ("seed", "modality", "slice_batch", "autocast", "threshold")  # parameters on which the stored threshold does not depend
LESION_MM = "10"  # radius of the synthetic lesions that new and fine-tuned bundles are measured on


class Anomaly(Task):
    """Anomalies in brain MR."""

    title = "anomaly detection in brain MR"
    pipeline_tag = "image-segmentation"
    sample = scan = "head"
    truth = "mask"
    own, trivial, chief = ("anomaly_map",), ("brightness",), "auprc"
    simulation, example, folder, anatomy = "brain", "scan_t1.nii.gz", "scan_t1.nii.gz", "volume"
    pattern = "anoddpm"
    training = MappingProxyType({"batch_size": 2, "fields": 64, "learning_rate": 0.002, "ema_decay": 0.98})

    def truth_files(self, folder: Path, path: Path, array, affine, seeds: Sequence[int]) -> dict[str, str]:
        """A bright lesion in the scan, and its mask."""
        from diffzoo.imaging.phantoms.volumes import write_lesion

        return {"mask": str(write_lesion(folder / "lesion.nii.gz", path, array, affine))}

    def plans(self, parameters: Mapping, labelled: bool) -> list[Plan]:
        """By the masks of the list, else by synthetic lesions in scans that count as healthy."""
        if labelled or "lesions" not in parameters:
            return super().plans(parameters, labelled)
        healthy = {"normal": True}
        return [
            Plan("test", f"test list, synthetic lesions of {LESION_MM} mm", (f"lesions={LESION_MM}",), healthy),
            Plan("healthy", "test list as it is, healthy", (), healthy),
        ]

    def scaffold_plan(self, parameters: Mapping) -> tuple[list[str], str]:
        """Synthetic lesions of one size."""
        return [f"lesions={LESION_MM}"], f", synthetic lesions of {LESION_MM} mm"

    def doubts(self, case: Mapping, changed: Mapping) -> list[str]:
        """Also a mask of much of the brain, hardly any brain, and a threshold that was chosen for other settings."""
        reasons, marked, brain = super().doubts(case, changed), case["found_ml"], case["brain_ml"]
        if brain < LEAST_ML:
            reasons.append(f"only {brain:.0f} ml of brain were found in the scan")
        elif marked > MOST * brain:
            reasons.append(f"{marked:.0f} ml were found, {marked / brain:.0%} of the brain: that is no lesion")
        others = [key for key in changed if key not in FREE]
        if others and "threshold" not in changed:
            reasons.append(f"the threshold was chosen for another {', '.join(others)}: set threshold too")
        return reasons

    def headline(self, methods: Mapping[str, str], entry: Mapping) -> str:
        """AUPRC of each method."""
        own, *others = methods
        rest = "".join(f", {methods[m]} {{mean[{m}][auprc]:.2f}}" for m in others)
        return f"AUPRC {{mean[{own}][auprc]:.2f}}{rest} ({{groups[{next(reversed(entry['groups']))}][cases]}} test lesions)"

    def kept(self, summary: Mapping, cases: Sequence[Mapping]) -> dict:
        """Means, and AUPRC by case and by person."""
        from diffzoo.tasks.anomaly.compact import compact

        return compact(summary, cases)

    def tables(self, entries: Entries, recipe: Mapping) -> list[Rows]:
        """A row an evaluation and group of its cases."""
        from diffzoo.tasks.anomaly.card import detection_rows

        return detection_rows(entries, recipe)

    def makers(self, after: bool) -> Mapping[str, object]:
        """The mean head of each contrast, after the trainings."""
        return {"atlas": write_atlas} if after else {}


def write_atlas(parsed, data: Path, target: Path) -> None:
    """Writes the mean head of each contrast of the training list, as an evaluation compares with."""
    from safetensors.torch import save_file

    from diffzoo.imaging.heads import LoadHead
    from diffzoo.tasks.anomaly.atlas import build
    from diffzoo.training.datalist import entries

    save_file(build(entries(str(data), "training"), LoadHead()), target, metadata={"format": "pt"})


TASK = Anomaly()
