"""What the commands need to know of this task. Light: no torch here."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType

from diffzoo.tasks.task import Entries, Rows, Task

FOLDING = 0.01  # share of the voxels


class Register(Task):
    """Deformable registration of a moving image to a fixed one."""

    title = "deformable registration of MR"
    sample = scan = "pair"
    images = ("moving", "image")
    truth = "label"
    own, trivial, chief = ("network",), ("aligned", "identity"), "dice"
    simulation, example, folder, anatomy = "pair", "moving.nii.gz -i fixed.nii.gz", "folder_of_two", "volume"
    single_scans = False
    pattern, without, steps = "diffusemorph", ("cardiac",), 150
    training = MappingProxyType({"validation_batches": 2, "learning_rate": 0.002, "ema_decay": 0.95})

    def truth_files(self, folder: Path, path: Path, array, affine, seeds: Sequence[int]) -> dict[str, str]:
        """The labels of the parts of both organs."""
        from diffzoo.imaging.io.files import write_volume
        from diffzoo.imaging.phantoms.volumes import parts

        files = {}
        for name, seed in zip(("label", "moving_label"), seeds, strict=True):
            labels = parts(array.shape, affine, seed)
            files[name] = str(write_volume(folder / f"{name}.nii.gz", labels, affine, dtype="uint8"))
        return files

    def least_subjects(self, images: Sequence[Path]) -> int:
        """Two where single images make pairs."""
        from diffzoo.imaging.io.frames import frames_of

        return 1 if all(frames_of(image) for image in images) else 2

    def doubts(self, case: Mapping, changed: Mapping) -> list[str]:
        """Also a pair that agrees less than before, and a field that folds."""
        reasons = super().doubts(case, changed)
        if case["ncc_after"] < case["ncc_before"]:
            reasons.append(f"the pair agrees less than before: NCC {case['ncc_before']:.3f} to {case['ncc_after']:.3f}")
        if (folding := case["jacobian"]["folding"]) > FOLDING:
            reasons.append(f"the field folds in {folding:.1%} of the voxels")
        return reasons

    def headline(self, methods: Mapping[str, str], entry: Mapping) -> str:
        """Dice of each method."""
        own, *others = methods
        rest = "".join(f", {methods[m]} {{mean[{m}][dice]:.2f}}" for m in others)
        return f"Dice {{mean[{own}][dice]:.2f}}{rest} ({{pairs}} test pairs)"

    def kept(self, summary: Mapping, cases: Sequence[Mapping]) -> dict:
        """The summary, and of each pair the Dice by method, in the order of `case_methods`."""
        methods = list(summary["mean"])
        dice = {case["case"]: [round(case["metrics"][method]["dice"], 3) for method in methods] for case in cases}
        return {**summary, "case_methods": methods, "cases": dice}

    def tables(self, entries: Entries, recipe: Mapping) -> list[Rows]:
        """A row an evaluation and method, then the paths."""
        from diffzoo.tasks.register.card import registration_rows

        return registration_rows(entries, recipe)


TASK = Register()
