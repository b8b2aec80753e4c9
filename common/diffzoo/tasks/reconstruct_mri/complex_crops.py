"""Training batches of complex MR images: crops of magnitude volumes under a random smooth phase, and their undersampled twins."""

from collections.abc import Sequence

import torch
from torch import Tensor

from diffzoo.diffusion.noise import stream
from diffzoo.imaging.simulate import birdcage_maps, phase_map
from diffzoo.operators.fourier import SenseFourier, pairs_of, uncentre
from diffzoo.operators.masks import make_mask
from diffzoo.training.crops import SliceCrops


class ComplexCrops(SliceCrops):
    """Batches {"image"} of crops as complex images [B, 2, crop, crop] (Re, Im): what several coils see, combined by their maps.

    Each crop gets a phase of its own, a quadratic polynomial of at most `phase` rad standard deviation about a random constant;
    a share of `aligned` of them a fifth of that about 0, as coil maps leave it that carry the image's phase themselves.
    """

    def __init__(self, files: Sequence[str], phase: float = 1.0, aligned: float = 0.5, **options) -> None:
        super().__init__(files, **options)
        self.phase, self.aligned = phase, aligned

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        magnitude = super().__getitem__(index)["image"]
        generator = self._generator(index)
        return {"image": pairs_of(torch.stack([image * self._phase(image.shape[1:], generator) for image in magnitude]))}

    def _generator(self, index: int) -> torch.Generator:
        return torch.Generator().manual_seed(stream(self.seed, self.epoch, index))

    def _phase(self, shape: Sequence[int], generator: torch.Generator) -> Tensor:
        strength, turn, kind = torch.rand(3, generator=generator).tolist()
        if kind < self.aligned:
            return phase_map(shape, generator, self.phase * strength / 5)
        return phase_map(shape, generator, self.phase * strength) * torch.exp(2j * torch.pi * torch.tensor(turn))


class UndersampledCrops(ComplexCrops):
    """Batches {"image", "zero_filled"}, both [B, 2, crop, crop]: complex crops, and A^T A of them under one kind of mask.

    `coils` birdcage coils see the crop; the mask (`operators.masks.make_mask`, lines along the last axis) is drawn for each.
    Noise of `noise_sd` is on the k-space. It teaches a supervised network, which then knows that acquisition and no other.
    """

    def __init__(
        self,
        files: Sequence[str],
        mask: str = "equispaced",
        acceleration: float = 4.0,
        center_fraction: float = 0.08,
        coils: int = 4,
        noise_sd: float = 0.0,
        **options,
    ) -> None:
        super().__init__(files, **options)
        self.acquisition, self.noise_sd = (mask, acceleration, center_fraction), noise_sd
        self.maps = pairs_of(birdcage_maps(coils, (self.crop, self.crop))[None])

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        image, generator = super().__getitem__(index)["image"], self._generator(-1 - index)
        kind, acceleration, center = self.acquisition
        drawn = [make_mask(kind, image.shape[2:], acceleration, center, generator) for _ in image]
        op = SenseFourier(uncentre(torch.stack(drawn))[:, None], self.maps)
        y = op.A(image)
        y = y + self.noise_sd * torch.randn(y.shape, generator=generator)
        return {"image": image, "zero_filled": op.AT(y)}
