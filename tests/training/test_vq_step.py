"""The step of a quantised autoencoder: its terms, a loss that falls, and draws that come from the seed."""

import pytest
import torch
from ignite.engine import Engine
from torch import nn

from diffzoo.networks.vqvae import QuantisedAutoencoder
from diffzoo.training.autoencoder_step import AutoencoderValidation
from diffzoo.training.vq_step import QuantisedStep


def stepped(steps=1, seed=0, lr=3e-3, **options):
    torch.manual_seed(0)
    network = QuantisedAutoencoder(channels=(8, 16), latent_channels=4, codes=8)
    engine = Engine(QuantisedStep(seed=seed, **options))
    engine.network, engine.optimizer = network, torch.optim.Adam(network.parameters(), lr=lr)
    engine.loss_function, engine.state.device = nn.L1Loss(), torch.device("cpu")
    generator, log = torch.Generator().manual_seed(3), []
    low = torch.rand(8, 1, 4, 4, generator=generator)
    batch = {"image": nn.functional.interpolate(low, (16, 16), mode="bilinear")}
    for k in range(1, steps + 1):
        engine.state.iteration = k
        log.append(engine._process_function(engine, batch))
    return network, log, batch, engine


def test_the_loss_is_the_sum_of_its_terms_and_falls():
    _, log, batch, engine = stepped(120)
    assert all(one["loss"] == pytest.approx(one["reconstruction"] + one["commitment"], rel=1e-5) for one in log)
    assert log[-1]["reconstruction"] < 0.5 * log[0]["reconstruction"] and 2 <= log[-1]["codes"] <= 8
    AutoencoderValidation()(engine, batch)
    assert engine.state.output["psnr"] > 15


def test_the_same_seed_gives_the_same_weights_and_every_code_begins_on_a_latent():
    first, again = (stepped(2)[0].state_dict() for _ in range(2))
    assert all(torch.equal(first[key], again[key]) for key in first)
    network, _, batch, _ = stepped(1, lr=0.0)
    rows = network.eval().encode(batch["image"])[0].movedim(1, -1).flatten(0, -2)
    weight = network.vqvae.quantizer.quantizer.ema_w
    size = network.vqvae.quantizer.quantizer.ema_cluster_size
    assert weight.isfinite().all() and (size >= 0.98).all() and len(rows) == 8 * 16


def test_a_loss_that_is_not_finite_stops_before_the_weights_move():
    network, _, batch, engine = stepped(1)
    before = {key: value.clone() for key, value in network.named_parameters() if value.requires_grad}
    engine.state.iteration = 2
    with pytest.raises(ArithmeticError, match="step 2"):
        engine._process_function(engine, {"image": batch["image"] * torch.nan})
    assert all(torch.equal(before[key], value) for key, value in network.named_parameters() if value.requires_grad)
