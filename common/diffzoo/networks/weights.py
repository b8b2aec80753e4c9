"""Weight files: fp16 safetensors, loaded strictly."""

import copy
from pathlib import Path

from safetensors.torch import load_file, save_file
from torch import nn

from diffzoo.atomic import atomic


def save_weights(network: nn.Module, path: str | Path) -> None:
    """Writes the state dict as fp16 (integers as they are), beside and renamed.

    Raises ValueError, and leaves an earlier file as it is, when a weight is not finite or too large for fp16.
    """
    path = Path(path)
    state = {k: (v.half() if v.is_floating_point() else v).detach().cpu().contiguous() for k, v in network.state_dict().items()}
    broken = [name for name, value in state.items() if not value.isfinite().all()]
    if broken:
        raise ValueError(f"{len(broken)} tensors hold NaN or values beyond fp16, first {broken[0]}: lower the learning rate")
    with atomic(path, own=False) as beside:
        save_file(state, beside, metadata={"format": "pt"})
        beside.chmod(0o644)  # safetensors writes for the owner alone


def load_weights(network: nn.Module, path: str | Path) -> nn.Module:
    """Loads a safetensors file into the network, every tensor by name and shape, and returns it in evaluation mode.

    Raises FileNotFoundError, and ValueError naming the first tensors that are missing, unexpected or of another shape.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"no weight file {path}")
    try:
        state = load_file(path)
    except Exception as error:
        raise ValueError(f"{path.name} is not a whole safetensors file: {error}") from error
    own = network.state_dict()
    missing, extra = sorted(own.keys() - state.keys()), sorted(state.keys() - own.keys())
    other = sorted(k for k in own.keys() & state.keys() if own[k].shape != state[k].shape)
    for what, names in (("lacks", missing), ("has the unexpected", extra), ("has another shape for", other)):
        if names:
            raise ValueError(f"{path.name} {what} {len(names)} tensors: {', '.join(names[:3])}")
    network.load_state_dict({k: v.to(own[k].dtype) for k, v in state.items()}, strict=True)
    return network.eval()


def from_weights(network: nn.Module, path: str | Path | None) -> nn.Module:
    """A copy of the network with the weights of a file; with no file, itself as it was initialised (for a training from nothing).

    A copy, so that two networks of one definition in a config do not share their weights.
    """
    return load_weights(copy.deepcopy(network), path) if path else network
