"""What the commands need to know of this task. Light: no torch here."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType

from diffzoo.tasks.task import Entries, Plan, Rows, Task

LEAST_RANGE = 30.0  # between the 5 and 95 percentile in the body, in the unit of a target


class Translate(Task):
    """One image of a person from others of the same person."""

    title = "translation between images of one person"
    sample = scan = "head"
    own, trivial = ("mean", "draw"), ("source", "copy")
    simulation, example, folder, anatomy = "contrasts", "t1=scan_t1.nii.gz", "scan_t1.nii.gz", "volume"
    single_scans = False  # a complete person has nothing to be made, and is the best to learn from
    pattern = "umm_csgm"
    training = MappingProxyType({"batch_size": 2, "learning_rate": 0.002, "ema_decay": 0.98})

    def partner_files(self, folder: Path, path: Path, array, affine, seed: int, kind: str = "head") -> dict[str, str]:
        """The other images of a simulated head, beside it: contrasts of a brain, T2 and CT of a head, or what goes with a PET."""
        from diffzoo.imaging.io.files import write_volume
        from diffzoo.imaging.phantoms.volumes import AROUND, CONTRASTS, NAMED, PET, sample

        roles, own = {"head": CONTRASTS, "whole_head": AROUND, "pet": PET}.get(kind, ()), NAMED.get(kind, "t1")
        stem = path.name.removesuffix(".nii.gz").removesuffix(f"_{own}")
        files = {own: str(path)} if roles else {}
        for role in (r for r in roles if r != own):
            other = folder / f"{stem}_{role}.nii.gz"
            files[role] = str(write_volume(other, sample(kind, array.shape, affine, seed, role), affine))
        return files

    def truth_files(self, folder: Path, path: Path, array, affine, seeds: Sequence[int]) -> dict[str, str]:
        """The other contrasts of the head, of which T1 is given."""
        return self.partner_files(folder, path, array, affine, seeds[0]) | {"given": "t1"}

    def plans(self, parameters: Mapping, labelled: bool) -> list[Plan]:
        """Every set of given images of the test list."""
        return [Plan("test", "test list, every set of images given", ("given=all",) if "given" in parameters else ())]

    def scaffold_plan(self, parameters: Mapping) -> tuple[list[str], str]:
        """The others from T1."""
        return (["given=t1"], ", made from T1") if "given" in parameters else ([], "")

    def doubts(self, case: Mapping, changed: Mapping) -> list[str]:
        """Also an image that holds nothing in the body."""
        empty = [role for role, (low, high) in case["levels"].items() if high - low < LEAST_RANGE]
        return super().doubts(case, changed) + [f"the {role} that was made is empty in the body" for role in empty]

    def headline(self, methods: Mapping[str, str], entry: Mapping) -> str:
        """PSNR of each method."""
        own, *others = methods
        rest = "".join(f", {methods[m]} {{mean[{m}][psnr]:.1f}}" for m in others)
        return f"PSNR {{mean[{own}][psnr]:.1f}} dB{rest}"

    def kept(self, summary: Mapping, cases: Sequence[Mapping]) -> dict:
        """Means, and the values of each person."""
        from diffzoo.tasks.translate.card import compact

        return compact(summary, cases)

    def tables(self, entries: Entries, recipe: Mapping) -> list[Rows]:
        """A row an evaluation and method, then by what was given and made."""
        from diffzoo.tasks.translate.card import translation_rows

        return translation_rows(entries, recipe)

    def makers(self, after: bool) -> Mapping[str, object]:
        """Moments of the intensities of the training list, for the linear baselines."""
        return {} if after else {"moments": write_moments}


def write_moments(parsed, data: Path, target: Path) -> None:
    """Writes the moments of the training list's intensities, as the dataset of train.yaml tells them."""
    from diffzoo.tasks.translate.moments import save_moments

    dataset = parsed(["train"], {"device_name": "cpu", "dataset_dir": str(data)}).get_parsed_content("train::dataset")
    save_moments(dataset.moments(), target)


TASK = Translate()
