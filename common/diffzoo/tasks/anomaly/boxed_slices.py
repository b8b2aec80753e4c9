"""Training batches and validation of patched diffusion: brain slices, each with a box for the noise."""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.utils.data import Dataset

from diffzoo.diffusion.noise import NoiseDraw, stream, white
from diffzoo.diffusion.patches import noised_in
from diffzoo.training.brains import BrainSlices
from diffzoo.training.draws import batch_generator
from diffzoo.training.steps import conditions

BOX_STREAM = 7  # keeps the draws of the boxes apart from those of the slices


class BoxedSlices(Dataset):
    """`BrainSlices` with a box a slice: "concat" [B, 2, *size] holds the brain mask and the box, 0 or 1.

    sides: lengths in voxels among which that of a square box is drawn, evenly; its middle is a voxel of the brain, and at the
    edge of the field it is moved inside. Epoch and seed are those of the slices. Raises ValueError for
    sides that do not fit the field.
    """

    def __init__(self, slices: BrainSlices, sides: Sequence[int] = (24, 32, 40, 48, 56)) -> None:
        if not sides or min(sides) < 1 or max(sides) > min(slices.size):
            raise ValueError(f"sides of boxes lie between 1 and {min(slices.size)} voxels, not {list(sides)}")
        self.slices, self.sides = slices, tuple(sides)

    def __len__(self) -> int:
        return len(self.slices)

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        batch = self.slices[index]
        generator = batch_generator(stream(self.slices.seed, BOX_STREAM), self.slices.epoch, len(self), index)
        brain = batch["concat"]
        boxes = torch.stack([self._box(mask[0], generator) for mask in brain])[:, None]
        return batch | {"concat": torch.cat([brain, boxes], 1)}

    def _box(self, brain: Tensor, generator: torch.Generator) -> Tensor:
        side = self.sides[int(torch.randint(len(self.sides), (1,), generator=generator))]
        weights = brain.flatten() if brain.any() else torch.ones(brain.numel())
        middle = int(torch.multinomial(weights, 1, generator=generator))
        box = torch.zeros_like(brain)
        place = divmod(middle, brain.shape[1])
        top, left = (min(max(m - side // 2, 0), n - side) for m, n in zip(place, brain.shape, strict=True))
        box[top : top + side, left : left + side] = 1
        return box


class PatchValidation:
    """PSNR in the boxes of one call of the denoiser at fixed noise levels, on fixed noise: {"psnr": mean in dB for range 1}."""

    def __init__(self, levels: Sequence[float] = (0.2, 0.4, 0.8), seed: int = 0, noise: NoiseDraw | None = None) -> None:
        self.levels, self.seed, self.noise = tuple(levels), seed, noise or white

    @torch.no_grad()
    def __call__(self, engine, batch: dict[str, Tensor]) -> dict:
        x0 = batch["image"].to(engine.state.device)
        engine.network.eval()
        generator = torch.Generator().manual_seed(stream(self.seed, engine.state.iteration))
        noise, given = self.noise(x0, generator).to(x0.device), conditions(batch, x0.device)
        box, values = given["concat"][:, 1:], []
        for level in self.levels:
            sigma = torch.full((len(x0),), level, device=x0.device)
            error = engine.inferer(noised_in(x0, sigma, noise, box), engine.network, sigma=sigma, **given) - x0
            mean = (error.square() * box).flatten(1).sum(1) / box.flatten(1).sum(1)
            values.append(-10 * mean.clamp(min=1e-12).log10().mean())
        engine.state.output = {"psnr": float(sum(values) / len(values))}
        return engine.state.output
