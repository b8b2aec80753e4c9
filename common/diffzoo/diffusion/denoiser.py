"""From a network to a denoiser, its training loss, and the moving average of its weights."""

import copy
from collections.abc import Callable
from typing import Protocol

import torch
from torch import Tensor, nn

from .precond import Precond

Denoise = Callable[[Tensor, float], Tensor]  # (x [B, C, *S], sigma) -> estimate of x0 [B, C, *S]; conditions bound


class Network(Protocol):
    """The only thing with weights."""

    def __call__(
        self,
        x: Tensor,
        c_noise: Tensor,
        *,
        concat: Tensor | None = None,
        vector: Tensor | None = None,
        tokens: Tensor | None = None,
    ) -> Tensor:
        """x [B, C, *S], c_noise [B], concat [B, Cc, *S], vector [B, E], tokens [B, L, E] -> [B, Cout, *S]."""


def expand_as(values: Tensor, x: Tensor) -> Tensor:
    """Views per-item values [B] as [B, 1, ..., 1] beside x [B, C, *S]."""
    return values.reshape(-1, *[1] * (x.ndim - 1))


class Denoiser(nn.Module):
    """A network seen through its preconditioner: an estimate of x0 from x0 + sigma n.

    The state stays in its own precision (float32 or float64). The network runs in that of its weights, or under autocast in
    `autocast` ("bfloat16", "float16"), and nothing else does.
    """

    def __init__(self, network: nn.Module, precond: Precond, autocast: str | None = None) -> None:
        super().__init__()
        self.network, self.precond = network, precond
        if autocast not in (None, "bfloat16", "float16"):
            raise ValueError(f"autocast must be bfloat16, float16 or none, not {autocast!r}")
        self.autocast = getattr(torch, autocast) if autocast else None
        self.calls = 0  # network evaluations so far, items of a batch counted one by one

    def forward(self, x: Tensor, sigma: Tensor, **cond: Tensor | None) -> Tensor:
        """x [B, C, *S], sigma [B] > 0 -> x0 estimate [B, C, *S]."""
        skip, out, scale, label = (expand_as(c, x) for c in self.precond(sigma.to(x.dtype)))
        dtype = next((p.dtype for p in self.network.parameters()), x.dtype)
        with torch.autocast(x.device.type, self.autocast, enabled=self.autocast is not None):
            raw = self.network((scale * x).to(dtype), label.reshape(-1).to(dtype), **cond)
        self.calls += len(x)
        return skip * x + out * raw.to(x.dtype)

    def bind(self, **cond: Tensor | None) -> Denoise:
        """Fixes the conditions and takes sigma as a float, which is what samplers, guidance and rules want."""
        return lambda x, sigma: self(x, torch.full((len(x),), sigma, dtype=x.dtype, device=x.device), **cond)


def loss(
    denoiser: Denoiser,
    x0: Tensor,
    sigma: Tensor,
    noise: Tensor,
    weight: Callable[[Tensor], Tensor] | None = None,
    **cond: Tensor | None,
) -> Tensor:
    """Denoising loss of each item, [B]: weight(sigma) |D(x0 + sigma n) - x0|^2, mean over channels and pixels.

    x0 and noise [B, C, *S], sigma [B]. The default weight 1 / c_out^2 makes the network's own target of even size at every
    sigma (Karras et al. 2022, eq. 8).
    """
    error = denoiser(x0 + expand_as(sigma, x0) * noise, sigma, **cond) - x0
    w = 1 / denoiser.precond(sigma)[1] ** 2 if weight is None else weight(sigma)
    return w * error.pow(2).flatten(1).mean(1)


class EMA(nn.Module):
    """Exponential moving average of a network's weights, with the warm start min(decay, (1 + k) / (10 + k))."""

    def __init__(self, network: nn.Module, decay: float = 0.999) -> None:
        super().__init__()
        if not 0 <= decay < 1:
            raise ValueError(f"EMA decay must lie in [0, 1), not {decay}")
        self.decay = decay
        self.average = copy.deepcopy(network).eval().requires_grad_(False)
        self.register_buffer("updates", torch.zeros((), dtype=torch.long))

    @torch.no_grad()
    def update(self, network: nn.Module) -> None:
        """Moves the average towards the network's present weights; buffers are copied."""
        k = int(self.updates)
        decay = min(self.decay, (1 + k) / (10 + k))
        for mean, value in zip(self.average.parameters(), network.parameters(), strict=True):
            mean.lerp_(value.detach(), 1 - decay)
        for mean, value in zip(self.average.buffers(), network.buffers(), strict=True):
            mean.copy_(value)
        self.updates += 1
