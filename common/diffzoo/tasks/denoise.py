"""One call of the denoiser behind MONAI's inferer protocol: what training and validation use."""

from monai.inferers import Inferer
from torch import Tensor, nn

from diffzoo.diffusion.denoiser import Denoiser
from diffzoo.diffusion.precond import Precond


class DenoiseInferer(Inferer):
    """inferer(x [B, C, *S], network, sigma=[B]) -> estimate of x0 [B, C, *S]."""

    def __init__(self, precond: Precond, autocast: str | None = None) -> None:
        super().__init__()
        self.precond, self.autocast = precond, autocast

    def denoiser(self, network: nn.Module) -> Denoiser:
        """The network seen through this inferer's preconditioner."""
        return Denoiser(network, self.precond, self.autocast)

    def __call__(self, inputs: Tensor, network: nn.Module, sigma: Tensor, **cond: Tensor) -> Tensor:
        return self.denoiser(network)(inputs, sigma, **cond)
