"""Simulated volumes and their datalist, for a first training where no data are at hand."""

from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import torch
from scipy import ndimage
from scipy.spatial.transform import Rotation

from diffzoo.diffusion.noise import stream
from diffzoo.errors import InputError
from diffzoo.imaging.io.files import write_json, write_volume
from diffzoo.imaging.phantoms import phantom
from diffzoo.imaging.phantoms.retina import display, retina
from diffzoo.imaging.phantoms.volumes import AROUND, CONTRASTS, PET, parts, readers, sample
from diffzoo.imaging.speckle import log_speckle
from diffzoo.names import nearest

SIZE, SLICES, THICKNESS = 160, 4, 5.0  # pixels of a slice, slices of a volume and their distance in mm
KINDS: Mapping[str, tuple[tuple[str, float], ...]] = {  # phantoms that take turns, and mm of their pixels
    "MR": (("head", 1.5),),
    "CT": (("chest", 2.4), ("abdomen", 2.4), ("head", 1.5)),
    "OCT": (),
    "brain": (),
    "contrasts": (),
    "whole_head": (),
    "head_ct": (),
    "pair": (),
    "pet": (),
    "nodule": (),
}
BRAIN, HEAD = ((76, 92, 22), (2.0, 2.0, 6.0)), ((96, 112, 30), (2.0, 2.0, 6.0))
BODIES = {
    "brain": BRAIN,
    "contrasts": BRAIN,
    "whole_head": HEAD,
    "head_ct": HEAD,
    "pet": HEAD,
    "nodule": ((80, 80, 3), (0.5, 0.5, 2.0)),
    "pair": ((38, 50, 36), (1.0, 1.0, 1.0)),
}
SHOWN = {"brain": "t1", "contrasts": "t1", "whole_head": "t1", "head_ct": "ct", "pet": "pet"}  # contrast that a file's name tells
BESIDE = {"contrasts": tuple(CONTRASTS)[1:], "whole_head": tuple(AROUND)[1:], "pet": PET[1:]}  # further images of the same person
FRAMES, FRAME_MM = (192, 192, 9), (0.012, 0.004, 0.03)  # of an OCT volume: across, into the depth, from frame to frame
LOOKS, POINT = (1, 2, 4), 0.6  # scans that are averaged a frame, which take turns; pixels of the point spread
READERS = 4  # of a nodule
# what it is called in `imaging.phantoms.volumes`, where that differs
SAMPLE = {"brain": "head", "contrasts": "head", "nodule": "lung_nodule"}
CHANGES = {"turn": 0.1, "size": 0.06, "shift": 3.0}  # at most, from one to another: radians, share, mm
# T1-like brightness over the HU of a head: air, fat, skin and muscle, CSF, white matter, grey matter, blood, bone, metal
HU = (-1000.0, -300.0, -100.0, -30.0, 6.0, 29.0, 38.0, 60.0, 250.0, 2000.0)
BRIGHTNESS = (0.0, 10.0, 900.0, 450.0, 200.0, 800.0, 600.0, 500.0, 60.0, 20.0)


def simulate(kind: str, folder: str | Path, cases: int = 12, seed: int = 0) -> Path:
    """Writes volumes `case_01.nii.gz`, ... (160 x 160 x 4) of kind MR (T1-like heads) or CT (HU) and their datalist.json.

    Of the kind brain they are whole brains without skull, T1-like, `case_01_t1.nii.gz`, ... (76 x 92 x 22); of the kind
    contrasts these in T1, T1 after contrast, T2 and FLAIR, `case_01_t1post.nii.gz`, ...; of the kind whole_head heads with skull
    and scalp in T1, T2 and CT (96 x 112 x 30), of head_ct their CT alone; of the kind pair crops around an organ (38 x 50 x 36)
    with labels of its two parts, `case_01_label.nii.gz`, any two of which can be registered; of the kind nodule patches of chest
    CT in HU (80 x 80 x 3) with the masks of four readers, `case_01_reader1.nii.gz`, ...
    Of the kind OCT they are retinas in speckle (192 x 192, 9 frames), `case_01_average.nii.gz` beside each being without; of the
    kind pet heads at few counts, at full counts and in T1 (96 x 112 x 30), `case_01_fullpet.nii.gz`, ...
    About a sixth of the cases (at least one each, two of a pair) is the test and the validation list, the rest the training
    list; each slice, brain or organ has an anatomy of its own. Same seed, same bytes. Returns the path of the list. Raises
    InputError for an unknown kind, too few cases, a negative seed, or a folder that is in use or cannot be written.
    """
    folder = Path(folder)
    if kind not in KINDS:
        raise InputError(f"there is no simulation of {kind!r}; {nearest(kind, KINDS)}")
    least = 2 if kind == "pair" else 1  # in a list
    if not 3 * least <= cases <= 999 or seed < 0:
        allowed = f"{3 * least} to 999 cases, {'two' if least > 1 else 'one'} for each list at least"
        raise InputError(f"cases={cases}, seed={seed}: give {allowed}, and a seed from 0")
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise InputError(f"{folder} is there already: choose another folder, or empty it")
    ending = f"_{SHOWN[kind]}" if kind in SHOWN else ""
    names = [f"case_{k + 1:02}{ending}.nii.gz" for k in range(cases)]
    try:
        for k, name in enumerate(names):
            _write(folder, name, kind, k, seed)
        validation = max(least, round(cases / 6))
        lists = {
            "training": names[2 * validation :],
            "validation": names[:validation],
            "test": names[validation : 2 * validation],
        }
        return write_json(folder / "datalist.json", {part: [_entry(n, kind) for n in listed] for part, listed in lists.items()})
    except OSError as error:
        raise InputError(f"{folder} cannot be written ({error.strerror}): choose another folder") from error


