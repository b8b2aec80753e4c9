"""Training batches of axial brain slices in several contrasts, some of which are given and others to be made."""

import math
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from diffzoo.errors import InputError
from diffzoo.imaging.heads import TOP
from diffzoo.tasks.translate.conditions import conditions, expand_channels
from diffzoo.tasks.translate.heads import LoadContrasts
from diffzoo.tasks.translate.moments import of_slices
from diffzoo.tasks.translate.roles import available, role_cases
from diffzoo.training.brains import LEAST_BRAIN, warped
from diffzoo.training.draws import BatchDataset


class ContrastSlices(BatchDataset):
    """Batches of slices of the contrasts that a list's people have; item i of epoch e is the same batch on every run.

    entries: single images, joined to people by `roles.role_cases`, or such cases ("weight": 1.0); a person with fewer than two
    contrasts teaches nothing and is left out. Which contrasts are given is drawn anew for each item: the number of those wanted
    evenly from 1 to all but one, then which; what a person lacks is neither given nor wanted. Augmentation: `brains.warped`, and
    a gamma and a smooth bias field of each contrast.
    Gives "image" [B, R, *size], what is wanted and what is given, and "concat" and "vector" as `conditions`. Raises InputError
    where nobody has two contrasts.
    """

    def __init__(
        self,
        entries: Sequence[Mapping],
        roles: Sequence[str],
        size: Sequence[int] = (96, 128),
        grid_mm: float = 1.5,
        batch_size: int = 8,
        batches: int = 100,
        seed: int = 0,
        augment: bool = True,
        align=None,
    ) -> None:
        super().__init__(batch_size, batches, seed)
        self.roles, self.size, self.augment = tuple(roles), tuple(size), augment
        load = LoadContrasts(roles, grid_mm, tuple(size), align=align)
        cases = [case for case in role_cases(entries, roles) if len(available(case, roles)) > 1]
        if not cases:
            raise InputError(
                f"no person of the list has two of {', '.join(roles)}: names tell what an image is, such as sub-01_t1"
            )
        people = [self._person(case, load) for case in cases]
        self.slices, self.facts, self.known = (torch.cat(parts) for parts in list(zip(*people, strict=True))[:3])
        self.weights = torch.cat([weight for *_, weight in people])

    def _person(self, case: Mapping, load: LoadContrasts) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Slices [N, R + 1, *size] (contrasts and brain, half precision), heights [N], known [N, R], weights [N]."""
        here = available(case, self.roles)
        data = load(dict(case) | {"given": "+".join(here)} if len(here) < len(self.roles) else _all_given(case, self.roles))
        contrasts = data["image"].as_tensor() + data["truth"].as_tensor()
        stack = torch.cat([contrasts, data["inside"].as_tensor().to(contrasts)]).movedim(-1, 0)
        starts = [(n - want) // 2 for n, want in zip(stack.shape[2:], self.size, strict=True)]
        stack = stack[:, :, starts[0] : starts[0] + self.size[0], starts[1] : starts[1] + self.size[1]]
        keep = stack[:, -1].flatten(1).mean(1) >= LEAST_BRAIN
        known = torch.tensor([float(role in here) for role in self.roles]).expand(int(keep.sum()), -1)
        weight = float(case.get("weight", 1.0)) / max(1, int(keep.sum()))
        return stack[keep].half(), data["position"][keep], known, torch.full((int(keep.sum()),), weight)

    def moments(self) -> Tensor:
        """`moments.moments` of the intensities of all slices, for the linear baselines."""
        return of_slices(self.slices, self.known)

    def _batch(self, generator: torch.Generator) -> dict[str, Tensor]:
        drawn = torch.multinomial(self.weights, self.batch_size, replacement=True, generator=generator)
        image, known = self.slices[drawn].float(), self.known[drawn]
        image = varied(image, generator) if self.augment else image
        image, inside = image[:, :-1], image[:, -1:]
        given, wanted = drawn_roles(known, generator)
        fields = conditions(image, given, wanted, inside, self.facts[drawn])
        return {"image": image * expand_channels(known, image), **fields}


def _all_given(case: Mapping, roles: Sequence[str]) -> dict:
    """A complete case with its last role as what is wanted: both parts together are the person."""
    return dict(case) | {"given": "+".join(roles[:-1])}


def drawn_roles(known: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """given and wanted [B, R] for items whose known [B, R] roles are at least two: 1 to all but one of them are wanted."""
    order = torch.rand(known.shape, generator=generator).masked_fill(known == 0, 2.0).argsort(1).argsort(1)
    count = known.sum(1)
    missing = 1 + (torch.rand(len(known), generator=generator) * (count - 1)).floor().clamp(max=(count - 2).clamp(min=0))
    wanted = (order < missing[:, None]).to(known)
    return known - wanted, wanted


def varied(image: Tensor, generator: torch.Generator) -> Tensor:
    """Slices [B, R + 1, H, W], the last channel a mask, bent and turned together; each contrast has a gamma and shading."""
    x = warped(image, generator)
    x, mask = x[:, :-1], (x[:, -1:] > 0.5).to(x)
    count, roles = x.shape[:2]
    gamma = (math.log(1.12) * (2 * torch.rand((count, roles, 1, 1), generator=generator) - 1)).exp()
    field = F.interpolate(
        0.06 * torch.randn((count, roles, 3, 3), generator=generator), x.shape[2:], mode="bicubic", align_corners=True
    )
    x = torch.where(x > 0, x.clamp(min=1e-6) ** gamma * field.exp(), 0).clamp(0, TOP)
    return torch.cat([x * mask, mask], 1)
