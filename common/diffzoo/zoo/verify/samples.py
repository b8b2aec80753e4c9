"""The scans that verification simulates: small volumes of the kind that a bundle declares, in every orientation."""

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from diffzoo.imaging.phantoms.volumes import lesion, sample
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


def kind_of(subject: Subject) -> str:
    """The simulator that a bundle declares as valid_range.sample; "ct" for CT and "slab" for all else where it declares none."""
    declared = subject.metadata["valid_range"]
    return declared.get("sample", "ct" if declared["modality"] == "CT" else "slab")


def geometries(subject: Subject) -> dict[str, Geometry]:
    """The geometries in which a bundle's sample is stored, by name."""
    return HEADS if kind_of(subject) == "head" else SLABS


def write_sample(path: Path, subject: Subject, geometry: Geometry, seed: int = 0, mirrored: bool = False) -> np.ndarray:
    """Writes a sample as NIfTI and returns it; mirrored: all axes stored backwards, the affine telling so."""
    import nibabel as nib

    array = sample(kind_of(subject), geometry.shape, geometry.affine, seed)
    if mirrored:
        array, geometry = np.ascontiguousarray(array[::-1, ::-1, ::-1]), geometry.mirrored
    path.parent.mkdir(parents=True, exist_ok=True)
    nib.save(nib.Nifti1Image(array, geometry.affine), path)
    return array


def stack(subject: Subject) -> Geometry:
    """The plain geometry, with more slices where it has but three."""
    plain = geometries(subject)["plain"]
    return plain if kind_of(subject) == "head" else replace(plain, shape=(*plain.shape[:2], 5))


def labelled(folder: Path, subject: Subject) -> dict[str, str]:
    """A case for an evaluation: the plain sample; a head has a bright lesion, which "mask" names, as a datalist does."""
    import nibabel as nib

    plain, path = geometries(subject)["plain"], folder / "scan_t1.nii.gz"
    array, case = write_sample(path, subject, plain), {"image": str(path), "case": "scan_t1"}
    if kind_of(subject) != "head":
        return case
    mask = lesion(plain.shape, plain.affine)
    nib.save(nib.Nifti1Image(np.where(mask, 1.7 * array, array), plain.affine), path)
    nib.save(nib.Nifti1Image(mask.astype(np.uint8), plain.affine), folder / "lesion.nii.gz")
    return case | {"mask": str(folder / "lesion.nii.gz")}


def scans(subject: Subject, folder: Path, count: int = 2) -> Path:
    """A folder of samples, as a training or an evaluation takes it."""
    heads = kind_of(subject) == "head"
    geometry = HEADS["plain"] if heads else Geometry((48, 44, 8), np.diag([1.0, 1.0, 3.0]))
    for seed in range(count):
        write_sample(folder / f"scan{seed}_t1.nii.gz", subject, geometry, seed)
    return folder
