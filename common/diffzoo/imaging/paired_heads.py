"""Tissues of a whole head from its T1 and an average CT head, from which pairs of MR and CT are simulated.

Nobody's MR and CT lie in the data at hand. The shape of the head, its brain and its dark places are the person's own; that a dark
place is bone or air tells the average CT head of the Clinical toolbox (Rorden et al., NeuroImage 2012), registered to the brain.
"""

from collections.abc import Sequence

import numpy as np
import torch
from monai.data import MetaTensor
from scipy import ndimage

from diffzoo.errors import InputError
from diffzoo.imaging.brain_mask import brain_mask
from diffzoo.imaging.fields import warp_onto
from diffzoo.imaging.geometry import orient, spacing
from diffzoo.imaging.head_mask import ball, closed, depth_mm, head_mask
from diffzoo.imaging.heads import resample
from diffzoo.imaging.registration import alignment_field
from diffzoo.imaging.tissue import template_alignment, tissue_maps, without_bias

CLASSES = ("outside", "air", "muscle", "fat", "cortical", "marrow", "csf", "grey", "white")
OUTSIDE, AIR, MUSCLE, FAT, CORTICAL, MARROW, CSF, GREY, WHITE = range(len(CLASSES))
SHADES = (0.22, 0.58, 0.84)  # of fluid, grey and white matter in a T1: what the priors are registered by
SKIN_MM, TABLE_MM, MENINGES_MM = 1.5, 1.6, 1.5  # thickness of skin, of a table of the skull, of fluid around the brain
COVER_MM = 8.0  # of scalp and skull, that the brain has at the least
VAULT_MM = 4.5  # from the brain, within which the skull is where the average head has one
DARK, DARKER, BRIGHT = 0.45, 0.22, 1.15  # of the brain's median: bone and fluid, air, fat
AIR_HU = -1000.0
BONE_HU = 90.0  # of the blurred average: from here on a dark place is bone
PLACE_MM = 4.0  # distance over which the places of bone and air are unsure
THIN = 1.9  # mm; of thinner slices every second one is taken


def hounsfield(values: np.ndarray) -> np.ndarray:
    """HU of the value scale of the Clinical toolbox, which gives the soft tissues (-100 to 100 HU) eleven times more room."""
    soft = -100 + (values - 900) / 11
    return np.where(values <= 900, values - 1000, np.where(values <= 3100, soft, values - 3000))


def average_head(parts: Sequence[MetaTensor]) -> tuple[MetaTensor, MetaTensor]:
    """(CT in HU [1, *], T1 with grey and white matter [3, *]) of the average head.

    parts: its CT in the toolbox's scale, and the priors of fluid, grey and white matter, 0 to 255, each [1, *] of one grid.
    Raises InputError for another number of them or for several grids.
    """
    if len(parts) != 4 or any(p.shape != parts[0].shape for p in parts):
        raise InputError("the average head has four volumes of one grid: its CT, and priors of fluid, grey and white matter")
    affine = parts[0].affine
    priors = [p.as_tensor()[0].float() / 255 for p in parts[1:]]
    shown = sum(shade * prior for shade, prior in zip(SHADES, priors, strict=True))
    ct = torch.from_numpy(hounsfield(parts[0].as_tensor().numpy())).float()
    return MetaTensor(ct, affine=affine), MetaTensor(torch.stack([shown, *priors[1:]]), affine=affine)


