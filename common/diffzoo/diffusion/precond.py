"""Preconditioners: how a network of any diffusion family becomes a denoiser of x = x0 + sigma n.

Each function returns a `Precond`: sigma [B] -> (c_skip, c_out, c_in, c_noise), four tensors [B], to be used as
denoised = c_skip x + c_out network(c_in x, c_noise). A checkpoint of DDPM, NCSN, VP, sub-VP, EDM or flow runs unchanged
through the preconditioner of its own family.
"""

from collections.abc import Callable

import torch
from torch import Tensor

from .schedule import sigmas_of

Coefficients = tuple[Tensor, Tensor, Tensor, Tensor]
Precond = Callable[[Tensor], Coefficients]


def edm(sigma_data: float = 0.5) -> Precond:
    """Network input and target of unit variance at every sigma (Karras et al. 2022, table 1)."""
    if sigma_data <= 0:
        raise ValueError(f"sigma_data must be positive, not {sigma_data}")

    def coefficients(sigma: Tensor) -> Coefficients:
        total = (sigma**2 + sigma_data**2).sqrt()
        return sigma_data**2 / total**2, sigma * sigma_data / total, 1 / total, sigma.log() / 4

    return coefficients


def _table_time(alphas_cumprod: Tensor) -> Callable[[Tensor], Tensor]:
    """The inverse of a DDPM table: sigma [B] -> fractional time index in [0, T - 1], linear in ln sigma, exact on the table."""
    logs = sigmas_of(alphas_cumprod).log()

    def time(sigma: Tensor) -> Tensor:
        table = logs.to(sigma.device)
        value = sigma.double().log().clamp(table[0], table[-1])
        high = torch.searchsorted(table, value).clamp(1, len(table) - 1)
        low = high - 1
        fraction = (value - table[low]) / (table[high] - table[low])
        return (low + fraction).to(sigma.dtype)

    return time


def eps_vp(alphas_cumprod: Tensor) -> Precond:
    """A DDPM network that predicts the noise at integer time t of a table alpha_bar [T] (Ho et al. 2020, eq. 15)."""
    time = _table_time(alphas_cumprod)
    return lambda sigma: (torch.ones_like(sigma), -sigma, 1 / (1 + sigma**2).sqrt(), time(sigma))


def v_vp(alphas_cumprod: Tensor) -> Precond:
    """A DDPM network that predicts v = alpha n - s x0 (Salimans & Ho 2022, app. D)."""
    time = _table_time(alphas_cumprod)
    return lambda sigma: (1 / (1 + sigma**2), -sigma / (1 + sigma**2).sqrt(), 1 / (1 + sigma**2).sqrt(), time(sigma))


def x0_vp(alphas_cumprod: Tensor) -> Precond:
    """A DDPM network that predicts the clean image."""
    time = _table_time(alphas_cumprod)
    return lambda sigma: (torch.zeros_like(sigma), torch.ones_like(sigma), 1 / (1 + sigma**2).sqrt(), time(sigma))


def x0() -> Precond:
    """A network that takes x as it is, with label ln sigma, and predicts the clean image."""
    return lambda sigma: (torch.zeros_like(sigma), torch.ones_like(sigma), torch.ones_like(sigma), sigma.log())


def ve(output: str = "scaled") -> Precond:
    """A VE or NCSN network with label ln sigma (Song et al. 2021, app. C).

    `output` says what the network returns: "scaled" = sigma * score (minus the noise), "score" = the score itself, as a
    network does that divides by sigma inside.
    """
    if output not in ("scaled", "score"):
        raise ValueError(f"output must be 'scaled' or 'score', not {output!r}")
    power = 1 if output == "scaled" else 2
    return lambda sigma: (torch.ones_like(sigma), sigma**power, torch.ones_like(sigma), sigma.log())


def _vp_time(log_alpha: Tensor, beta_min: float, beta_max: float) -> Tensor:
    """t in [0, 1] from ln alpha = -t^2 (beta_max - beta_min) / 4 - t beta_min / 2 (Song et al. 2021, eq. 33)."""
    slope = beta_max - beta_min
    return (-beta_min + (beta_min**2 - 4 * slope * log_alpha).sqrt()) / slope


def vp_continuous(beta_min: float = 0.1, beta_max: float = 20.0, label_scale: float = 999.0) -> Precond:
    """A noise-predicting network of the continuous VP-SDE, label `label_scale` t (Song et al. 2021, app. C)."""

    def coefficients(sigma: Tensor) -> Coefficients:
        log_alpha = -0.5 * torch.log1p(sigma**2)
        time = _vp_time(log_alpha, beta_min, beta_max)
        return torch.ones_like(sigma), -sigma, log_alpha.exp(), label_scale * time

    return coefficients


def sub_vp(beta_min: float = 0.1, beta_max: float = 20.0, label_scale: float = 999.0) -> Precond:
    """A noise-predicting network of the sub-VP-SDE, whose standard deviation is 1 - alpha^2 (Song et al. 2021, eq. 29)."""

    def coefficients(sigma: Tensor) -> Coefficients:
        # sigma = (1 - alpha^2) / alpha, solved for alpha in the form that keeps its digits at large sigma
        alpha = 2 / (sigma + (sigma**2 + 4).sqrt())
        time = _vp_time(alpha.log(), beta_min, beta_max)
        return torch.ones_like(sigma), -sigma, alpha, label_scale * time

    return coefficients


def flow(label_scale: float = 1.0) -> Precond:
    """A rectified-flow network: input (1 - t) x0 + t n, output n - x0, t = sigma / (1 + sigma) (Liu et al. 2023)."""
    return lambda sigma: (
        1 / (1 + sigma), -sigma / (1 + sigma), 1 / (1 + sigma), label_scale * sigma / (1 + sigma)
    )  # fmt: skip


def from_monai(scheduler) -> Precond:
    """The preconditioner of a MONAI scheduler: its table and prediction type; its own sampling steps are not used.

    Raises ValueError for a prediction type other than epsilon, v_prediction or sample.
    """
    makers = {"epsilon": eps_vp, "v_prediction": v_vp, "sample": x0_vp}
    kind = str(getattr(scheduler.prediction_type, "value", scheduler.prediction_type))
    if kind not in makers:
        raise ValueError(f"no preconditioner for prediction type {kind!r}; known: {', '.join(makers)}")
    return makers[kind](scheduler.alphas_cumprod)
