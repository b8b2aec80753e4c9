"""Anomaly detection by patches: streams of noise, calls, levels that are averaged, and a spot that is taken out."""

from functools import partial

import pytest
import torch
from slices_toy import SIGMA_DATA, Smooth

from diffzoo.diffusion.precond import edm
from diffzoo.diffusion.simplex import Simplex
from diffzoo.tasks.anomaly.patches import FindByPatches, PatchEdit, noise_levels
from diffzoo.tasks.anomaly.scores import residual

NOISE = partial(Simplex, unit_variance=True)
SIZE = (20, 24)


def finder(sigmas=(0.3,), average=1, slice_batch=16, network_noise=NOISE, **options):
    edit = PatchEdit(sigmas, network_noise, **{"patch": 8, "overlap": 0.5, "field": SIZE} | options)
    return FindByPatches(edm(SIGMA_DATA), edit, residual, average=average, slice_batch=slice_batch)


@pytest.fixture
def case():
    """Five slices of a flat brain with a bright spot in the third."""
    image, brain = torch.zeros(1, 1, *SIZE, 5), torch.zeros(1, 1, *SIZE, 5, dtype=torch.bool)
    brain[:, :, 3:17, 3:21] = True
    image[brain] = 0.7
    image[:, :, 9:11, 10:12, 2] = 1.3
    facts = torch.cat([torch.tensor([[1.0, 0, 0]]).expand(5, -1), torch.arange(5.0)[:, None]], 1)
    return {"inputs": image, "vector": facts[None], "slice_index": torch.arange(5)[None], "brain": brain}


class Context(torch.nn.Module):
    """A network that makes the denoiser the mean of the clean tissue around the box."""

    def forward(self, x, c_noise, *, concat, vector=None, tokens=None):
        skip, out, scale, _ = (c.reshape(-1, 1, 1, 1) for c in edm(SIGMA_DATA)(torch.exp(4 * c_noise)))
        tissue, box = concat.split(1, 1)
        around, image = tissue * (1 - box), x / scale
        mean = (image * around).flatten(1).sum(1) / around.flatten(1).sum(1)
        return (mean.view(-1, 1, 1, 1) - skip * image) / out


def test_no_noise_gives_the_input_and_an_empty_map(case):
    pred = finder(sigmas=(0.0,))(network=Smooth(), **case)
    assert torch.equal(pred[:, :1], case["inputs"]) and not pred[:, 1:].any()


def test_a_spot_is_replaced_by_what_its_surroundings_tell(case):
    pred = finder(sigmas=(0.3, 1.0))(network=Context(), **case)[0]
    healthy, score = pred
    assert (healthy[9:11, 10:12, 2] - 0.7).abs().max() < 0.02
    assert score[9:11, 10:12, 2].min() > 0.5 and score[..., 2].sum() > 5 * score[..., 0].sum()
    assert torch.equal(healthy[~case["brain"][0, 0]], case["inputs"][0, 0][~case["brain"][0, 0]])


@pytest.mark.parametrize("blend", ["mean", "tent"])
def test_a_slice_depends_on_its_number_and_the_seed_alone(case, blend):
    whole = finder(average=2, blend=blend)(network=Smooth(), **case)
    pieces = finder(average=2, slice_batch=2, blend=blend)(network=Smooth(), **case)
    alone = {k: v[:, 2:3] if k == "vector" else v[..., 2:3] for k, v in case.items()}
    assert torch.allclose(whole, pieces, atol=1e-6)
    assert torch.allclose(finder(average=2, blend=blend)(network=Smooth(), **alone), whole[..., 2:3], atol=1e-6)


def test_calls_are_told_beforehand_and_counted(case):
    seen = []
    task = finder(sigmas=(0.3, 0.6), average=2)
    task.progress = lambda *told: seen.append(told[:2])
    task(network=Smooth(), **case)
    boxes = 4 * 5
    assert task.edit.steps == 2 * boxes and task.stats["network_calls"] == 4 * boxes
    assert seen[-1] == (4 * boxes, 4 * boxes) and f"{4 * boxes} network calls" in task.workload()


def test_levels_are_one_number_or_several():
    assert noise_levels(0.4) == [0.4] and noise_levels("0.25,0.5,1") == [0.25, 0.5, 1.0]
    for levels in ((), (-0.1,)):
        with pytest.raises(ValueError, match="noise levels"):
            PatchEdit(levels, NOISE)
