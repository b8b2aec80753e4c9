"""A step of a network that answers in one call, against the step worked out by hand."""

import pytest
import torch
from ignite.engine import Engine
from torch import nn

from diffzoo.training.steps import RegressionStep


def error(network, batch):
    return (network(batch["given"]) - batch["image"]).square().mean()


def engine_of(network, clip_grad=1.0):
    engine = Engine(RegressionStep(error, clip_grad))
    engine.network, engine.state.device = network, torch.device("cpu")
    engine.optimizer = torch.optim.SGD(network.parameters(), lr=0.5)
    return engine


@pytest.fixture
def line():
    network = nn.Linear(1, 1, bias=False).eval()
    nn.init.constant_(network.weight, 3.0)
    return network


@pytest.mark.parametrize(("clip_grad", "slope"), [(100.0, 2 * (3 - 1) * 2.0**2), (1.0, 1.0)])  # as it is, and clipped
def test_it_goes_down_the_gradient_of_its_loss(line, clip_grad, slope):
    engine = engine_of(line, clip_grad)
    engine.run([{"given": torch.tensor([[2.0]]), "image": torch.tensor([[2.0]])}], max_epochs=1)
    assert line.training and engine.state.output == {"loss": 16.0}
    assert float(line.weight.detach()) == pytest.approx(3 - 0.5 * slope, abs=1e-4)


def test_a_loss_that_is_not_finite_leaves_the_weights(line):
    with pytest.raises(ArithmeticError, match="lower the learning rate"):
        engine_of(line).run([{"given": torch.ones(1, 1), "image": torch.full((1, 1), float("nan"))}], max_epochs=1)
    assert float(line.weight.detach()) == 3.0
