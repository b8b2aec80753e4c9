"""The training step of a SPADE image generator and its validation, as `iteration_update` of MONAI's engines."""

import torch
from torch import Tensor
from torch.nn import functional as F

from diffzoo.diffusion.noise import stream, white
from diffzoo.training.adversarial import Companion, feature_distance, gaussian_kl, hinge, judged, move, unconvinced
from diffzoo.training.distributed import place, shares

OPPOSED = ("adversarial", "features")  # terms of the discriminator


class SpadeStep:
    """One step of the generator G(maps, z), z a sample of the code of another slice, against the image that the maps belong to.

    batch: "label" [B, K, *S] (soft maps), "image" [B, C, *S] (what they were), "style" [B, C, *S] (a different slice of the same
    volume, so that anatomy cannot go by way of the code) and "modality" [B] (0, 1, ...). The loss is the sum of
    - minus the score of the discriminator, which sees maps and image together and learns by the hinge loss;
    - feature_weight x distance of its features between fake and real, in place of those of a network that is to be downloaded;
    - kl_weight x KL of the code, the sum over its numbers;
    - with a classifier: modality_weight x cross-entropy of the fake, and perceptual_weight x distance of the classifier's
      features; it learns from the real images alone, in the same steps;
    - anchor_weight x the engine's loss_function(fake, image), such as L1.
    (Park et al. 2019; Fernandez et al. 2022, whose weights are the defaults but for the last two.) In the first `warmup` steps
    the terms of the discriminator are left out: until the code means something, it is cheaper to ignore it. The noise of step k
    comes from (seed, k) alone. Several processes share the batch. Raises ArithmeticError, before the weights move, when a loss
    or a gradient is not finite. Gives loss, its terms, and the losses of discriminator and classifier.
    """

    def __init__(
        self,
        discriminator: Companion,
        classifier: Companion | None = None,
        feature_weight: float = 10.0,
        kl_weight: float = 0.05,
        modality_weight: float = 2.5,
        perceptual_weight: float = 1.0,
        anchor_weight: float = 10.0,
        warmup: int = 0,
        seed: int = 0,
        clip_grad: float = 10.0,
        autocast: str | None = None,
    ) -> None:
        self.discriminator, self.classifier, self.seed, self.clip_grad = discriminator, classifier, seed, clip_grad
        self.warmup = warmup
        self.weights = {
            "adversarial": 1.0,
            "features": feature_weight,
            "kl": kl_weight,
            "modality": modality_weight,
            "perceptual": perceptual_weight,
            "anchor": anchor_weight,
        }
        self.autocast = getattr(torch, autocast) if autocast else None

    def __call__(self, engine, batch: dict[str, Tensor]) -> dict:
        count = len(batch["image"])
        [part] = shares(count)
        batch = {key: batch[key][part].to(engine.state.device) for key in ("image", "label", "style", "modality") if key in batch}
        portion = len(batch["image"]) * place()[1] / count
        learners = [learner for learner in (self.discriminator, self.classifier) if learner is not None]
        pairs = [(engine.network, engine.optimizer)] + [(learner.network, learner.optimizer) for learner in learners]
        for network, optimizer in pairs:
            network.train()
            optimizer.zero_grad(set_to_none=True)
        with torch.autocast(batch["image"].device.type, self.autocast, enabled=self.autocast is not None):
            fake, kl = self._painted(engine, batch, count, part)
            taught, shown = self._teach(batch, fake.detach())
            terms = self._terms(engine, batch, fake, shown) | {"kl": kl}
            early = engine.state.iteration <= self.warmup
            loss = sum(self.weights[key] * value for key, value in terms.items() if not (early and key in OPPOSED))
        (portion * loss).backward()
        (portion * sum(taught.values())).backward()
        figures = {key: portion * value for key, value in ({"loss": loss} | terms | taught).items()}
        engine.state.output = move(engine, figures, pairs, self.clip_grad)
        return engine.state.output

    def _painted(self, engine, batch: dict[str, Tensor], count: int, part: slice) -> tuple[Tensor, Tensor]:
        """The fake image, and the divergence of the code that it was painted with."""
        generator = torch.Generator().manual_seed(stream(self.seed, engine.state.iteration))
        mean, sd = engine.network.encode(batch["style"])
        noise = white(mean.new_empty(count, mean.shape[1]), generator)[part].to(mean)
        return engine.network(batch["label"], mean + sd * noise), gaussian_kl(mean, sd).sum(1).mean()

    def _teach(self, batch: dict[str, Tensor], fake: Tensor) -> tuple[dict[str, Tensor], dict[str, list[Tensor]]]:
        """Losses of discriminator and classifier, and their features of the real image."""
        real_scores, features = judged(self.discriminator.network(_pair(batch, batch["image"])))
        fake_scores, _ = judged(self.discriminator.network(_pair(batch, fake)))
        taught, shown = {"discriminator": hinge(real_scores, 1.0) + hinge(fake_scores, -1.0)}, {"features": features}
        if self.classifier is not None:
            *layers, logits = self.classifier.network(batch["image"])
            taught["classifier"] = F.cross_entropy(logits.float(), batch["modality"].long())
            shown["perceptual"] = layers
        return taught, shown

    def _terms(self, engine, batch: dict[str, Tensor], fake: Tensor, shown: dict[str, list[Tensor]]) -> dict[str, Tensor]:
        """What the generator is to make small; discriminator and classifier are constants in it."""
        scores, features = judged(self.discriminator.frozen(_pair(batch, fake)))
        terms = {
            "adversarial": unconvinced(scores),
            "features": feature_distance(features, shown["features"]),
            "anchor": engine.loss_function(fake.float(), batch["image"]),
        }
        if self.classifier is not None:
            *layers, logits = self.classifier.frozen(fake)
            terms["modality"] = F.cross_entropy(logits.float(), batch["modality"].long())
            terms["perceptual"] = feature_distance(layers, shown["perceptual"])
        return terms


def _pair(batch: dict[str, Tensor], image: Tensor) -> Tensor:
    return torch.cat([batch["label"].to(image), image], 1)


class SpadeValidation:
    """Paints a batch with the mean code of "style": {"psnr": to the image, in dB for range 1, "modality": share told right}.

    The second needs a classifier.
    """

    def __init__(self, classifier: Companion | None = None) -> None:
        self.classifier = classifier

    @torch.no_grad()
    def __call__(self, engine, batch: dict[str, Tensor]) -> dict:
        batch = {key: value.to(engine.state.device) for key, value in batch.items()}
        engine.network.eval()
        fake = engine.network(batch["label"], engine.network.encode(batch["style"])[0])
        mean_square = (fake - batch["image"]).square().flatten(1).mean(1).clamp(min=1e-12)
        figures = {"psnr": float(-10 * mean_square.log10().mean())}
        if self.classifier is not None:
            guess = self.classifier.frozen(fake)[-1].argmax(1)
            figures["modality"] = float((guess == batch["modality"]).float().mean())
        engine.state.output = figures
        return engine.state.output
