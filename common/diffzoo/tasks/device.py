"""Where to compute, and in which precision."""

import os
import platform

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


def check_precision(autocast: str | None, device: torch.device) -> None:
    """InputError for bfloat16 on an x86 CPU without it, where it is tens of times slower than full precision."""
    if autocast != "bfloat16" or device.type != "cpu" or platform.machine().lower() not in ("x86_64", "amd64"):
        return
    if not (torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()):
        raise InputError("autocast=bfloat16: this CPU has no instructions for it, and would be slower by far: leave it out")
