"""The scans that verification simulates: small volumes of the kind that a bundle declares, in every orientation."""

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from diffzoo.imaging.phantoms.volumes import NAMED, sample
from diffzoo.zoo.verify.subject import Subject

TURN = np.array([[0.9, -0.3, 0.1], [0.3, 0.95, 0.2], [-0.1, -0.15, 1.0]])
PERMUTED = np.array([[0, 0, 1.0], [0, 1.0, 0], [-1.0, 0, 0]])


@dataclass(frozen=True)
class Geometry:
    """How a volume is stored: its shape and the first three columns of its affine, in mm."""

    shape: tuple[int, int, int]
    axes: np.ndarray

    @property
    def affine(self) -> np.ndarray:
        """The affine [4, 4] that puts the middle of the volume at the origin."""
        middle = self.axes @ (np.array(self.shape) - 1) / 2
        return np.block([[self.axes, -middle[:, None]], [np.zeros((1, 3)), np.ones((1, 1))]])

    @property
    def mirrored(self) -> "Geometry":
        """The same volume with all its axes stored backwards."""
        return Geometry(self.shape, -self.axes)


SLABS = {  # slices of odd size, three of them
    "plain": Geometry((33, 29, 3), np.diag([1.0, 1.0, 1.0])),
    "flipped": Geometry((33, 29, 3), np.diag([-1.0, -1.0, 1.0])),
    "oblique": Geometry((29, 33, 3), TURN * [1.0, 1.0, 2.1]),
    "anisotropic": Geometry((33, 29, 3), np.diag([0.8, 1.2, 5.0])),
    "permuted": Geometry((31, 3, 27), PERMUTED * [1.0, 4.0, 1.0]),
}
HEADS = {  # thick slices of a whole head
    "plain": Geometry((45, 53, 13), np.diag([4.0, 4.0, 12.0])),
    "flipped": Geometry((45, 53, 13), np.diag([-4.0, -4.0, 12.0])),
    "oblique": Geometry((47, 53, 13), TURN * [4.0, 4.0, 12.0]),
    "anisotropic": Geometry((57, 45, 11), np.diag([3.1, 4.7, 14.0])),
    "permuted": Geometry((13, 53, 45), PERMUTED * [12.0, 4.0, 4.0]),
}
PAIRS = {  # crops of an organ
    "plain": Geometry((37, 49, 35), np.diag([1.0, 1.0, 1.0])),
    "flipped": Geometry((37, 49, 35), np.diag([-1.0, -1.0, 1.0])),
    "oblique": Geometry((39, 47, 37), TURN),
    "anisotropic": Geometry((45, 39, 19), np.diag([0.8, 1.2, 2.0])),
    "permuted": Geometry((35, 49, 37), PERMUTED),
}
# by the kind of a sample
GEOMETRIES = {"slab": SLABS, "ct": SLABS, "oct": SLABS, "nodule": SLABS, "pair": PAIRS} | dict.fromkeys(
    ("head", "whole_head", "head_ct", "labels", "pet"), HEADS
)
OTHER = 100  # added to the seed of an image for its partner's


def kind_of(subject: Subject) -> str:
    """The kind of volume that is simulated for a run: the "sample" of metadata.json, else that of the task."""
    return subject.bundle.metadata.get("sample", subject.bundle.task.sample)


def scan_kind(subject: Subject) -> str:
    """The same of a training and of an evaluation."""
    return subject.bundle.metadata.get("sample", subject.bundle.task.scan)


def file_name(subject: Subject, stem: str) -> str:
    """The name of a sample's file, which tells what it shows."""
    return f"{stem}_{NAMED.get(kind_of(subject), 't1')}.nii.gz"


def is_usual(subject: Subject) -> bool:
    """Whether a bundle takes what its task takes, so that the task knows what belongs to a scan."""
    return "sample" not in subject.bundle.metadata


def geometries(subject: Subject) -> dict[str, Geometry]:
    """The geometries in which a bundle's sample is stored, by name."""
    return GEOMETRIES[kind_of(subject)]


def inputs(subject: Subject, path: Path) -> list[Path]:
    """The files of the case whose sample is at `path`, in the order in which a command takes them."""
    return [path.with_name(f"{key}_{path.name}") for key in subject.bundle.task.images[:-1]] + [path]


def case_count(subject: Subject, folder: Path) -> int:
    """How many cases a folder of samples makes, whatever lies beside the scan of each."""
    return len(list(folder.glob(file_name(subject, "*")))) // len(subject.bundle.task.images)


def write_sample(
    path: Path, subject: Subject, geometry: Geometry, seed: int = 0, mirrored: bool = False, kind: str | None = None
) -> np.ndarray:
    """Writes a sample as NIfTI and returns it; mirrored: axes stored backwards, the affine telling so. A pair is two files."""
    import nibabel as nib

    array = sample(kind or kind_of(subject), geometry.shape, geometry.affine, seed)
    for other in inputs(subject, path)[:-1]:
        write_partner(other, subject, seed)
    if mirrored:
        array, geometry = np.ascontiguousarray(array[::-1, ::-1, ::-1]), geometry.mirrored
    path.parent.mkdir(parents=True, exist_ok=True)
    nib.save(nib.Nifti1Image(array, geometry.affine), path)
    return array


def write_partner(path: Path, subject: Subject, seed: int) -> None:
    """Writes the image that goes with a sample: its own organ on the plain grid."""
    import nibabel as nib

    plain = geometries(subject)["plain"]
    path.parent.mkdir(parents=True, exist_ok=True)
    array = sample(kind_of(subject), plain.shape, plain.affine, seed + OTHER)
    nib.save(nib.Nifti1Image(array, plain.affine), path)


def stack(subject: Subject) -> Geometry:
    """The plain geometry, with more slices where it has but three."""
    plain = geometries(subject)["plain"]
    return replace(plain, shape=(*plain.shape[:2], 5)) if geometries(subject) is SLABS else plain


def labelled(folder: Path, subject: Subject) -> dict[str, str]:
    """A case for an evaluation, as a datalist names it: the plain sample, and what its task knows to be true of it."""
    task, plain, path = subject.bundle.task, geometries(subject)["plain"], folder / file_name(subject, "scan")
    array = write_sample(path, subject, plain, kind=scan_kind(subject))
    case = dict(zip(task.images, map(str, inputs(subject, path)), strict=True)) | {"case": path.name.split(".")[0]}
    seeds = [OTHER * k for k in range(len(task.images))]
    if not is_usual(subject):
        return case | task.partner_files(folder, path, array, plain.affine, 0, scan_kind(subject))
    return case | task.truth_files(folder, path, array, plain.affine, seeds)


def scans(subject: Subject, count: int = 2) -> Path:
    """A folder of samples, as a training or an evaluation takes it: the same one for all checks, since reading can be costly."""
    folder = subject.workspace / "scans"
    if folder.is_dir():
        return folder
    plain = geometries(subject)["plain"]
    geometry = Geometry((48, 44, 8), np.diag([1.0, 1.0, 3.0])) if geometries(subject) is SLABS else plain
    for seed in range(count):
        path, task = folder / file_name(subject, f"scan{seed}"), subject.bundle.task
        array = write_sample(path, subject, geometry, seed, kind=scan_kind(subject))
        task.partner_files(folder, path, array, geometry.affine, seed, scan_kind(subject))
    return folder
