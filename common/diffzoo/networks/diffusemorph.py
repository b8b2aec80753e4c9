"""The two networks of DiffuseMorph (Kim, Han & Ye 2022) as one, trained end to end; the diffusion deformable model too.

Inside, images lie in [-1, 1] (`centred`), as the diffusion is defined; everywhere else in [0, 1].
"""

import warnings

import torch
from monai.networks.blocks import DVF2DDF
from monai.networks.nets import VoxelMorphUNet
from torch import Tensor, nn
from torch.nn import functional as F

from diffzoo.diffusion.denoiser import expand_as
from diffzoo.diffusion.precond import Precond

from .unet import UNet, fold, pad_to_multiple


def centred(image: Tensor) -> Tensor:
    """From [0, 1] to [-1, 1]."""
    return 2 * image - 1


class DiffuseMorph(nn.Module):
    """Diffusion network G(x_t; t, m, f) with the package's interface, and deformation network D(m, s) beside it.

    x [B, 1, *S], c_noise [B], concat [B, 2, *S] (moving, fixed) -> [B, 1, *S], what the preconditioner's family predicts;
    `deform` gives the displacement. 2D and 3D, any size. channels, num_res_blocks, norm_num_groups and shuffle are those of
    `UNet`; deform_channels are those of MONAI's VoxelMorphUNet, in pairs of down and up, the last being the floor. It works on
    blocks of `deform_shuffle`^dims voxels, so the field is smooth below that. With `velocity` the deformation network gives a
    stationary velocity, which is integrated by `squarings` steps of scaling and squaring. The field is 0 before training. Without
    channels there is no diffusion network: what is left is VoxelMorph (Balakrishnan et al. 2019), the fixed image its latent.
    """

    def __init__(
        self,
        spatial_dims: int = 3,
        channels: tuple[int, ...] | None = (16, 32, 64),
        num_res_blocks: int = 1,
        norm_num_groups: int = 8,
        shuffle: int = 2,
        deform_channels: tuple[int, ...] = (32, 32, 32, 32, 48, 48),
        deform_shuffle: int = 2,
        velocity: bool = False,
        squarings: int = 6,
    ) -> None:
        super().__init__()
        self.diffusion = None
        if channels is not None:
            self.diffusion = UNet(
                spatial_dims=spatial_dims,
                in_channels=1,
                concat_channels=2,
                out_channels=1,
                channels=tuple(channels),
                num_res_blocks=num_res_blocks,
                norm_num_groups=norm_num_groups,
                num_head_channels=channels[-1] // max(1, channels[-1] // 32),  # of the attention at the bottom
                shuffle=shuffle,
            )
        self.deformation = VoxelMorphUNet(
            spatial_dims=spatial_dims,
            in_channels=2 * deform_shuffle**spatial_dims,
            unet_out_channels=deform_channels[1],
            channels=tuple(deform_channels),
            final_conv_channels=(deform_channels[1],),
            use_maxpool=False,
        )
        self.deform_shuffle, self.velocity, self.squarings = deform_shuffle, velocity, squarings
        self.multiple = deform_shuffle * 2 ** (len(deform_channels) // 2)
        last = self.deformation.net[-1].final_conv_out.conv
        nn.init.zeros_(last.weight)
        nn.init.zeros_(last.bias)

    def forward(self, x: Tensor, c_noise: Tensor | None = None, *, concat: Tensor | None = None) -> Tensor:
        if c_noise is None:  # an image alone: clean, and its own moving image
            c_noise, concat = x.new_zeros(len(x)), torch.cat([x, x], 1) if concat is None else concat
        return _quickly(self.diffusion, x, c_noise, concat=concat)

    def deform(self, moving: Tensor, latent: Tensor, back: tuple[Tensor, Tensor] | None = None) -> Tensor:
        """moving (in [-1, 1]) and latent [B, 1, *S] -> displacement [B, d, *S] in voxels, float32: m(p + u(p)) resembles f.

        back: image and latent of the same pair the other way round, whose velocity is taken off and the half of both integrated:
        so each direction is the inverse of the other. Raises ValueError for that without velocities.
        """
        size, coarse = moving.shape[2:], self._motion(moving, latent)
        if back is not None:
            if not self.velocity:
                raise ValueError("only a network of velocities registers symmetrically: a displacement has no half")
            coarse = (coarse - self._motion(*back)) / 2
        if self.velocity:
            coarse = _integrated(coarse, self.squarings)
        mode = "bilinear" if len(size) == 2 else "trilinear"
        factor = self.deform_shuffle
        field = F.interpolate(factor * coarse, scale_factor=factor, mode=mode) if factor > 1 else coarse
        return field[(..., *(slice(0, n) for n in size))]

    def _motion(self, image: Tensor, latent: Tensor) -> Tensor:
        """What the deformation network gives, on its own grid."""
        x = pad_to_multiple(torch.cat([image, latent.to(image.dtype)], 1), self.multiple)
        return _quickly(self.deformation, fold(x, self.deform_shuffle)).float()


def _quickly(network: nn.Module, x: Tensor, *others: Tensor, **more: Tensor) -> Tensor:
    """network(x, ...), of one small volume on a CPU as two alike: for a single one PyTorch leaves out its fast convolution."""
    if len(x) != 1 or x.ndim != 5 or x.device.type != "cpu" or torch.is_grad_enabled():
        return network(x, *others, **more)
    twice = [torch.cat([part, part]) for part in (x, *others)]
    return network(*twice, **{key: torch.cat([part, part]) for key, part in more.items()})[:1]


def _integrated(velocity: Tensor, steps: int) -> Tensor:
    # made anew each time: MONAI's layer keeps a grid of the device and dtype that it saw first
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        layer = DVF2DDF(steps, padding_mode="border")
    return layer(velocity)


def latent_of(
    network: nn.Module, precond: Precond, x: Tensor, sigma: Tensor, moving: Tensor, fixed: Tensor
) -> tuple[Tensor, Tensor]:
    """The latent s, the network's estimate of the noise in x = x0 + sigma n, and that of x0; both [B, 1, *S].

    x0 is `centred(fixed)` while training; moving and fixed [B, 1, *S] in [0, 1] are the conditions; sigma [B] > 0. With `eps_vp`
    s is the very output of the network, which at the lowest sigma keeps all its digits. Gradients go through.
    """
    skip, out, scale, label = (expand_as(c, x) for c in precond(sigma.to(x.dtype)))
    raw = network(scale * x, label.reshape(-1), concat=torch.cat([centred(moving), centred(fixed)], 1)).to(x.dtype)
    level = expand_as(sigma.to(x.dtype), x)
    return ((1 - skip) / level) * x - (out / level) * raw, skip * x + out * raw


def registration_latent(network: nn.Module, precond: Precond | None, moving: Tensor, fixed: Tensor, sigma: float) -> Tensor:
    """The latent [B, 1, *S] by which a pair is registered: that of the clean fixed image at the lowest level (sec. 3.3).

    Without a preconditioner, so without diffusion, it is the fixed image itself in [-1, 1].
    """
    if precond is None:
        return centred(fixed)
    level = torch.full((len(fixed),), sigma, dtype=fixed.dtype, device=fixed.device)
    return latent_of(network, precond, centred(fixed), level, moving, fixed)[0]
