"""MR and CT of one head from the shares of its tissues: tables of shades and HU, texture, shading, noise, all drawn anew."""

import torch
from torch import Tensor
from torch.nn import functional as F

from diffzoo.imaging.paired_heads import AIR, CORTICAL

TOP = 2.0  # brighter MR is cut
# outside, air, muscle, fat, cortical bone, marrow, fluid, grey and white matter; the 95th percentile of the head is about 1
T1 = (0.0, 0.01, 0.38, 1.0, 0.05, 0.6, 0.14, 0.42, 0.55)
T2 = (0.0, 0.01, 0.26, 0.62, 0.05, 0.42, 1.0, 0.52, 0.4)
HU = (-1000.0, -990.0, 52.0, -95.0, 1050.0, 280.0, 6.0, 38.0, 29.0)
HU_SPREAD = (0.0, 5.0, 5.0, 8.0, 140.0, 70.0, 2.0, 1.5, 1.5)  # from one head to the next
HU_TEXTURE = (0.0, 5.0, 8.0, 8.0, 90.0, 60.0, 2.0, 2.0, 2.0)  # from one place to the next
MR_SPREAD, MR_TEXTURE = 0.13, 0.05  # relative
NOISE = (0.008, 0.035)  # of the MR, standard deviation
HU_NOISE = (5.0, 15.0)
UNSURE = 1.5  # how far a draw goes from the likelier of air and bone, in units of the log odds


def render(maps: Tensor, air: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """(T1 and T2 [B, 2, *S], about [0, 1], CT [B, 1, *S] in HU) of shares maps [B, 9, *S] of tissues; S of 2 or 3 axes.

    air [B, 1, *S]: `paired_heads.air_share`. Each item draws its contrast, its HU, how far air goes among dark places, texture,
    shading and Rician noise (Gudbjartsson and Patz, MRM 1995). What is outside the head is 0 and -1000 HU.
    """
    maps = aired(maps, air, generator)
    mr = torch.cat([_shown(maps, table, generator) for table in (T1, T2)], 1)
    inside = maps[:, :1] < 0.5
    return torch.where(inside, mr, 0.0).clamp(0, TOP), torch.where(inside, hounsfield_of(maps, generator), -1000.0)


def aired(maps: Tensor, air: Tensor, generator: torch.Generator) -> Tensor:
    """Shares maps [B, 9, *S] with bone and air drawn anew where air [B, 1, *S] is neither 0 nor 1."""
    odds = torch.logit(air.clamp(1e-4, 1 - 1e-4))
    share = torch.sigmoid((odds + UNSURE * smooth_noise(maps[:, :1], 12, generator)) / 0.4)
    share = torch.where((air > 1e-3) & (air < 1 - 1e-3), share, air)
    dark = maps[:, AIR : AIR + 1] + maps[:, CORTICAL : CORTICAL + 1]
    shares = maps.clone()
    shares[:, AIR : AIR + 1], shares[:, CORTICAL : CORTICAL + 1] = dark * share, dark * (1 - share)
    return shares


def hounsfield_of(maps: Tensor, generator: torch.Generator) -> Tensor:
    """CT [B, 1, *S] in HU: the mixture of what each tissue has in this head, at this place, with noise."""
    wide = [len(maps), len(HU), *[1] * (maps.ndim - 2)]
    levels = torch.tensor(HU) + torch.tensor(HU_SPREAD) * torch.randn(len(maps), len(HU), generator=generator)
    texture = smooth_noise(maps[:, :1], 2.5, generator) * torch.tensor(HU_TEXTURE).view(1, *wide[1:])
    noise = torch.randn(maps[:, :1].shape, generator=generator) * _between(maps, HU_NOISE, generator)
    return (maps * (levels.view(wide) + texture)).sum(1, keepdim=True) + noise


def _shown(maps: Tensor, table: tuple[float, ...], generator: torch.Generator) -> Tensor:
    """One contrast [B, 1, *S]."""
    wide = [len(maps), len(table), *[1] * (maps.ndim - 2)]
    levels = torch.tensor(table) * (MR_SPREAD * torch.randn(len(maps), len(table), generator=generator)).exp()
    clean = (maps * levels.view(wide)).sum(1, keepdim=True)
    clean = clean * (1 + MR_TEXTURE * smooth_noise(clean, 2.5, generator)) * (0.15 * smooth_noise(clean, 40, generator)).exp()
    sd = _between(maps, NOISE, generator)
    first, second = (sd * torch.randn(clean.shape, generator=generator) for _ in range(2))
    return ((clean + first).square() + second.square()).sqrt()


def _between(like: Tensor, bounds: tuple[float, float], generator: torch.Generator) -> Tensor:
    """An even draw [B, 1, ...] for each item."""
    share = torch.rand([len(like), *[1] * (like.ndim - 1)], generator=generator)
    return bounds[0] + (bounds[1] - bounds[0]) * share


def smooth_noise(like: Tensor, step: float, generator: torch.Generator) -> Tensor:
    """Noise [B, 1, *S] of about unit variance that changes over `step` voxels, for `like` [B, C, *S]."""
    size = like.shape[2:]
    knots = [max(2, 1 + round(n / step)) for n in size]
    field = torch.randn((len(like), 1, *knots), generator=generator)
    return F.interpolate(field, size, mode="bicubic" if len(size) == 2 else "trilinear", align_corners=True)
