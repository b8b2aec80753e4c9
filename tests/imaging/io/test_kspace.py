"""k-space files: round trip, the mask shapes in use, and every kind of bad file."""

import h5py
import numpy as np
import pytest
import torch

from diffzoo.imaging.io.kspace import read_kspace, write_kspace, write_simulated
from diffzoo.operators.fourier import ifft_centred
from diffzoo.operators.masks import make_mask

HEADER = """<?xml version="1.0"?><ismrmrdHeader xmlns="http://www.ismrm.org/ISMRMRD"><encoding><encodedSpace>
<matrixSize><x>640</x><y>368</y><z>2</z></matrixSize>
<fieldOfView_mm><x>24.0</x><y>12.6</y><z>9.0</z></fieldOfView_mm></encodedSpace></encoding></ismrmrdHeader>"""


def noise(*shape, seed=0):
    return torch.randn(*shape, dtype=torch.complex64, generator=torch.Generator().manual_seed(seed))


@pytest.fixture
def path(tmp_path):
    return tmp_path / "scan.h5"


def raw_file(path, **datasets):
    with h5py.File(path, "w") as file:
        for name, value in datasets.items():
            file[name] = value
    return path


def columns(width=10, keep=(0, 3, 4, 5, 6, 9)):
    mask = np.zeros(width, dtype=np.float32)
    mask[list(keep)] = 1
    return mask


def test_round_trip_with_mask_spacing_and_attributes(path):
    mask = make_mask("poisson2d", (12, 10), 3, 0.2, torch.Generator().manual_seed(0))
    kspace = noise(2, 3, 12, 10) * mask
    write_kspace(path, kspace, mask, spacing=(3, 1.5, 0.5), attributes={"acquisition": "T2", "max": 1.5})
    back = read_kspace(path)
    assert torch.equal(back.kspace, kspace)
    assert torch.equal(back.mask, mask)
    assert back.kspace.dtype == torch.complex64
    assert back.mask.dtype == torch.float32
    assert back.attributes == {"acquisition": "T2", "max": 1.5, "spacing": (3.0, 1.5, 0.5)}
    assert [p.name for p in path.parent.iterdir()] == ["scan.h5"]


def test_single_coil_files_have_three_dimensions(path):
    kspace = noise(2, 12, 10)
    write_kspace(path, kspace.numpy().astype(np.complex128))
    with h5py.File(path) as file:
        assert file["kspace"].shape == (2, 12, 10)
    back = read_kspace(path)
    assert back.mask is None
    assert back.attributes == {}
    assert torch.equal(back.kspace, kspace[:, None])


@pytest.mark.parametrize(
    "shape",
    [(10,), (1, 10), (10, 1), (1, 10, 1), (1, 1, 10), (1, 1, 1, 10, 1), (12, 10), (1, 12, 10), (1, 1, 12, 10), (12, 10, 1)],
)
@pytest.mark.parametrize("dtype", [np.float32, np.uint8, bool])
def test_mask_shapes_in_use(path, shape, dtype):
    expected = np.broadcast_to(columns(), (12, 10))
    mask = (expected if 12 in shape else columns()).astype(dtype).reshape(shape)
    raw_file(path, kspace=noise(2, 3, 12, 10).numpy(), mask=mask)
    back = read_kspace(path)
    assert np.array_equal(back.mask.numpy(), expected)
    # the file held every sample; only the measured ones are given out
    assert torch.equal(back.kspace, noise(2, 3, 12, 10) * back.mask)


def test_full_mask_counts_as_none(path):
    raw_file(path, kspace=noise(1, 2, 12, 10).numpy(), mask=np.ones(10))
    assert read_kspace(path).mask is None


def test_samples_that_are_zero_everywhere_were_not_measured(path):
    kspace = noise(2, 3, 12, 10).numpy() * columns()
    kspace[0, 0, 4, 4] = 0  # zero in one slice and coil only: measured
    raw_file(path, kspace=kspace)
    back = read_kspace(path)
    assert np.array_equal(back.mask.numpy(), np.broadcast_to(columns(), (12, 10)))
    assert np.array_equal(back.kspace.numpy(), kspace)


def test_spacing_from_an_ismrmrd_header(path):
    raw_file(path, kspace=noise(2, 3, 12, 9).numpy(), ismrmrd_header=HEADER)
    assert read_kspace(path).attributes["spacing"] == pytest.approx((4.5, 2.0, 1.4))
    raw_file(path, kspace=noise(2, 3, 12, 9).numpy(), ismrmrd_header="<broken")
    assert "spacing" not in read_kspace(path).attributes


def corrupt(value):
    kspace = noise(2, 3, 12, 10).numpy()
    kspace[1, 2, 3, 4] = value
    return kspace


GOOD = noise(2, 3, 12, 10).numpy()


