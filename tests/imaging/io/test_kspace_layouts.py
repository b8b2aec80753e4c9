"""K-space as people have it: npz, ISMRMRD acquisitions, and axes in another order, which are refused."""

import h5py
import numpy as np
import pytest
import torch

from diffzoo.imaging.io.kspace import read_kspace, write_kspace
from diffzoo.imaging.io.tree import find_cases

RNG = np.random.default_rng(3)
FULL = (RNG.normal(size=(2, 3, 20, 18)) + 1j * RNG.normal(size=(2, 3, 20, 18))).astype(np.complex64)
LINES = [0, 3, 8, 9, 10, 17]

HEADER = """<ismrmrdHeader xmlns="http://www.ismrm.org/ISMRMRD"><encoding><encodedSpace>
<matrixSize><x>20</x><y>18</y><z>{partitions}</z></matrixSize><fieldOfView_mm><x>200</x><y>216</y><z>5</z></fieldOfView_mm>
</encodedSpace><encodingLimits><kspace_encoding_step_1><minimum>0</minimum><maximum>17</maximum><center>{centre}</center>
</kspace_encoding_step_1></encodingLimits><trajectory>{trajectory}</trajectory></encoding></ismrmrdHeader>"""
INDEX = [(name, "<u2") for name in ("kspace_encode_step_1", "slice", "contrast", "phase", "repetition", "set")]
HEAD = [("flags", "<u8"), ("number_of_samples", "<u2"), ("active_channels", "<u2"), ("center_sample", "<u2"), ("idx", INDEX)]
ROW = np.dtype([("head", np.dtype(HEAD)), ("data", h5py.vlen_dtype(np.float32))])


def acquisitions(path, lines=LINES, trajectory="cartesian", partitions=1, repetition=0, offset=0):
    """An ISMRMRD file of the lines of FULL, its noise line first; the second line of a slice is measured twice."""
    wanted = [(0, 1 << 18, None)] + [(s, 0, n) for s in range(2) for n in (*lines, lines[1])]
    rows = np.zeros(len(wanted), ROW)
    for k, (index, flags, line) in enumerate(wanted):
        values = np.ones((3, 20), np.complex64) if line is None else np.ascontiguousarray(FULL[index, :, :, line])
        head = rows["head"][k : k + 1]
        head["flags"], head["number_of_samples"], head["active_channels"], head["center_sample"] = flags, 20, 3, 10
        head["idx"]["slice"], head["idx"]["kspace_encode_step_1"] = index, (line or 0) + offset
        head["idx"]["repetition"] = repetition if line == lines[-1] else 0
        rows["data"][k] = values.view(np.float32).ravel()
    with h5py.File(path, "w") as file:
        header = HEADER.format(trajectory=trajectory, partitions=partitions, centre=9 + offset)
        file.create_dataset("dataset/xml", data=[header.encode()], dtype=h5py.special_dtype(vlen=bytes))
        file.create_dataset("dataset/data", data=rows)
    return path


def test_ismrmrd_acquisitions_become_kspace(tmp_path):
    for offset in (0, 4):  # counters that do not begin at the first line
        raw = read_kspace(acquisitions(tmp_path / f"raw{offset}.h5", offset=offset))
        mask = np.zeros((20, 18), np.float32)
        mask[:, LINES] = 1
        assert torch.equal(raw.mask, torch.from_numpy(mask))
        assert np.allclose(raw.kspace.numpy(), FULL * mask) and raw.attributes["spacing"] == (5.0, 10.0, 12.0)
    assert read_kspace(acquisitions(tmp_path / "full.h5", list(range(18)))).mask is None


@pytest.mark.parametrize(
    ("change", "word"),
    [({"trajectory": "spiral"}, "spiral"), ({"partitions": 4}, "3D encoding"), ({"repetition": 1}, "images by repetition")],
)
def test_other_acquisitions_are_refused(tmp_path, change, word):
    with pytest.raises(ValueError, match=word):
        read_kspace(acquisitions(tmp_path / "raw.h5", **change))


def test_npz_holds_kspace_and_mask(tmp_path):
    mask = np.zeros(18)
    mask[LINES] = 1
    np.savez(tmp_path / "scan.npz", kspace=FULL, mask=mask)
    raw = read_kspace(tmp_path / "scan.npz")
    assert np.allclose(raw.kspace.numpy(), FULL * mask) and find_cases(tmp_path) == [tmp_path / "scan.npz"]
    np.savez(tmp_path / "other.npz", data=FULL)
    with pytest.raises(ValueError, match=r"no array 'kspace' \(it holds: data\)"):
        read_kspace(tmp_path / "other.npz")
    (tmp_path / "cut.npz").write_bytes((tmp_path / "scan.npz").read_bytes()[:-30])
    with pytest.raises(ValueError, match="truncated"):
        read_kspace(tmp_path / "cut.npz")


@pytest.mark.parametrize(
    ("shape", "word"),
    [
        ((5, 96, 80, 8), "coils"),
        ((1, 96, 80, 24), "coils"),
        ((96, 80, 8), "coils came last"),
        ((2, 20, 96, 12), "coils came last"),
    ],
)
def test_axes_in_another_order_are_refused_with_the_order_that_is_wanted(tmp_path, shape, word):
    with h5py.File(tmp_path / "scan.h5", "w") as file:
        file["kspace"] = np.ones(shape, np.complex64)
    with pytest.raises(ValueError, match=word) as caught:
        read_kspace(tmp_path / "scan.h5")
    assert "[slices, coils, H, W]" in str(caught.value) and str(list(shape)) in str(caught.value)


def test_the_usual_orders_are_read(tmp_path):
    for shape in ((3, 15, 64, 48), (1, 32, 40, 36), (30, 64, 48)):
        write_kspace(tmp_path / "scan.h5", np.ones(shape, np.complex64))
        assert read_kspace(tmp_path / "scan.h5").kspace.shape[-2:] == shape[-2:]
