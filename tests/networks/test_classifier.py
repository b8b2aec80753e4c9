"""The classifier of noisy images: any size, its conditions, a verdict that can rest on one place, and its gradient."""

import pytest
import torch
from monai.networks.nets.diffusion_model_unet import get_timestep_embedding

from diffzoo.networks.classifier import NoisyClassifier, frequencies

SMALL = {"channels": (8, 16), "norm_num_groups": 4, "concat_channels": 1, "vector_size": 3}


def classifier():
    torch.manual_seed(0)
    network = NoisyClassifier(**SMALL).double().eval()
    for parameter in network.parameters():  # fresh blocks end in zeros, which hide conditions
        parameter.data.normal_(0, 0.2)
    return network


def given(count=2, size=(12, 17)):
    g = torch.Generator().manual_seed(1)
    draw = lambda *shape: torch.randn(shape, generator=g, dtype=torch.float64)  # noqa: E731
    return draw(count, 1, *size), draw(count), {"concat": draw(count, 1, *size), "vector": draw(count, 3)}


@pytest.mark.parametrize("size", [(12, 17), (24, 20)])
def test_any_size_and_each_condition_counts(size):
    network = classifier()
    x, label, conditions = given(size=size)
    out = network(x, label, **conditions)
    assert out.shape == (2, 2) and out.isfinite().all()
    for changed in (
        network(x, label + 0.3, **conditions),
        network(x, label, **conditions | {"concat": conditions["concat"] + 1}),
        network(x, label, **conditions | {"vector": conditions["vector"] + 1}),
    ):
        assert not torch.allclose(changed, out)
    with pytest.raises(ValueError, match="concat"):
        network(x, label, vector=conditions["vector"])


def test_the_gradient_of_log_p_is_that_of_finite_differences():
    network = classifier()
    x, label, conditions = given()
    log_p = lambda x: network(x, label, **conditions).log_softmax(1)[:, 0].sum()  # noqa: E731
    leaf = x.clone().requires_grad_()
    (slope,) = torch.autograd.grad(log_p(leaf), leaf)
    way = torch.randn(x.shape, generator=torch.Generator().manual_seed(2), dtype=x.dtype)
    step = 1e-5
    measured = (log_p(x + step * way) - log_p(x - step * way)) / (2 * step)
    assert slope.abs().max() > 0 and torch.allclose((slope * way).sum(), measured, rtol=1e-6)


def test_the_pooled_verdict_is_the_mean_by_the_weights_of_the_gate():
    network = classifier()
    x, label, conditions = given()
    with torch.no_grad():
        network.gate.weight.zero_()
        flat = network(x, label, **conditions)
        network.verdict.weight.zero_()
        network.verdict.bias.copy_(torch.tensor([1.0, -2.0]))
        assert torch.allclose(network(x, label, **conditions), torch.tensor([[1.0, -2.0]], dtype=x.dtype).expand(2, -1))
    assert flat.isfinite().all()


def test_frequencies_are_those_of_the_diffusion_network():
    values = torch.tensor([-0.7, 0.2])
    assert torch.allclose(frequencies(values, 16), get_timestep_embedding(values, 16), atol=1e-6)