@pytest.mark.parametrize(
    ("datasets", "message"),
    [
        ({"image": np.ones(3), "mask": columns()}, r"no dataset 'kspace' \(it holds: image, mask\)"),
        ({}, "it holds: nothing"),
        ({"kspace/inside": np.ones(3)}, "no dataset 'kspace'"),
        ({"kspace": GOOD[0, 0]}, r"\[slices, coils, H, W\] or \[slices, H, W\], not of shape \[12, 10\]"),
        ({"kspace": GOOD[None]}, r"not of shape \[1, 2, 3, 12, 10\]"),
        ({"kspace": np.complex64(1)}, r"not of shape \[\]"),
        ({"kspace": np.abs(GOOD)}, "must be complex, not float32"),
        ({"kspace": "text"}, "must be complex"),
        ({"kspace": corrupt(np.nan)}, "NaN or infinite"),
        ({"kspace": corrupt(complex(0, np.inf))}, "NaN or infinite"),
        ({"kspace": GOOD.astype(np.complex128) * 1e200}, "NaN or infinite"),
        ({"kspace": 0 * GOOD}, "all zero"),
        ({"kspace": GOOD[:0]}, "empty"),
        (
            {"kspace": GOOD, "mask": columns(9, (1, 2))},
            r"mask of shape \[9\] does not fit kspace; it must be \[10\] or \[12, 10\]",
        ),
        ({"kspace": GOOD, "mask": np.ones((10, 12))}, "does not fit"),
        ({"kspace": GOOD, "mask": np.ones((2, 12, 10))}, "does not fit"),
        ({"kspace": GOOD, "mask": np.float32(1)}, "does not fit"),
        ({"kspace": GOOD, "mask": 0.5 * columns()}, "0 .not measured. and 1"),
        ({"kspace": GOOD, "mask": np.nan * columns()}, "0 .not measured. and 1"),
        ({"kspace": GOOD, "mask": "0101010101"}, "0 .not measured. and 1"),
        ({"kspace": GOOD, "mask": np.zeros(10)}, "the mask measures nothing"),
        ({"kspace": GOOD * columns(), "mask": 1 - columns()}, "selects no measured sample"),
    ],
)
def test_bad_files_are_refused_in_one_line(path, datasets, message):
    raw_file(path, **datasets)
    with pytest.raises(ValueError, match=message) as caught:
        read_kspace(path)
    assert str(caught.value).startswith(str(path))
    assert "\n" not in str(caught.value)


def test_files_that_are_not_hdf5(path):
    with pytest.raises(ValueError, match="no such file"):
        read_kspace(path)
    with pytest.raises(ValueError, match="no such file"):
        read_kspace(path.parent)
    for content in (b"", b"not an HDF5 file, only text\n" * 50):
        path.write_bytes(content)
        with pytest.raises(ValueError, match="not a readable HDF5 file"):
            read_kspace(path)
    write_kspace(path, GOOD)
    path.write_bytes(path.read_bytes()[:3000])
    with pytest.raises(ValueError, match="truncated"):
        read_kspace(path)


def test_bad_spacing_is_refused(path):
    for spacing in ((1, 1), (1, 0, 1), (1, float("nan"), 1), "thin"):
        with pytest.raises(ValueError, match="three positive numbers"):
            write_kspace(path, GOOD, spacing=spacing)
    assert not path.exists()
    with h5py.File(raw_file(path, kspace=GOOD), "a") as file:
        file.attrs["spacing"] = "thin"
    with pytest.raises(ValueError, match="three positive numbers"):
        read_kspace(path)


def test_a_failed_write_leaves_the_old_file_and_nothing_else(path):
    write_kspace(path, GOOD)
    before = path.read_bytes()
    with pytest.raises(TypeError):
        write_kspace(path, 2 * GOOD, attributes={"bad": object()})
    assert path.read_bytes() == before
    assert list(path.parent.iterdir()) == [path]
    with pytest.raises(ValueError, match="folder"):
        write_kspace(path.parent / "none" / "scan.h5", GOOD)


def test_simulated_file(path):
    image = torch.rand(2, 16, 12, generator=torch.Generator().manual_seed(0))
    mask = make_mask("gaussian1d", (16, 12), 2, 0.3, torch.Generator().manual_seed(0))
    write_simulated(path, image, coils=4, mask=mask, noise_sd=0.01, seed=3, spacing=(2, 1, 1))
    back = read_kspace(path)
    assert back.kspace.shape == (2, 4, 16, 12)
    assert torch.equal(back.mask, mask)
    assert back.attributes["spacing"] == (2.0, 1.0, 1.0)
    assert (back.attributes["coils"], back.attributes["seed"]) == (4, 3)
    first = back.kspace
    write_simulated(path, image.numpy(), coils=4, mask=mask[0].numpy(), noise_sd=0.01, seed=3)
    assert torch.equal(read_kspace(path).kspace, first)
    write_simulated(path, image, coils=4)
    full = read_kspace(path)
    assert full.mask is None
    assert torch.allclose(ifft_centred(full.kspace).abs().square().sum(1).sqrt(), image, atol=1e-5)
    with pytest.raises(ValueError, match="does not fit"):
        write_simulated(path, image, coils=2, mask=np.ones(5))
