"""The label of an image as conditions of a network: attention tokens, and places in its vector."""

import torch
from torch import Tensor

HEALTHY, DISEASED, NULL = 0, 1, -1  # NULL: not told, dropped in training, or not known
CLASSES = ("healthy", "diseased")
WEIGHT = 8.0  # of the label in the vector, whose other places a network may have known for long


def label_tokens(label: Tensor) -> Tensor:
    """Labels [B] (0 healthy, 1 diseased, -1 null) -> tokens [B, 2, 3] for attention.

    The first token is the same for all, so that a place of the image can choose whether to look at the second, which is the
    one-hot label, and of zeros for null (Sanchez et al. 2022, sec. 3.2: the null token of classifier-free guidance).
    """
    rest = torch.tensor([1.0, 0.0, 0.0], device=label.device).expand(len(label), 1, 3)
    return torch.cat([rest, torch.nn.functional.pad(one_hot_label(label), (1, 0))[:, None]], 1)


def one_hot_label(label: Tensor) -> Tensor:
    """Labels [B] -> [B, 2], one-hot; zeros for null. Raises ValueError for any other number."""
    if bool(((label < NULL) | (label > DISEASED)).any()):
        raise ValueError("labels are 0 (healthy), 1 (diseased) or -1 (null)")
    return (label[:, None] == torch.arange(len(CLASSES), device=label.device)).float()


def conditions_of(vector: Tensor, label: Tensor) -> dict[str, Tensor]:
    """Vector [B, E] of what is known of a slice, with the label [B] -> {"vector" [B, E + 2], "tokens" [B, 2, 3]}.

    In the vector the one-hot label counts 8: a step of the optimiser then moves what the label does as much as if its weights
    moved by eight steps.
    """
    return {"vector": torch.cat([vector, WEIGHT * one_hot_label(label).to(vector)], 1), "tokens": label_tokens(label).to(vector)}
