"""The proximal term of FedProx: its gradient in closed form, nothing at mu 0, and less drift the larger it is."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from ignite.engine import Events
from training_toy import Shades, Toy, levels, trainer

from diffzoo.training.proximal import Proximal
from diffzoo.training.steps import DiffusionStep


def stepped(mu, shift, net=None):
    """The term and its gradient after weights that a run began with moved by a shift: SGD of rate 1 takes the gradient off."""
    net, term = net or Toy(), Proximal(mu)

    def step(engine, batch):
        engine.optimizer.zero_grad(set_to_none=True)
        for value in trained_of(net):
            value.data += shift
        before = [value.detach().clone() for value in trained_of(net)]
        engine.optimizer.step()
        engine.state.output = {"gradient": [b - v.detach() for b, v in zip(before, trained_of(net), strict=True)]}
        return engine.state.output

    engine = trainer(step, net, lr=1.0, kind=torch.optim.SGD)
    term.attach(engine)
    engine.run([0], max_epochs=1)
    return engine.state.output


def trained_of(net):
    return [value for value in net.parameters() if value.requires_grad]


@settings(deadline=None, max_examples=20)
@given(st.floats(0.001, 10), st.floats(-3, 3).filter(lambda shift: abs(shift) > 0.01))
def test_value_and_gradient_in_closed_form(mu, shift):
    """mu / 2 |W - W_0|^2 with W = W_0 + s: mu n s^2 / 2, and the gradient mu s of every weight."""
    net = Toy()
    output = stepped(mu, shift, net)
    assert output["proximal"] == pytest.approx(mu * sum(v.numel() for v in net.parameters()) * shift**2 / 2, rel=1e-3)
    for gradient in output["gradient"]:
        torch.testing.assert_close(gradient, torch.full_like(gradient, mu * shift), rtol=1e-3, atol=1e-4)


def trained(mu, runs=1, steps=12):
    """The distance to the weights at the start of the last run, and what each step told."""
    net, term, told = Toy(), Proximal(mu), []
    engine = trainer(DiffusionStep(levels, clip_grad=1e9), net, lr=0.05, kind=torch.optim.SGD)
    term.attach(engine)
    engine.add_event_handler(Events.ITERATION_COMPLETED, lambda engine: told.append(dict(engine.state.output)))
    for run in range(runs):
        start = [p.detach().clone() for p in net.parameters()]
        engine.run(Shades(-1.0, batches=steps), max_epochs=run + 1)
    drift = sum((p - a).square().sum().item() for p, a in zip(net.parameters(), start, strict=True))
    return drift, told, net


def test_a_larger_mu_drifts_less():
    drifts = [trained(mu)[0] for mu in (0.0, 0.5, 2.0, 8.0)]
    assert drifts[0] > drifts[1] > drifts[2] > drifts[3] > 0
    assert drifts[3] < 0.5 * drifts[0]


def test_mu_0_is_the_step_without_it_to_the_bit():
    _, told, net = trained(0.0)
    plain = trainer(DiffusionStep(levels, clip_grad=1e9), Toy(), lr=0.05, kind=torch.optim.SGD)
    plain.run(Shades(-1.0, batches=12), max_epochs=1)
    assert all(torch.equal(a, b) for a, b in zip(net.parameters(), plain.network.parameters(), strict=True))
    assert "proximal" not in told[0]


def test_each_run_stays_near_where_it_began():
    _, told, _ = trained(1.0, runs=2)
    assert [step["proximal"] for step in (told[0], told[12])] == [0, 0]
    assert told[11]["proximal"] > 0 and told[23]["proximal"] > 0


def test_frozen_weights_do_not_count():
    net = Toy()
    net.first.requires_grad_(False)
    output = stepped(2.0, 1.0, net)
    assert output["proximal"] == pytest.approx(sum(v.numel() for v in trained_of(net)), rel=1e-4)
    assert len(output["gradient"]) < len(list(net.parameters()))


def test_a_negative_mu_is_refused():
    with pytest.raises(ValueError, match="mu of the proximal term must not be negative, not -1"):
        Proximal(-1)
