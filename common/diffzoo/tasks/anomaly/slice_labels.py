"""Whether each slice holds a lesion at all, as a classifier of noisy images sees it."""

import json
from collections.abc import Mapping, Sequence

import torch
from monai.transforms import Transform
from torch import Tensor, nn

from diffzoo.diffusion.denoiser import Denoiser
from diffzoo.diffusion.noise import Gaussian, noised, stream
from diffzoo.diffusion.precond import Precond
from diffzoo.imaging.geometry import plain
from diffzoo.networks.label_tokens import DISEASED
from diffzoo.tasks.anomaly.counterfactual import classify

SURE = 0.5  # of the probability, from which a slice counts as diseased in words


@torch.no_grad()
def disease_probability(
    classifier: nn.Module,
    precond: Precond,
    image: Tensor,
    vector: Tensor,
    concat: Tensor,
    index: Sequence[int],
    levels: Sequence[float] = (0.05, 0.1, 0.2),
    seed: int = 0,
) -> Tensor:
    """p(diseased | slice) [D] of slices [D, 1, H, W]: the mean of the log-odds at some noise levels, noise by slice number.

    vector [D, E] and concat [D, 1, H, W] are their conditions. Slice i at level k draws from stream (seed, i, k).
    """
    denoiser, odds = Denoiser(classifier, precond), torch.zeros(len(image))
    for k, level in enumerate(levels):
        noisy = noised(image, level, Gaussian([stream(seed, i, k) for i in index]))
        sigma = torch.full((len(image),), float(level), dtype=image.dtype)
        log_p = classify(classifier, denoiser, noisy, sigma, vector, concat)
        odds += (log_p[:, DISEASED] - log_p[:, 1 - DISEASED]) / len(levels)
    return odds.sigmoid()


class SliceLabels(Transform):
    """Adds "slice_probability" [D], p(diseased) of each slice of "image" [1, H, W, D], and tells it in the report.

    An item needs "vector" [D, E], "slice_index" [D] and "brain" as `LoadHead` makes them, and "acquisition" of `NameMaps`.
    """

    def __init__(
        self, classifier: nn.Module, precond: Precond, levels: Sequence[float] = (0.05, 0.1, 0.2), seed: int = 0
    ) -> None:
        self.classifier, self.precond, self.levels, self.seed = classifier, precond, tuple(levels), seed

    def __call__(self, data: Mapping) -> dict:
        image, brain = (plain(data[key]).cpu().float().movedim(-1, 0) for key in ("image", "brain"))
        vector, index = plain(data["vector"]).cpu().float(), [int(i) for i in plain(data["slice_index"]).flatten()]
        probability = disease_probability(
            self.classifier.cpu(), self.precond, image, vector, brain, index, self.levels, self.seed
        )
        facts = json.loads(data["acquisition"]) if "acquisition" in data else {}
        called = int((probability >= SURE).sum())
        facts |= {"slice_probability": [round(float(p), 3) for p in probability]}
        facts["words"] = ", ".join([facts.get("words", ""), f"{called} of {len(probability)} slices called diseased"]).lstrip(
            ", "
        )
        return dict(data) | {"slice_probability": probability, "acquisition": json.dumps(facts)}
