"""A small segmentation network of slices, to ask what labelled images are worth: trained on pairs, judged on volumes."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

LABELS = 5
FEATURES = (16, 24, 32, 48, 64, 16)
Batches = Callable[[int], tuple[Tensor, Tensor]]  # step -> images [B, 1, H, W], soft labels [B, 5, H, W]


def trained(batches: Batches, steps: int, seed: int, rate: float = 2e-3) -> nn.Module:
    """MONAI's BasicUNet after so many steps of AdamW on Dice and cross-entropy."""
    from monai.losses import DiceCELoss
    from monai.networks.nets import BasicUNet

    torch.manual_seed(seed)
    network = BasicUNet(2, 1, LABELS, FEATURES, norm=("group", {"num_groups": 8}))
    network = network.to(memory_format=torch.channels_last)  # a third faster on a CPU
    optimizer = torch.optim.AdamW(network.parameters(), lr=rate)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, rate, total_steps=steps)
    loss = DiceCELoss(softmax=True, include_background=False, batch=True)
    for step in range(steps):
        image, label = batches(step)
        optimizer.zero_grad()
        loss(network(image.contiguous(memory_format=torch.channels_last)), label).backward()
        nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimizer.step()
        schedule.step()
    return network.eval()


@torch.no_grad()
def labelled(network: nn.Module, images: Tensor, batch: int = 32) -> Tensor:
    """The likeliest label [N, H, W] of slices [N, 1, H, W]."""
    return torch.cat([network(images[k : k + batch]).argmax(1) for k in range(0, len(images), batch)])


def dice(labels: Tensor, truth: Tensor) -> dict[str, float]:
    """Dice of label volumes [N, H, W], of fluid, grey, white and, where there is any, lesion; "tissue" is the mean of three."""
    names = ("csf", "grey", "white", "lesion")
    each = {}
    for k, name in enumerate(names, 1):
        first, second = labels == k, truth == k
        if second.any():
            each[name] = float(2 * (first & second).sum() / (first.sum() + second.sum()))
    return each | {"tissue": sum(each[name] for name in names[:3]) / 3}