def head_labels(scan: MetaTensor, ct: MetaTensor, template: MetaTensor) -> tuple[MetaTensor, MetaTensor]:
    """Labels uint8 [1, X, Y, Z], of CLASSES, of a T1 [1, *] with its skull; and the same scan on their grid, of RAS axes.

    ct and template: `average_head`. Of slices under 1.9 mm every second one is taken, which halves the time. Raises InputError
    for what shows no head or no brain.
    """
    scan = orient(scan, "RAS")
    if spacing(scan.affine)[2] < THIN:
        affine = scan.affine.numpy().astype(np.float64)
        affine[:, 2] *= 2
        scan = MetaTensor(scan.as_tensor()[..., ::2], affine=affine)
    sizes, values = spacing(scan.affine), scan.as_tensor()[0].numpy().clip(min=0).astype(np.float32)
    brain, head = brain_mask(values, sizes), head_mask(values, sizes)
    even = MetaTensor(torch.from_numpy(without_bias(values, brain, (12, 8)))[None], affine=scan.affine)
    matrix = template_alignment(even, brain, template)
    maps = tissue_maps(even, brain, template, matrix=matrix).as_tensor()[1:4].numpy()
    dense = ct.as_tensor()[None] - AIR_HU
    average = warp_onto(dense, np.asarray(ct.affine), alignment_field(matrix, scan), np.asarray(scan.affine))
    labels = outer_labels(values / np.median(values[brain]), head | brain, brain, average[0, 0].numpy() + AIR_HU, sizes)
    within = brain & (labels != CORTICAL)
    labels[within] = CSF + maps.argmax(0)[within]
    return MetaTensor(torch.from_numpy(labels)[None], affine=scan.affine), scan


def outer_labels(u: np.ndarray, head: np.ndarray, brain: np.ndarray, average: np.ndarray, sizes: Sequence[float]) -> np.ndarray:
    """Labels [X, Y, Z] of a head outside its brain, of the T1 u in units of the brain's median and the average HU at each place.

    Bone is what is dark where the average head has bone, with what this encloses: two tables and the marrow between them; air
    what is darker where it has none. A dark rim of the brain's mask in the bone of the average head is bone, too.
    """
    depth, inner = depth_mm(head, sizes), depth_mm(brain, sizes)
    rim = brain & (u < 0.8 * DARK) & (average > 1.5 * BONE_HU) & (inner < 8)
    core = brain & ~rim & (depth > COVER_MM)
    near = ball(core, MENINGES_MM, sizes)
    outer = head & ~core & (depth > SKIN_MM)
    dark = (u < DARK) & (average > BONE_HU) & outer & (depth > 2.5)
    bone = closed(dark | core, 5, sizes) & (average > 20)
    bone |= ball(core, VAULT_MM, sizes) & (average > 40) & (u < BRIGHT)  # the vault has no holes
    bone &= ~near & outer & (depth > 2.5)
    marrow = bone & (depth_mm(bone, sizes) > TABLE_MM) & (u > DARK)
    air = outer & ~bone & ~near & (u < DARKER) & (average < 25) & (depth > 4)
    wet = outer & ~bone & ~air & ~near & (u < 0.55) & (average < 60) & (depth > 6)
    wet = ndimage.binary_opening(wet, np.ones((3, 3, 1)), iterations=3)  # eyes; what is thinner is muscle
    labels = np.where(head, MUSCLE, OUTSIDE).astype(np.uint8)
    labels[outer & (u > BRIGHT)] = FAT
    for label, where in ((CSF, wet | (near & head & ~core)), (CORTICAL, bone), (MARROW, marrow), (AIR, air)):
        labels[where] = label
    labels[core] = GREY
    return labels


def soft_maps(labels: MetaTensor, grid: np.ndarray, shape: Sequence[int]) -> np.ndarray:
    """Shares [9, *shape] of CLASSES on another grid (affine [4, 4]), of labels [1, X, Y, Z]; their sum is 1."""
    array, affine = labels.as_tensor()[0].numpy(), np.asarray(labels.affine)
    maps = np.stack([resample(array == k, affine, grid, shape) for k in range(1, len(CLASSES))])
    return np.concatenate([(1 - maps.sum(0, keepdims=True)).clip(min=0), maps])


def air_share(maps: np.ndarray, sizes: Sequence[float]) -> np.ndarray:
    """How sure it is [H, W, D] that a dark place is air and not bone: the share of air among the dark within about 4 mm.

    maps [9, H, W, D]; 0 far from any air, 1 far from any bone. MR shows both dark, so a simulation may choose near 0.5.
    """
    blur = PLACE_MM / np.asarray(sizes)
    air, bone = (ndimage.gaussian_filter(maps[k].astype(np.float32), blur) for k in (AIR, CORTICAL))
    return air / (air + bone).clip(min=1e-4)
