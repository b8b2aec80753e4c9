"""Everything that fine-tuning may add to a training, laid over the Score-MRI train.yaml and run by MONAI's own workflow."""

import json
import logging

import numpy as np
import pytest
import torch
import yaml
from monai.bundle import ConfigWorkflow
from safetensors.torch import load_file

from diffzoo.zoo.bundle import CHECKOUT
from diffzoo.zoo.scan.config import check

CONFIG = CHECKOUT / "score_mri" / "configs" / "train.yaml"
TINY = {
    "network_def#channels": [16, 32],
    "crop": 32,
    "batch_size": 4,
    "steps_per_epoch": 3,
    "epochs": 4,
    "device_name": "cpu",
    "learning_rate": 0.01,
}
OVERLAY = """
plain:
  _target_: diffzoo.training.setup.prepare
  network: '@network_def'
  weights: '@weights'
  seed: '@seed'
  device: '@device'
network: {_target_: diffzoo.networks.lora.add, network: '@plain', rank: 2}
samples:
  _target_: diffzoo.training.replay.ParentSamples
  network: '@plain'
  precond: '@precond'
  like: '@train::dataset'
  batches: 2
replay: {_target_: diffzoo.training.replay.Replay, network: '@plain', batches: '@samples', sigmas: '@sigmas', weight: 0.5}
train::callbacks::every: 1
train::callbacks::steps: 8
train::callbacks::first: true
train::callbacks::patience: 9
train::callbacks::checkpoint_minutes: 5
train::callbacks::tensorboard: true
train::trainer::step:
  _target_: diffzoo.training.steps.MemoryTold
  step:
    _target_: diffzoo.training.steps.DiffusionStep
    sigmas: '@sigmas'
    seed: '@seed'
    accumulate: 2
    replay: '@replay'
"""


@pytest.fixture(scope="module", autouse=True)
def quiet():
    """Training logs each epoch; not so in these tests."""
    logging.disable(logging.WARNING)
    yield
    logging.disable(logging.NOTSET)


@pytest.fixture(scope="module")
def place(tmp_path_factory, volume):
    """A folder with scans, and the outputs of a parent's training and of two fine-tunings of it."""
    import nibabel as nib

    folder = tmp_path_factory.mktemp("finetuning")
    for seed in (0, 1):
        nib.save(nib.Nifti1Image(volume((48, 44, 6), seed), np.diag([1, 1, 4, 1])), folder / f"scan{seed}.nii.gz")
    run(folder, "parent", {}, epochs=2)
    overlay, weights = yaml.safe_load(OVERLAY), str(folder / "parent" / "model.safetensors")
    run(folder, "whole", overlay, weights=weights)
    run(folder, "resumed", overlay, weights=weights, epochs=2)
    run(folder, "resumed", overlay, weights=weights)
    return folder


def run(folder, name: str, overlay: dict, **settings) -> None:
    flow = ConfigWorkflow(
        str(CONFIG),
        workflow_type="train",
        logging_file=False,
        dataset_dir=str(folder),
        output_dir=str(folder / name),
        **(TINY | overlay | settings),
    )
    flow.initialize()
    flow.run()


def test_the_result_has_the_tensors_of_the_parent_and_is_the_best(place):
    parent, ours = (load_file(place / name / "model.safetensors") for name in ("parent", "whole"))
    assert ours.keys() == parent.keys() and all(ours[key].shape == parent[key].shape for key in parent)
    assert any(not torch.equal(ours[key], parent[key]) for key in parent)
    lines = [json.loads(line) for line in (place / "whole" / "train_log.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == [0, 3, 6, 9, 12]
    assert all({"loss", "replay", "denoising_psnr"} <= line.keys() for line in lines[1:])
    best = torch.load(place / "whole" / "checkpoint.pt", weights_only=True)["best"]
    assert round(best["value"], 3) == max(line["denoising_psnr"] for line in lines)
    assert (place / "whole" / "loss.png").stat().st_size > 1000


def test_it_resumes_to_the_same_bits(place):
    ours, theirs = ((place / name / "model.safetensors").read_bytes() for name in ("resumed", "whole"))
    assert ours == theirs


def test_the_scan_finds_nothing_in_it():
    assert not list(check("configs/finetune.yaml", yaml.safe_load(OVERLAY)))
    content = yaml.safe_load(OVERLAY)
    content["replay"]["_target_"] = "diffzoo.training.replay.Missing"
    assert list(check("configs/finetune.yaml", content))
