"""The joint training step of DiffuseMorph and its validation, as `iteration_update` of MONAI's engines."""

import torch
from monai.losses import DiceLoss
from monai.metrics import compute_dice
from monai.networks.utils import one_hot
from torch import Tensor

from diffzoo.diffusion.denoiser import expand_as
from diffzoo.diffusion.noise import stream, white
from diffzoo.diffusion.precond import Precond
from diffzoo.diffusion.schedule import SigmaDistribution
from diffzoo.imaging.fields import folding, roughness, warp
from diffzoo.networks.diffusemorph import centred, latent_of, registration_latent
from diffzoo.tasks.register.inferer import correlation
from diffzoo.training.distributed import mean, place, shares
from diffzoo.training.replay import OldBatches
from diffzoo.training.steps import advance, checked_parts

LABELS = ("moving_label", "label")


class RegistrationStep:
    """One optimiser step of |n - s|^2 + weight (similarity + smoothness |grad u|^2), u = D(m, s) (Kim et al. 2022, eq. 9).

    batch: "image" (fixed) and "moving" [B, 1, *S] in [0, 1]. s is the estimate of the noise n in the noised fixed image; the
    gradient of the field goes through it. The similarity is the engine's loss_function(warped, fixed), such as MONAI's local
    NCC. `label_weight` > 0 adds a soft Dice loss of the warped "moving_label" (0 ... K) where there are labels; then the training
    is no longer unsupervised. Without a preconditioner there is no diffusion: u = D(m, f), VoxelMorph. Sigma and noise of step k
    come from (seed, k) alone. `accumulate` and several processes are as in `DiffusionStep`; `replay` adds the same
    objective on pairs of old data, from sigma and noise of their own. Raises ArithmeticError, before the weights move, when the
    loss or its gradient is not finite. Gives loss, noise (the first term), similarity, roughness, and replay where there is one.
    """

    REPLAY_TERM = "diffzoo.training.replay.OldBatches"  # what a fine-tuning hands over as `replay`

    def __init__(
        self,
        precond: Precond | None,
        sigmas: SigmaDistribution,
        weight: float = 20.0,
        smoothness: float = 1.0,
        label_weight: float = 0.0,
        seed: int = 0,
        clip_grad: float = 1.0,
        autocast: str | None = None,
        accumulate: int = 1,
        replay: OldBatches | None = None,
    ) -> None:
        self.precond, self.sigmas, self.seed, self.clip_grad = precond, sigmas, seed, clip_grad
        self.weight, self.smoothness, self.label_weight, self.autocast = weight, smoothness, label_weight, autocast
        self.accumulate, self.replay = checked_parts(accumulate), replay

    def __call__(self, engine, batch: dict[str, Tensor]) -> dict:
        step = engine.state.iteration
        engine.network.train()
        engine.optimizer.zero_grad(set_to_none=True)
        terms = self._descend(engine, batch, stream(self.seed, step))
        if self.replay is not None and self.replay.weight:
            old = self._descend(engine, self.replay.batch(step), stream(self.seed, step, 1), self.replay.weight)
            terms["replay"] = old["loss"]
        return advance(engine, terms, self.clip_grad)

    def _descend(self, engine, batch: dict[str, Tensor], seed: int, scale: float = 1.0) -> dict[str, Tensor]:
        """Adds scale x the gradient of this process's share; the terms of the whole batch, the loss times scale."""
        batch = {key: value.to(engine.state.device) for key, value in batch.items()}
        fixed, generator = batch["image"], torch.Generator().manual_seed(seed)
        if self.precond is not None:
            batch["sigma"] = self.sigmas(len(fixed), generator).to(fixed)
            batch["noise"] = white(fixed, generator).to(fixed.device)
        classes = int(max(batch[key].max() for key in LABELS)) + 1 if self.label_weight > 0 and LABELS[0] in batch else 0
        total = {}
        for part in shares(len(fixed), self.accumulate):
            terms = self._terms(engine, {key: value[part] for key, value in batch.items()}, classes)
            share = len(fixed[part]) * place()[1] / len(fixed)
            (scale * share * terms["loss"]).backward()
            total = {key: total.get(key, 0.0) + share * value.detach() for key, value in terms.items()}
        return {key: mean(value) for key, value in (total | {"loss": scale * total["loss"]}).items()}

    def _terms(self, engine, batch: dict[str, Tensor], classes: int) -> dict[str, Tensor]:
        """Means over some items of a batch, which holds their sigma and noise; classes: those of its labels, 0 without."""
        fixed, moving = batch["image"], batch["moving"]
        kind = getattr(torch, self.autocast) if self.autocast else None
        with torch.autocast(fixed.device.type, kind, enabled=kind is not None):
            latent, error = self._latent(engine.network, batch)
            field = engine.network.deform(centred(moving), latent)
        terms = {
            "noise": error,
            "similarity": engine.loss_function(warp(moving, field), fixed),
            "roughness": roughness(field).mean(),
        }
        registration = terms["similarity"] + self.smoothness * terms["roughness"]
        if classes:
            labels = [batch[key] for key in LABELS]
            registration = registration + self.label_weight * label_loss(*labels, field, classes)
        return {"loss": terms["noise"] + self.weight * registration} | terms

    def _latent(self, network, batch: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
        """The latent of the noised fixed image, and the mean square of its error as an estimate of the noise."""
        fixed = batch["image"]
        if self.precond is None:
            return centred(fixed), fixed.new_zeros(())
        noisy = centred(fixed) + expand_as(batch["sigma"], fixed) * batch["noise"]
        latent, _ = latent_of(network, self.precond, noisy, batch["sigma"], batch["moving"], fixed)
        return latent, (latent - batch["noise"]).square().mean()


def label_loss(moving: Tensor, fixed: Tensor, field: Tensor, classes: int | None = None) -> Tensor:
    """Soft Dice loss of label maps [B, 1, *S] (0 ... K), the moving one warped by the field; without the background.

    classes: K + 1 where the maps are some of a batch, of which all count the same labels; by default what the maps hold.
    """
    classes = classes or int(max(moving.max(), fixed.max())) + 1
    warped = warp(one_hot(moving, classes), field)
    return DiceLoss(include_background=False)(warped, one_hot(fixed, classes))


def label_overlap(labels: Tensor, truth: Tensor) -> Tensor:
    """Mean Dice [B] over the labels above 0 of integer maps [B, 1, *S] that one of the two has; NaN where neither has any."""
    classes = int(max(labels.max(), truth.max(), 1)) + 1
    pair = [one_hot(x, classes) for x in (labels, truth)]
    each = compute_dice(*pair, include_background=False, ignore_empty=False)
    present = (pair[0] + pair[1]).flatten(2).amax(2)[:, 1:] > 0
    return torch.where(present, each, torch.nan).nanmean(1)


class RegistrationValidation:
    """Registers a batch as inference does: mean ncc, ncc_before, folding, dice and dice_before; Dice is NaN without labels."""

    def __init__(self, precond: Precond | None, sigma: float = 0.001) -> None:
        self.precond, self.sigma = precond, sigma

    @torch.no_grad()
    def __call__(self, engine, batch: dict[str, Tensor]) -> dict:
        batch = {key: value.to(engine.state.device) for key, value in batch.items()}
        engine.network.eval()
        fixed, moving = batch["image"], batch["moving"]
        latent = registration_latent(engine.network, self.precond, moving, fixed, self.sigma)
        field = engine.network.deform(centred(moving), latent)
        figures = {
            "ncc": correlation(warp(moving, field), fixed),
            "ncc_before": correlation(moving, fixed),
            "folding": folding(field),
            "dice": fixed.new_full((1,), torch.nan),
            "dice_before": fixed.new_full((1,), torch.nan),
        }
        if "label" in batch:
            moved = warp(batch["moving_label"], field, nearest=True)
            figures["dice"] = label_overlap(moved, batch["label"])
            figures["dice_before"] = label_overlap(batch["moving_label"], batch["label"])
        engine.state.output = {key: float(value.nanmean()) for key, value in figures.items()}
        return engine.state.output