def _write(folder: Path, name: str, kind: str, case: int, seed: int) -> None:
    """The volume of a case, further images of the same person, and what is known of it."""
    volume, affine, label = _maker(kind)(kind, case, seed)
    write_volume(folder / name, volume, affine, dtype="int16")
    for contrast in BESIDE.get(kind, ()):
        write_volume(folder / _shown(name, kind, contrast), _body(kind, case, seed, contrast)[0], affine, dtype="int16")
    for path, mask in zip(_beside(name, kind), () if label is None else label, strict=True):
        write_volume(folder / path, mask, affine, dtype="uint8")


def _maker(kind: str) -> Callable[..., tuple[np.ndarray, np.ndarray, np.ndarray | None]]:
    """What makes the volume of a case, its affine, and what lies beside it."""
    return _frames if kind == "OCT" else _body if kind in BODIES else _volume


def _beside(name: str, kind: str) -> list[str]:
    """The files with what is known of an image: its labels, the masks of its readers, or the mean of many scans."""
    endings = {"pair": ["label"], "OCT": ["average"], "nodule": [f"reader{k + 1}" for k in range(READERS)]}.get(kind, [])
    return [name.replace(".nii.gz", f"_{ending}.nii.gz") for ending in endings]


def _shown(name: str, kind: str, contrast: str) -> str:
    """The file of a head in another contrast."""
    return name.replace(f"_{SHOWN[kind]}.", f"_{contrast}.")


def _entry(name: str, kind: str) -> dict[str, str]:
    others = {contrast: _shown(name, kind, contrast) for contrast in BESIDE.get(kind, ())}
    files = _beside(name, kind)
    known = {"pair": {"label": files[:1]}, "OCT": {"reference": files[:1]}, "nodule": {"mask": files}}.get(kind, {})
    known = {key: paths if key == "mask" else paths[0] for key, paths in known.items()}
    return {"image": name} | known | ({SHOWN[kind]: name, **others} if others else {})


def _volume(kind: str, case: int, seed: int) -> tuple[np.ndarray, np.ndarray, None]:
    """A volume [X, Y, Z], its affine [4, 4] and no label: columns of a phantom run to the patient's left, rows to the back."""
    anatomy, pixel = KINDS[kind][case % len(KINDS[kind])]
    planes = [phantom(anatomy, SIZE, pixel, stream(seed, case, k)).numpy() for k in range(SLICES)]
    planes = [_magnitude(hu) for hu in planes] if kind == "MR" else planes
    affine = np.diag([-pixel, -pixel, THICKNESS, 1.0])
    affine[:2, 3] = pixel * (SIZE - 1) / 2
    return np.stack(planes, -1).transpose(1, 0, 2), affine, None


def _frames(kind: str, case: int, seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A retina in speckle [X, Z, Y] as grey values, its affine, and the same without speckle; depth grows to the back."""
    clean = retina(FRAMES, stream(seed, case)).levels
    generator = torch.Generator().manual_seed(stream(seed, case, 1))
    frames = (FRAMES[2], *FRAMES[:2])
    noise = log_speckle(frames, LOOKS[case % len(LOOKS)], POINT, generator).movedim(0, -1).numpy()
    affine = np.diag([FRAME_MM[0], -FRAME_MM[1], FRAME_MM[2], 1.0])
    affine[:3, 3] = -affine[:3, :3] @ (np.array(FRAMES) - 1) / 2
    return display(clean + noise).round(), affine, display(clean).round()[None]


def _body(kind: str, case: int, seed: int, contrast: str | None = None) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
    """A whole brain or organ [X, Y, Z], its affine [4, 4] and labels [K, X, Y, Z], if any: a little otherwise."""
    shape, voxel = BODIES[kind]
    rng = np.random.default_rng(stream(seed, case))
    affine = np.diag([*voxel, 1.0])
    affine[:3, 3] = -affine[:3, :3] @ (np.array(shape) - 1) / 2
    turn, size, shift = (rng.uniform(-limit, limit, 3) for limit in CHANGES.values())
    change = np.eye(4)
    change[:3, :3] = Rotation.from_rotvec(turn).as_matrix() * (1 + size)
    change[:3, 3] = shift
    own = stream(seed, case, 1)
    label = parts(shape, change @ affine, own)[None] if kind == "pair" else None
    label = readers(shape, change @ affine, own, SAMPLE[kind]) if kind == "nodule" else label
    return sample(SAMPLE.get(kind, kind), shape, change @ affine, own, contrast), affine, label


def _magnitude(hu: np.ndarray) -> np.ndarray:
    """T1-like brightness [H, W] of a head in HU, without its support; a median first, else the noise of CT would drown tissue."""
    hu = ndimage.median_filter(hu, 3)
    regions, _ = ndimage.label(hu > -300)
    head = regions == np.argmax(np.bincount(regions.ravel())[1:]) + 1
    return np.where(head, np.interp(hu, HU, BRIGHTNESS), 0.0)
