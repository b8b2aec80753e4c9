"""The training step of a VQ-VAE, as `iteration_update` of MONAI's engines."""

import torch
from torch import Tensor

from diffzoo.diffusion.noise import stream
from diffzoo.training.adversarial import move
from diffzoo.training.distributed import place, shares


class QuantisedStep:
    """One step of reconstruction + commitment on `batch["image"]` [B, K, *S] of a `networks.vqvae.QuantisedAutoencoder`.

    The engine's loss_function(x', x) judges the reconstruction. Gradients pass the quantiser straight through; the code book
    moves by averages, and every `revive_every` steps codes that fewer than `least` latents a step take are put onto latents of
    the batch, at the first step all of them. Several processes share the batch. Gives loss, reconstruction, commitment and
    codes, how many of the book are in use. Raises ArithmeticError, before the weights move, when a loss or a gradient is not
    finite.
    """

    def __init__(self, seed: int = 0, revive_every: int = 25, least: float = 0.5, clip_grad: float = 1.0) -> None:
        self.seed, self.revive_every, self.least, self.clip_grad = seed, revive_every, least, clip_grad

    def __call__(self, engine, batch: dict[str, Tensor]) -> dict:
        network, step, x = engine.network, engine.state.iteration, batch["image"].to(engine.state.device)
        if step % self.revive_every == 1:
            network.eval()
            with torch.no_grad():
                network.revive(network.encode(x)[0], torch.Generator().manual_seed(stream(self.seed, step)), self.least)
        network.train()
        engine.optimizer.zero_grad(set_to_none=True)
        [part] = shares(len(x))
        portion, mine = len(x[part]) * place()[1] / len(x), x[part]
        codes, commitment = network.quantise(network.encode(mine)[0])
        terms = {"reconstruction": engine.loss_function(network.shown(codes, x.shape[2:]), mine), "commitment": commitment}
        loss = terms["reconstruction"] + terms["commitment"]
        (portion * loss).backward()
        figures = {key: portion * value for key, value in ({"loss": loss} | terms).items()}
        engine.state.output = move(engine, figures, [(network, engine.optimizer)], self.clip_grad)
        used = network.vqvae.quantizer.quantizer.ema_cluster_size
        engine.state.output["codes"] = float((used >= self.least).sum())
        return engine.state.output
