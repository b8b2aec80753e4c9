"""Anomaly detection by edit: shapes, streams of noise, the mean of runs, the score, and what is left under which name."""

import json
from functools import partial

import numpy as np
import pytest
import torch
from monai.data import MetaTensor
from slices_toy import SIGMA_DATA, Median, Smooth

from diffzoo.diffusion.denoiser import Denoiser
from diffzoo.diffusion.deterministic import euler
from diffzoo.diffusion.precond import edm
from diffzoo.diffusion.simplex import Simplex
from diffzoo.diffusion.stochastic import ancestral
from diffzoo.tasks.anomaly.inferer import FindAnomalies
from diffzoo.tasks.anomaly.joint import FindJointly, JointEdit, at_levels
from diffzoo.tasks.anomaly.maps import AddMap, NameMaps, OnScan
from diffzoo.tasks.anomaly.scores import residual
from diffzoo.tasks.edit import Edit, levels

NOISE = partial(Simplex, unit_variance=True)


def finder(top=0.3, steps=4, sampler=ancestral, score=residual, **options):
    return FindAnomalies(edm(SIGMA_DATA), Edit(sampler, levels(top, steps), NOISE), score, **options)


@pytest.fixture
def case():
    """Six slices of a flat brain with a bright spot in the fourth."""
    image, brain = torch.zeros(1, 1, 20, 24, 6), torch.zeros(1, 1, 20, 24, 6, dtype=torch.bool)
    brain[:, :, 3:17, 3:21] = True
    image[brain] = 0.7
    image[:, :, 9:11, 10:12, 3] = 1.3
    facts = torch.cat([torch.tensor([[1.0, 0, 0]]).expand(6, -1), torch.arange(6.0)[:, None]], 1)
    return {"inputs": image, "vector": facts[None], "slice_index": torch.arange(6)[None], "brain": brain}


def test_no_noise_gives_the_input_and_an_empty_map(case):
    pred = finder(top=0)(network=Median(), **case)
    assert pred.shape == (1, 2, 20, 24, 6)
    assert torch.equal(pred[:, :1], case["inputs"]) and not pred[:, 1:].any()


def test_a_spot_is_taken_out_and_found(case):
    pred = finder(top=0.1, steps=3, sampler=euler, average=4)(network=Median(), **case)
    score = pred[0, 1]
    assert score[9:11, 10:12, 3].mean() > 4 * score[3:17, 3:21].mean()
    assert not score[~case["brain"][0, 0]].any()
    assert torch.equal(pred[0, 0][~case["brain"][0, 0]], case["inputs"][0, 0][~case["brain"][0, 0]])


@pytest.mark.parametrize("sampler", [euler, ancestral])
def test_a_slice_depends_on_its_number_and_the_seed_alone(case, sampler):
    whole = finder(sampler=sampler, slice_batch=16, average=2)(network=Smooth(), **case)
    pieces = finder(sampler=sampler, slice_batch=1, average=2)(network=Smooth(), **case)
    assert torch.allclose(whole, pieces, atol=1e-6)
    alone = {k: v[:, 3:4] if k == "vector" else v[..., 3:4] for k, v in case.items()}
    assert torch.allclose(finder(sampler=sampler, average=2)(network=Smooth(), **alone), whole[..., 3:4], atol=1e-6)
    assert not torch.allclose(finder(sampler=sampler, average=2, seed=1)(network=Smooth(), **case), whole, atol=1e-3)


