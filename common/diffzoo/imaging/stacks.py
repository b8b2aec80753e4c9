"""A volume as stacks of 2D slices."""

from torch import Tensor

from diffzoo.imaging.geometry import spacing, to_slices
from diffzoo.imaging.io.files import read_volume


def read_stacks(path: str, isotropy: float = 1.2) -> list[Tensor]:
    """Slices of a volume as stacks [D, H, W]: one stack, or three when its voxels are isotropic to within a factor."""
    image = to_slices(read_volume(path))
    volume = image.as_tensor()[0]
    if min(volume.shape) < 32 or max(spacing(image.affine)) > isotropy * min(spacing(image.affine)):
        return [volume.movedim(-1, 0).contiguous()]
    return [volume.movedim(axis, 0).contiguous() for axis in (2, 1, 0)]
