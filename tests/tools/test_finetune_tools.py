"""The programs that show fine-tuning: blocks of slices that share none, with gaps, and aims that are read off figures."""

import json
import sys
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from heads_toy import toy_head

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


@pytest.mark.parametrize("turned", [False, True])
def test_blocks_of_a_head_are_told_by_height_in_the_brain_however_it_is_stored(turned, tmp_path):
    affine = np.diag([4.0, 4.0, 4.0, 1.0])
    if turned:  # slices from the top down
        affine[2, 2] = -4.0
    shape = (48, 54, 42)
    affine[:3, 3] = -affine[:3, :3] @ ((np.array(shape) - 1) / 2)
    values, _, brain = toy_head(shape, affine)
    nib.save(nib.Nifti1Image(values, affine), tmp_path / "head_t1.nii.gz")
    lists = finetune_site.blocks(tmp_path / "head_t1.nii.gz", tmp_path)
    used = {part: ~nib.load(entry["mask"]).get_fdata().astype(bool) for part, [entry] in lists.items()}
    heights = affine[2, 2] * np.arange(shape[2]) + affine[2, 3]
    rows = {part: heights[mask.any((0, 1))] for part, mask in used.items()}
    top, bottom = heights[brain.any((0, 1))].max(), heights[brain.any((0, 1))].min()
    assert abs(rows["test"].mean() - (top + bottom) / 2) < 8 and 8 <= np.ptp(rows["test"]) <= 24
    for other in ("training", "validation"):
        assert min(abs(a - b) for a in rows["test"] for b in rows[other]) >= 6
    assert all(mask.all((0, 1)).sum() == mask.any((0, 1)).sum() for mask in used.values())  # whole slices