def test_runs_are_averaged_and_counted(case):
    seen, calls = [], []

    def edit(denoise, x, seeds, callback):
        seen.append(list(seeds))
        return x + float(len(seen))

    edit.steps = 1
    task = FindAnomalies(edm(SIGMA_DATA), edit, residual, average=3, progress=lambda *a: calls.append(a))
    pred = task(network=Smooth(), **case)
    inside = case["brain"][0, 0]
    assert torch.allclose(pred[0, 0][inside], case["inputs"][0, 0][inside] + 2.0)  # the mean of 1, 2 and 3
    assert len({seed for run in seen for seed in run}) == 18
    task = finder(steps=4, average=2, progress=lambda *a: calls.append(a))
    task(network=Smooth(), **case)
    assert task.stats["network_calls"] == 8 and task.stats["seconds"] > 0
    assert [words[:2] for words in calls] == [(i + 1, 8) for i in range(8)]
    assert "8 network calls" in task.workload() and task.memory((1, 100, 100, 80)) > 1e8


@pytest.mark.parametrize("outline", [True, False])
def test_each_slice_has_its_own_conditions(case, outline):
    seen = []

    class Keeps(Smooth):
        def forward(self, x, c_noise, *, concat=None, vector=None, tokens=None):
            seen.append(vector)
            assert torch.equal(concat, case["brain"][0].movedim(-1, 0)[: len(x)].float()) if outline else concat is None
            return super().forward(x, c_noise)

    finder(steps=1, slice_batch=4, outline=outline)(network=Keeps(), **case)
    assert torch.equal(torch.cat(seen), case["vector"][0])


def test_bad_counts_are_refused():
    with pytest.raises(ValueError, match="at least 1"):
        finder(average=0)


def test_the_residual_and_its_smoothing(case):
    image, brain = case["inputs"][0], case["brain"][0]
    healthy = torch.where(brain, 0.7, 0.0)
    assert torch.allclose(residual(image, healthy, brain), (image - healthy).abs())
    assert torch.allclose(residual(image, healthy, brain, power=2.0), (image - healthy) ** 2)
    flat = residual(torch.where(brain, 1.0, 0.0), torch.where(brain, 0.5, 0.0), brain, smoothing=1.5)
    assert torch.allclose(flat[brain], torch.tensor(0.5), atol=1e-5) and not flat[~brain].any()  # no loss at the brain's rim
    smooth = residual(image, healthy, brain, smoothing=1.0)
    assert 0 < smooth.max() < 0.6 and smooth.argmax() in (image - healthy).flatten().nonzero()


def test_the_median_takes_out_what_is_thin_and_the_rim_what_is_at_the_edge():
    brain = torch.zeros(1, 24, 24, 5, dtype=torch.bool)
    brain[:, 2:22, 2:22] = True
    healthy = torch.where(brain, 0.5, 0.0)
    thin, blob, edge = (healthy.clone() for _ in range(3))
    thin[0, 12:14, 4:20] = 1.0
    blob[0, 8:14, 8:14] = 1.0
    edge[0, 2:4, 2:22] = 1.0
    assert not residual(thin, healthy, brain, window=5).any()
    assert torch.allclose(residual(blob, healthy, brain, window=5)[0, 10:12, 10:12], torch.tensor(0.5))
    assert residual(edge, healthy, brain).any() and not residual(edge, healthy, brain, rim=2).any()


def item(case, threshold=0.2, **more):
    affine = torch.diag(torch.tensor([2.0, 2.0, 3.0, 1.0]))
    image = MetaTensor(case["inputs"][0], affine=affine)
    healthy = torch.where(case["brain"][0], 0.7, 0.0)
    pred = torch.cat([healthy, (case["inputs"][0] - healthy).abs()])
    given = {"image": image, "brain": MetaTensor(case["brain"][0], affine=affine), "pred": pred, "modality": "flair", **more}
    return NameMaps(threshold)(given)


def test_names_threshold_and_words(case):
    found = item(case, mask="the truth")
    assert found["lesion"] == "the truth" and found["mask"].dtype == torch.bool
    assert int(found["mask"].sum()) == 4 and found["mask"][0, 9:11, 10:12, 3].all()
    assert torch.equal(found["given"].as_tensor(), found["image"].as_tensor())
    assert np.allclose(found["anomaly_map"].affine, found["image"].affine)
    told = json.loads(found["acquisition"])
    assert told["modality"] == "flair" and told["threshold"] == 0.2 and "FLAIR" in told["words"]
    assert not item(case, threshold=-1.0)["mask"][0][~case["brain"][0, 0]].any()  # never outside the brain
    assert "lesion" not in item(case)


