"""The mean healthy head: a mean in the brain's own box, without lesions, by contrast."""

import nibabel as nib
import numpy as np
import pytest
import torch
from heads_toy import toy_head

from diffzoo.errors import InputError
from diffzoo.imaging.heads import LoadHead
from diffzoo.tasks.anomaly.atlas import SHAPE, build, sample

LOAD = LoadHead(4.0, field=(48, 56))


@pytest.fixture(scope="module")
def scans(tmp_path_factory):
    folder = tmp_path_factory.mktemp("heads")
    made = []
    for seed, modality in enumerate(("t1", "t1", "flair")):
        volume, affine, _ = toy_head(modality=modality, stripped=True, seed=seed)
        nib.save(nib.Nifti1Image(volume, affine), folder / f"p{seed}_{modality}.nii")
        made.append({"image": str(folder / f"p{seed}_{modality}.nii")})
    return made


def test_heads_that_are_alike_have_their_mean_everywhere(scans):
    atlas = build(scans, LOAD)
    assert sorted(atlas) == ["flair", "t1"] and atlas["t1"].shape == SHAPE and atlas["t1"].dtype == torch.float16
    data = LOAD(dict(scans[1]))
    brain, image = (data[k].as_tensor()[0].numpy() for k in ("brain", "image"))
    mean = sample(atlas, "t1", brain)
    assert mean.shape == brain.shape and not mean[~brain].any()
    assert np.abs(mean - image)[brain].mean() < 0.06
    other = sample(atlas, "flair", brain)
    assert np.abs(other - image)[brain].mean() > 3 * np.abs(mean - image)[brain].mean()
    with pytest.raises(InputError, match="not for t2"):
        sample(atlas, "t2", brain)
    with pytest.raises(InputError, match="empty"):
        sample(atlas, "t1", np.zeros_like(brain))


def test_a_simulated_contrast_and_a_lesion(scans, tmp_path):
    volume, affine, _ = toy_head(stripped=True)
    label = np.zeros(volume.shape, np.uint8)
    label[20:26, 24:30, 18:24] = 1
    hurt = np.where(label > 0, 3 * volume.max(), volume).astype(np.float32)
    nib.save(nib.Nifti1Image(hurt, affine), tmp_path / "h_t1.nii")
    nib.save(nib.Nifti1Image(label, affine), tmp_path / "label.nii")
    clean = build(scans[:1], LOAD)["t1"].float()
    pair = [scans[0], {"image": str(tmp_path / "h_t1.nii")}]
    spoilt = build(pair, LOAD)["t1"].float()
    masked = build([pair[0], pair[1] | {"mask": str(tmp_path / "label.nii")}], LOAD)["t1"].float()
    ratio = (masked - clean).clamp(min=0).sum() / (spoilt - clean).clamp(min=0).sum()
    assert ratio < 0.6
    shown = build([scans[0] | {"shown_as": "flair"}], LOAD)
    assert list(shown) == ["flair"] and not torch.allclose(shown["flair"].float(), clean, atol=0.1)


def test_a_weight_counts(scans):
    one, other = build(scans[:1], LOAD)["t1"].float(), build(scans[1:2], LOAD)["t1"].float()
    both = build([scans[0] | {"weight": 3.0}, scans[1]], LOAD)["t1"].float()
    inside = (one > 0.3) & (other > 0.3)
    assert torch.allclose(both[inside], 0.75 * one[inside] + 0.25 * other[inside], atol=0.02)
