"""The programs that show fine-tuning: blocks of slices that share none, with gaps, and aims that are read off figures."""

import json
import sys
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "tools"))
import finetune_demo
import finetune_site


def test_blocks_of_the_spine_share_no_slice_and_leave_gaps(tmp_path):
    room = tmp_path / "data" / "spine_mr"
    room.mkdir(parents=True)
    volume = np.zeros((20, 24, 55), np.float32) + np.arange(1, 56)
    volume[:10] += 0.25  # no slice is even
    nib.save(nib.Nifti1Image(volume, np.eye(4)), room / "sct_errsm30_t2w.nii.gz")
    (tmp_path / "work").mkdir()
    lists = json.loads(finetune_demo.cut(tmp_path / "data", ["t2w"], tmp_path / "work").read_text())
    slices = {
        part: sorted(
            int(np.floor(value))
            for entry in entries
            for value in nib.load(tmp_path / "work" / entry["image"]).get_fdata().min((0, 1))
        )
        for part, entries in lists.items()
    }
    assert len(slices["training"]) > 25 and len(slices["validation"]) >= 3 and len(slices["test"]) >= 8
    for other in ("training", "validation"):
        assert min(abs(a - b) for a in slices["test"] for b in slices[other]) > 4
    assert min(abs(a - b) for a in slices["training"] for b in slices["validation"]) > 3


def test_aims_are_read_off_the_figures():
    found = {
        "parent": {"brain": 34.6},
        "full": {"spine_before": 26.5, "spine": 27.6, "brain": 34.2, "trains": 1.0},
        "lora": {"spine_before": 26.5, "spine": 27.4, "brain": 34.5, "trains": 0.09},
    }
    assert finetune_demo.aims(found) == {
        "gain on the spine": True,
        "loss on brains": False,
        "LoRA beside full": True,
        "LoRA's parameters": True,
    }
    assert finetune_demo.aims({"parent": {"brain": 1.0}}) == {}


def test_nobody_of_the_clinic_is_in_two_lists_and_the_test_split_is_only_tested_on():
    lists = finetune_site.listed(Path("data"))
    people = {part: {entry["subject"] for entry in entries} for part, entries in lists.items()}
    assert not people["training"] & (people["validation"] | people["test"]) and not people["validation"] & people["test"]
    assert not people["judged"] & (people["training"] | people["validation"] | people["replay"])
    assert people["judged"] > people["test"]
    assert all(entry.get("normal") or entry.get("mask") for entry in lists["judged"])


def test_false_alarms_and_what_is_lost_are_read_off_an_evaluation():
    cases = [{"case": "a", "fpr": 0.02}, {"case": "b", "fpr": 0.04}]
    cases += [{"case": "c", "fpr": 0.5, "metrics": {"anomaly_map": {"auprc": value}}} for value in (0.1, 0.3)]
    told = finetune_site.figures(cases)
    assert told[finetune_site.ALARMS] == pytest.approx(0.03) and told[finetune_site.FOUND] == pytest.approx(0.2)
    fewer = told | {finetune_site.ALARMS: 0.01}
    assert finetune_site.aims({"before": told, "after": fewer}) == {"fewer false alarms at the site": True}
    assert finetune_site.aims({"before": fewer, "after": told}) == {"fewer false alarms at the site": False}