def test_the_healthy_scan_is_exact_where_nothing_changed():
    scan = MetaTensor(torch.rand(1, 5, 6, 7) * 900, affine=torch.eye(4))
    given = torch.rand(1, 5, 6, 7)
    found = given.clone()
    found[0, 2, 3, 4] += 50.0
    found[0, 1, 1, 1] -= 1e6
    healthy = OnScan()({"scan": scan, "healthy": found, "given": given})["healthy"]
    same = found == given
    assert torch.equal(healthy.as_tensor()[same], scan.as_tensor()[same])
    assert healthy[0, 2, 3, 4] == pytest.approx(float(scan[0, 2, 3, 4]) + 50, abs=1e-3) and healthy[0, 1, 1, 1] == 0


def test_the_map_of_another_network_is_that_of_its_own_run(case):
    given = {key: value[0] for key, value in case.items() if key != "inputs"} | {"image": MetaTensor(case["inputs"][0])}
    found = AddMap(finder(), Smooth(), "gaussian")(given)
    assert torch.equal(found["gaussian"].as_tensor(), finder()(network=Smooth(), **case)[0, 1:])
    assert torch.equal(found["gaussian_healthy"].as_tensor(), finder()(network=Smooth(), **case)[0, :1])
    assert "gaussian" not in given


def joint(tops, kind=FindJointly, **options):
    edits = [edit for top, scales in tops for edit in at_levels(euler, top, scales, 2, NOISE)]
    return kind(edm(SIGMA_DATA), JointEdit(edits), residual, **options)


def test_a_joint_map_is_the_geometric_mean_of_those_of_its_edits(case):
    both = joint([(0.2, 2)], average=2)
    pred = both(network=Median(), **case)
    edits, parts = both.edit.edits, []
    assert [edit.sigmas[0] for edit in edits] == pytest.approx([0.2, 0.1]) and both.edit.steps == 4
    for k in (0, 1):
        alone = FindAnomalies(edm(SIGMA_DATA), Kth(edits, k), residual, average=2)
        parts.append(alone(network=Median(), **case))
    assert torch.allclose(pred[:, 0], (parts[0][:, 0] + parts[1][:, 0]) / 2, atol=1e-6)
    assert torch.allclose(pred[:, 1], (parts[0][:, 1] * parts[1][:, 1]).sqrt(), atol=1e-6)
    assert both.stats["network_calls"] == 8 and "8 network calls" in both.workload()


def test_edits_of_one_kind_have_noise_of_their_own_and_a_level_of_0_is_none(case):
    twice = joint([(0.2, 1), (0.2, 1)])
    x = case["inputs"][0, :, None, ..., 3]
    first, second = twice.edit(Denoiser(Median(), edm(SIGMA_DATA)).bind(), x, [5]).split(1, 1)
    assert not torch.allclose(first, second)
    alone, beside_none = (joint(tops)(network=Median(), **case) for tops in ([(0.2, 1)], [(0.2, 1), (0.0, 3)]))
    assert torch.equal(alone, beside_none)
    none = joint([(0.0, 3)])(network=Median(), **case)
    assert torch.equal(none[:, :1], case["inputs"]) and not none[:, 1].any()
    with pytest.raises(ValueError, match="at least 1"):
        at_levels(euler, 0.2, 0, 2, NOISE)


class Kth:
    """One of the edits of a joint one, with the noise that it has there."""

    def __init__(self, edits, k):
        self.edits, self.k, self.steps = edits, k, edits[k].steps

    def __call__(self, denoise, x, seeds, callback=None):
        return JointEdit(self.edits)(denoise, x, seeds, callback)[:, self.k : self.k + 1]
