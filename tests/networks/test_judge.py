"""The judge of pairs: what it is shown, what it sees of a batch, and a gradient of its gradient."""

import math

import torch

from diffzoo.networks.judge import PairJudge, pair


def test_a_pair_has_unit_scale_and_its_step_as_planes():
    state, noisier = torch.full((2, 1, 4, 4), 3.0), torch.full((2, 1, 4, 4), 5.0)
    found = pair(state, noisier, torch.tensor([0.0, 1.0]), torch.tensor([2.0, 3.0]), torch.tensor([2, 0]), 3)
    assert found.shape == (2, 5, 4, 4)
    torch.testing.assert_close(found[:, 0, 0, 0], torch.tensor([3.0, 3 / math.sqrt(2)]))
    torch.testing.assert_close(found[:, 1, 0, 0], torch.tensor([5 / math.sqrt(5), 5 / math.sqrt(10)]))
    assert found[:, 2:, 0, 0].tolist() == [[0, 0, 1], [1, 0, 0]]


def test_the_judge_sees_a_batch_that_does_not_vary():
    torch.manual_seed(0)
    judge, x = PairJudge(3, (4, 8)), torch.randn(4, 3, 16, 16)
    same = x[:1].expand(4, -1, -1, -1)
    assert judge(x).shape == (4, 1)
    assert not torch.allclose(judge(x)[:1], judge(same)[:1], atol=1e-6)  # the first image is the same in both


def test_its_gradient_has_a_gradient():
    torch.manual_seed(0)
    judge, x = PairJudge(2, (4, 8)).double(), torch.randn(2, 2, 8, 8, dtype=torch.float64, requires_grad=True)
    (slope,) = torch.autograd.grad(judge(x).sum(), x, create_graph=True)
    slope.square().sum().backward()
    assert judge.down[0].weight.grad.abs().max() > 0
