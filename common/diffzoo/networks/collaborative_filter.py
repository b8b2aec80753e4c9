"""Similar cooperative filtering of CoLa-Diff: patches of a feature map that look alike are denoised together, as in BM3D.

Dabov et al., IEEE TIP 2007 (group, transform, shrink, invert, aggregate); Jiang et al., MICCAI 2023. The authors' code holds no
runnable form of it, so this is a reading: thresholds are learnt, and a gate that begins at 0 lets the features pass at first.
"""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class CollaborativeFilter(nn.Module):
    """h [B, C, H, W] -> h + g (filtered(h) - h), of the same shape.

    Patches of `patch` pixels, a power of 2, lie `stride` apart; each is stacked with the nearest (L2) of the others whose corners
    lie within `window` / 2 pixels, `neighbours` in all, itself among them. The stack is transformed by a cosine transform along
    it and Haar's within the patches, shrunk by a learnt soft threshold for each coefficient, brought back, and averaged where
    patches overlap, a stack of few coefficients counting more. Who is near is not differentiated. Maps smaller than a patch, and
    all where it is not `enabled`, pass as they are.
    """

    def __init__(
        self,
        patch: int = 4,
        stride: int = 3,
        neighbours: int = 4,
        window: int = 16,
        threshold: float = 0.05,
        enabled: bool = True,
    ) -> None:
        super().__init__()
        if patch < 1 or patch & (patch - 1):
            raise ValueError(f"the Haar transform needs a patch of 1, 2, 4, 8 ... pixels, not {patch}")
        self.patch, self.stride, self.neighbours, self.window, self.enabled = patch, stride, neighbours, window, enabled
        level = math.log(math.expm1(threshold))  # softplus of it is the threshold
        self.theta = nn.Parameter(torch.full((neighbours, patch, patch), level))
        self.gate = nn.Parameter(torch.zeros(()))
        self.register_buffer("cosine", cosine_matrix(neighbours), persistent=False)
        self.register_buffer("haar", haar_matrix(patch), persistent=False)

    def forward(self, h: Tensor) -> Tensor:
        if not self.enabled or min(h.shape[2:]) < self.patch:
            return h
        return h + self.gate * (self.filtered(h) - h)

    def filtered(self, h: Tensor) -> Tensor:
        """The filter without its gate, [B, C, H, W]."""
        size, pads = h.shape[2:], [(-(n - self.patch)) % self.stride for n in h.shape[2:]]
        wide = F.pad(h, (0, pads[1], 0, pads[0]), mode="replicate")
        channels, height, width = wide.shape[1:]
        patches = F.unfold(wide, self.patch, stride=self.stride).mT  # [B, L, C p p]
        near = self._near(patches.detach(), (height, width))
        stacks = torch.gather(
            patches[:, None].expand(-1, near.shape[1], -1, -1), 2, near[..., None].expand(-1, -1, -1, patches.shape[2])
        )
        shape = (*near.shape, channels, self.patch, self.patch)
        cleaned, weight = self._shrunk(stacks.view(shape))
        values = (cleaned.flatten(3) * weight[..., None, None]).flatten(1, 2)
        places = near.flatten(1)[..., None].expand_as(values)
        total = torch.zeros_like(patches).scatter_add(1, places, values)
        shares = torch.zeros_like(patches).scatter_add(
            1, places, weight[..., None, None].expand_as(cleaned.flatten(3)).flatten(1, 2)
        )
        total, shares = (F.fold(x.mT, (height, width), self.patch, stride=self.stride) for x in (total, shares))
        return (total / shares.clamp(min=1e-6))[..., : size[0], : size[1]]

    def _near(self, patches: Tensor, size: tuple[int, int]) -> Tensor:
        """Numbers [B, L, k] of the patches nearest to each, within its window."""
        counts = [(n - self.patch) // self.stride + 1 for n in size]
        rows, columns = (torch.arange(n, device=patches.device) * self.stride for n in counts)
        corners = torch.stack(torch.meshgrid(rows, columns, indexing="ij"), -1).reshape(-1, 2)
        apart = (corners[:, None] - corners).abs().amax(-1) > self.window / 2
        distance = torch.cdist(patches, patches).masked_fill(apart, torch.inf)
        count = min(self.neighbours, distance.shape[1])
        near = distance.topk(count, largest=False).indices
        return near if count == self.neighbours else near.repeat(1, 1, self.neighbours)[..., : self.neighbours]

    def _shrunk(self, stacks: Tensor) -> tuple[Tensor, Tensor]:
        """Stacks [B, L, k, C, p, p] after the shrinkage of their coefficients, and the weight [B, L] of each."""
        coefficients = torch.einsum("ij,bljcxy,ux,vy->blicuv", self.cosine, stacks, self.haar, self.haar)
        limit = F.softplus(self.theta)[:, None].clone()
        limit[0, :, 0, 0] = 0.0  # the mean of a stack is no noise
        kept = coefficients.sign() * (coefficients.abs() - limit).clamp(min=0)
        weight = 1 / (1 + (kept != 0).float().mean((2, 3, 4, 5)) * kept[0, 0].numel() / kept.shape[3])
        return torch.einsum("ij,blicuv,ux,vy->bljcxy", self.cosine, kept, self.haar, self.haar), weight.detach()


def cosine_matrix(n: int) -> Tensor:
    """The orthonormal cosine transform [n, n] (DCT-II), a row a frequency."""
    k, i = torch.arange(n, dtype=torch.float64)[:, None], torch.arange(n, dtype=torch.float64)
    rows = math.sqrt(2 / n) * torch.cos(math.pi * (2 * i + 1) * k / (2 * n))
    rows[0] = 1 / math.sqrt(n)
    return rows.float()


def haar_matrix(n: int) -> Tensor:
    """The orthonormal Haar transform [n, n] of a power of 2, the mean first."""
    rows = torch.ones(1, 1, dtype=torch.float64)
    while len(rows) < n:
        rows = torch.cat(
            [torch.kron(rows, torch.tensor([[1.0, 1.0]])), torch.kron(torch.eye(len(rows)), torch.tensor([[1.0, -1.0]]))]
        )
    return (rows / rows.norm(dim=1, keepdim=True)).float()


class Followed(nn.Module):
    """A block of MONAI's U-Net with a filter after it."""

    def __init__(self, block: nn.Module, after: nn.Module) -> None:
        super().__init__()
        self.block, self.after = block, after

    @property
    def resnets(self) -> nn.ModuleList:
        """Those of the block, by which the U-Net counts its skips."""
        return self.block.resnets

    def forward(self, *args, **more) -> Tensor:
        return self.after(self.block(*args, **more))
