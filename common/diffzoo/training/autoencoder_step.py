"""The training step of an autoencoder for latent diffusion and its validation, as `iteration_update` of MONAI's engines."""

import torch
from monai.losses import DiceLoss, GeneralizedDiceLoss
from monai.metrics import compute_dice
from monai.networks.utils import one_hot
from torch import Tensor, nn
from torch.nn import functional as F

from diffzoo.diffusion.noise import stream, white
from diffzoo.training.adversarial import Companion, gaussian_kl, judged, least_squares, move
from diffzoo.training.distributed import place, shares


class AutoencoderStep:
    """One step of reconstruction + kl_weight KL + adversarial_weight (D(x') - 1)^2 on `batch["image"]` [B, K, *S].

    x' is decoded from a sample of the posterior; the engine's loss_function(x', x) judges it, such as L1, or `soft_label_loss`
    for label maps. KL is the mean over latent numbers, in nats, so its weight holds for any size: the usual 1e-6 of the sum over
    3 x 64 x 64 latents is 0.012 here (Rombach et al. 2022; Fernandez et al. 2022). The discriminator's part, of least squares,
    and its own training begin after `warmup` steps. The noise of step k comes from (seed, k) alone. Several processes share the
    batch. Raises ArithmeticError, before the weights move, when a loss or a gradient is not finite. Gives loss, reconstruction,
    kl and, where they take part, adversarial and discriminator.
    """

    def __init__(
        self,
        kl_weight: float = 0.012,
        discriminator: Companion | None = None,
        adversarial_weight: float = 0.005,
        warmup: int = 0,
        seed: int = 0,
        clip_grad: float = 1.0,
        autocast: str | None = None,
    ) -> None:
        self.kl_weight, self.discriminator, self.adversarial_weight = kl_weight, discriminator, adversarial_weight
        self.warmup, self.seed, self.clip_grad = warmup, seed, clip_grad
        self.autocast = getattr(torch, autocast) if autocast else None

    def __call__(self, engine, batch: dict[str, Tensor]) -> dict:
        images = batch["image"].to(engine.state.device)
        [part] = shares(len(images))
        x, portion = images[part], len(images[part]) * place()[1] / len(images)
        against = self.discriminator if engine.state.iteration > self.warmup else None
        pairs = [(engine.network, engine.optimizer)]
        pairs += [(against.network, against.optimizer)] if against is not None else []
        for network, optimizer in pairs:
            network.train()
            optimizer.zero_grad(set_to_none=True)
        with torch.autocast(x.device.type, self.autocast, enabled=self.autocast is not None):
            decoded, terms = self._reconstructed(engine, x, len(images), part)
            if against is not None:
                terms["adversarial"] = least_squares(judged(against.frozen(decoded))[0], 1.0)
                terms["discriminator"] = _doubt(against.network, x, decoded.detach())
        loss = terms["reconstruction"] + self.kl_weight * terms["kl"]
        if against is not None:
            loss = loss + self.adversarial_weight * terms["adversarial"]
            (portion * terms["discriminator"]).backward()
        (portion * loss).backward()
        figures = {key: portion * value for key, value in ({"loss": loss} | terms).items()}
        engine.state.output = move(engine, figures, pairs, self.clip_grad)
        return engine.state.output

    def _reconstructed(self, engine, x: Tensor, count: int, part: slice) -> tuple[Tensor, dict[str, Tensor]]:
        """What a sample of the posterior is decoded to, its loss, and the divergence of the posterior."""
        generator = torch.Generator().manual_seed(stream(self.seed, engine.state.iteration))
        mean, sd = engine.network.encode(x)
        noise = white(mean.new_empty(count, *mean.shape[1:]), generator)[part].to(mean)
        decoded = engine.network.decode(mean + sd * noise, x.shape[2:])
        return decoded, {"reconstruction": engine.loss_function(decoded.float(), x), "kl": gaussian_kl(mean, sd).mean()}


def _doubt(discriminator: nn.Module, real: Tensor, fake: Tensor) -> Tensor:
    """The discriminator's loss."""
    real_scores, fake_scores = (judged(discriminator(x))[0] for x in (real, fake))
    return (least_squares(real_scores, 1.0) + least_squares(fake_scores, 0.0)) / 2


def soft_label_loss(logits: Tensor, truth: Tensor) -> Tensor:
    """Generalised Dice + Dice + 0.1 L1 + divergence of soft label maps [B, K, *S], partitions of unity; 0 where they are equal.

    Volumes are those of the whole batch: of a class that a single slice lacks, and of the slivers of one, Dice would tell nothing
    but noise. (Fernandez et al. 2022; Sudre et al. 2017; for soft labels Wang et al. 2023.)
    """
    overlap = [kind(batch=True, soft_label=True)(logits, truth) for kind in (GeneralizedDiceLoss, DiceLoss)]
    divergence = F.kl_div(logits.clamp(min=1e-6).log(), truth, reduction="none").sum(1).mean()
    return sum(overlap) + 0.1 * F.l1_loss(logits, truth) + divergence


class AutoencoderValidation:
    """What is left of a batch by way of the mean latent: {"psnr": in dB for range 1}; of label maps {"dice", "dice_1", ...} too.

    Dice is that of the likeliest labels above 0, the mean over them, and of each; NaN where a batch has none of it.
    """

    @torch.no_grad()
    def __call__(self, engine, batch: dict[str, Tensor]) -> dict:
        x = batch["image"].to(engine.state.device)
        engine.network.eval()
        decoded = engine.network.decode(engine.network.encode(x)[0], x.shape[2:])
        mean_square = (decoded - x).square().flatten(1).mean(1).clamp(min=1e-12)
        figures = {"psnr": float(-10 * mean_square.log10().mean())}
        if (labels := x.shape[1]) > 1:
            pair = [one_hot(maps.argmax(1, keepdim=True), labels) for maps in (decoded, x)]
            each = compute_dice(*pair, include_background=False).nanmean(0)
            figures |= {"dice": float(each.nanmean())} | {f"dice_{k}": float(value) for k, value in enumerate(each, 1)}
        engine.state.output = figures
        return engine.state.output
