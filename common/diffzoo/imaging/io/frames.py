"""One volume of a file that may hold several: a 4D NIfTI with phases, or any scan, folder or array."""

from pathlib import Path

import numpy as np
import torch
from monai.data import MetaTensor
from torch import Tensor

from diffzoo.errors import InputError
from diffzoo.imaging.acquisition import from_array
from diffzoo.imaging.geometry import spacing
from diffzoo.imaging.io.cases import stored_shape
from diffzoo.imaging.io.files import read_volume

Source = str | Path | np.ndarray | Tensor


def frames_of(source: Source) -> tuple[int, ...]:
    """The stored shape of a 4D NIfTI of several volumes; () for anything else."""
    shape = (stored_shape(source) if isinstance(source, str | Path) else None) or ()
    return shape if len(shape) == 4 and shape[3] > 1 else ()


def read_frame(source: Source, phase: int, label: bool = False) -> MetaTensor:
    """A volume [1, X, Y, Z] of a file, folder or array as `read_volume` gives it; of a 4D NIfTI the one of that number.

    Raises InputError where there is no such phase, and as `read_volume`.
    """
    if not isinstance(source, str | Path):
        return from_array(source)
    if not frames_of(source):
        return read_volume(source, allow_constant=label)
    return read_volume(source, allow_constant=label, frame=phase)


def read_label(source: Source, phase: int, image: MetaTensor, named: str) -> MetaTensor:
    """The label [1, X, Y, Z] of an image, on its very grid; InputError for another shape or place."""
    if not isinstance(source, str | Path):
        array = torch.as_tensor(np.asarray(source), dtype=torch.float32)
        label = MetaTensor(array.reshape(1, *array.shape, *[1] * (3 - array.ndim)), affine=image.affine)
    else:
        label = read_frame(source, phase, label=True)
    if label.shape != image.shape:
        raise InputError(f"the label of {named} has shape {list(label.shape[1:])}, not that of the image {list(image.shape[1:])}")
    if not np.allclose(label.affine, image.affine, atol=0.01 * min(spacing(image.affine))):
        raise InputError(f"the affine of the label of {named} is not that of the image: resample the label to the image")
    return label
