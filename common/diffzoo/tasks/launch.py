"""Running an engine from a config."""

import os

import torch
from ignite.engine import Engine
from torch import distributed


def launch(engine: Engine) -> Engine:
    """Runs an engine and returns it; a function, so that a config needs no `$` call for it.

    Started by `torchrun`, it joins the other processes first (gloo on the CPU, NCCL on GPUs), and the first of them alone tells
    of its progress. The steps of `training.steps` share each batch.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) == 1 or distributed.is_initialized():
        engine.run()
        return engine
    distributed.init_process_group("nccl" if torch.device(engine.state.device).type == "cuda" else "gloo")
    if distributed.get_rank():
        engine.logger.setLevel("WARNING")
    try:
        engine.run()
    finally:
        distributed.destroy_process_group()
    return engine
