"""Where to compute."""

import os

import torch

from diffzoo.errors import InputError


def pick(name: str = "auto") -> torch.device:
    """The device of that name; "auto" takes CUDA when there is one. Raises InputError when it is not there."""
    if name == "auto":
        if not torch.cuda.is_available():
            return torch.device("cpu")
        return torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")))  # a process of torchrun takes its own
    try:
        device = torch.device(name)
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0]
        raise InputError(f"device {name!r} cannot be used: {reason}; try --device cpu") from error
    return device
