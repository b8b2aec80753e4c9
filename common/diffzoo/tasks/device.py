"""Where to compute."""

import torch

from diffzoo.errors import InputError


def pick(name: str = "auto") -> torch.device:
    """The device of that name; "auto" takes CUDA when there is one. Raises InputError when it is not there."""
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0]
        raise InputError(f"device {name!r} cannot be used: {reason}; try --device cpu") from error
    return device
