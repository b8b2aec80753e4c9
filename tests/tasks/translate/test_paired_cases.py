"""Simulated heads as cases of an evaluation."""

import numpy as np
import pytest
import torch
from monai.data import MetaTensor
from whole_head import whole_head

from diffzoo.errors import InputError
from diffzoo.imaging.fields import folding
from diffzoo.imaging.io.files import read_volume
from diffzoo.tasks.translate import paired_cases
from diffzoo.tasks.translate.head_ct import LoadHeadMR
from diffzoo.tasks.translate.paired_cases import bend, simulated, simulated_cases


def labels():
    known = whole_head("labels")
    return MetaTensor(known.as_tensor().to(torch.uint8), affine=known.affine)


@pytest.fixture
def scan(nifti, monkeypatch):
    monkeypatch.setattr(paired_cases, "head_labels", lambda scan, *average: (labels(), scan))
    monkeypatch.setattr(paired_cases, "average_head", lambda parts: (parts[0], parts[0]))
    volumes = {kind: whole_head(kind, noise=5) for kind in ("t1", "ct")}
    return {k: str(nifti(v.numpy()[0], v.affine.numpy(), f"{k}.nii.gz")) for k, v in volumes.items()}


def test_a_head_without_ct_is_simulated_and_measured_from_each_contrast(scan, tmp_path):
    entry = {"image": scan["t1"], "t1": scan["t1"], "template": [scan["ct"]] * 4, "case": "a", "subject": "s"}
    cases = simulated_cases([entry], tmp_path / "made", draws=2)
    names = [case["case"] for case in cases]
    assert names == [
        *("a_0_from_t1", "a_0_from_t2", "a_0_from_t1_t2", "a_scan_from_t1"),
        *("a_1_from_t1", "a_1_from_t2", "a_1_from_t1_t2"),
    ]
    assert {case["subject"] for case in cases} == {"s"} and cases[3]["t1"] == scan["t1"] and cases[3]["ct"] == cases[0]["ct"]
    data = LoadHeadMR()(cases[2])
    assert data["known"].tolist() == [1] and data["given_roles"] == "t1+t2" and float(data["truth"].max()) > 0.8


def test_a_head_with_its_own_ct_stays_as_it_is(scan, tmp_path):
    own = {"image": scan["t1"], "t1": scan["t1"], "ct": scan["ct"], "case": "b"}
    cases = simulated_cases([own], tmp_path / "made", draws=3)
    assert [case["case"] for case in cases] == ["b_from_t1"] and cases[0]["ct"] == scan["ct"] and not (tmp_path / "made").exists()
    assert "problem" in simulated_cases([{"image": scan["t1"], "case": "c_t1"}], tmp_path)[0]
    with pytest.raises(InputError, match="draws=0"):
        simulated_cases([own], tmp_path, draws=0)


def test_a_seed_tells_the_draw_and_the_tissues_their_hu():
    one, same, other = (simulated(labels(), seed) for seed in (1, 1, 2))
    assert all(torch.equal(one[k], same[k]) for k in one) and not torch.equal(one["ct"], other["ct"])
    truth = labels().numpy()[0]
    hu = one["ct"].numpy()[0]
    assert np.median(hu[truth == 8]) == pytest.approx(29, abs=8) and (hu[0] == -1000).all()
    assert np.median(hu[truth == 5]) > 150 and np.median(one["t1"].numpy()[0][truth == 3]) > 500


def test_a_bent_head_has_another_shape_and_no_folds():
    field = bend(torch.zeros(1, 1, 50, 50, 50), (4.0, 4.0, 4.0), torch.Generator().manual_seed(0))
    assert float(folding(field)) == 0 and 1 < 4 * float(field.std()) < 4
    outline = [simulated(labels(), 1, bent)["ct"] > -500 for bent in (False, True)]
    assert 0.8 < 2 * float((outline[0] & outline[1]).sum()) / float(outline[0].sum() + outline[1].sum()) < 0.998


def test_the_files_hold_what_was_simulated(scan, tmp_path):
    simulated_cases([{"image": scan["t1"], "template": [scan["ct"]] * 4, "case": "a"}], tmp_path, scanned=False, seed=3)
    ct = read_volume(tmp_path / "a_0_ct.nii.gz")
    assert np.allclose(ct.affine, labels().affine) and float(ct.min()) == -1000
