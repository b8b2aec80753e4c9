"""Lesions put into a CT: where they lie, and what is counted of them when they are kept, halved, lost or invented."""

import sys
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "tools"))

import measure_fgdm as measure


@pytest.fixture
def tissue():
    hu = np.full((80, 80, 2), 40.0)
    hu[:, 60:] = -900
    return hu


def test_lesions_lie_in_tissue_at_a_distance(tissue):
    change = measure.planted(tissue, 2.0, 100.0, np.random.default_rng(0)) - tissue
    assert set(np.unique(change)) == {-100.0, 0.0, 100.0} and not change[:, 56:].any()
    for k in range(2):
        bright, dark = (np.argwhere(change[..., k] * sign > 0) for sign in (1, -1))
        assert len(bright) == pytest.approx(np.pi * 9, abs=4) and len(dark) == pytest.approx(np.pi * 9, abs=4)
        assert np.hypot(*(2 * (bright.mean(0) - dark.mean(0)))) > measure.APART


def test_no_lesion_lies_where_there_is_no_room():
    hu = np.full((40, 40, 1), -900.0)
    assert np.array_equal(measure.planted(hu, 2.0, 100.0, np.random.default_rng(0)), hu)


def test_a_ct_is_translated_from_its_simulated_cone_beam_in_hu(tmp_path):
    from diffzoo.zoo.session import Session

    y, x = np.mgrid[-1:1:64j, -1:1:64j]
    hu = np.where((x**2 + y**2 < 0.6)[..., None], 40.0, -1000.0).repeat(2, -1).astype(np.float32)
    bundle = Path(__file__).resolve().parents[2] / "bundles" / "fgdm"
    session = Session(str(bundle), ("inference", "gan", "evaluate"), {"samples": 1}, device="cpu")
    found = measure.translated(session, hu, np.diag([4.0, 4.0, 4.0, 1.0]), tmp_path / "disc_ct.nii.gz")
    assert {key: value.shape for key, value in found.items()} == dict.fromkeys(found, found["made"].shape)
    assert abs(float(found["made"][found["inside"]].mean()) - 40) < 150 and measure.noise_of(found) > 0


@pytest.mark.parametrize(("share", "survived"), [(1.0, 1.0), (0.6, 1.0), (0.4, 0.0), (-0.2, 0.0)])
def test_a_lesion_survives_with_half_its_contrast(tissue, share, survived):
    changed = measure.planted(tissue, 2.0, 100.0, np.random.default_rng(0))
    made = tissue + share * (changed - tissue)
    clean = {"source": tissue, "truth": tissue, "made": tissue}
    found = {"source": changed, "truth": changed, "made": made}
    rows = [one for sign in (1, -1) for one in measure.judged(clean, found, sign * 100.0)]
    told = measure.summary(rows)
    assert told["lesions"] == 4 and told["survived"] == survived and told["invented"] == 0
    assert told["contrast_kept"] == pytest.approx(share) and told["contrast_in_source"] == pytest.approx(1)


def test_what_is_made_without_a_lesion_is_invented(tissue):
    changed = measure.planted(tissue, 2.0, 100.0, np.random.default_rng(0))
    clean = {"source": tissue, "truth": tissue, "made": changed}
    rows = measure.judged(clean, {"source": changed, "truth": changed, "made": changed}, 100.0)
    assert measure.summary(rows)["invented"] == 1.0


def test_noise_is_the_fine_error_in_tissue(tissue):
    rough = np.random.default_rng(0).normal(0, 20, tissue.shape)
    item = {"source": tissue + rough - 100, "truth": tissue, "inside": np.ones(tissue.shape, bool)}
    assert measure.noise_of(item) == pytest.approx(20, rel=0.05)
