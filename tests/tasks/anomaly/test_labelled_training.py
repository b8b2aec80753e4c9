"""Tiny runs of the train.yaml of the weakly supervised bundles through MONAI's own workflow."""

import json
import logging

import nibabel as nib
import numpy as np
import pytest
import torch
from heads_toy import toy_head
from monai.bundle import ConfigWorkflow
from safetensors.torch import load_file

from diffzoo.networks.unet import UNet
from diffzoo.networks.weights import save_weights
from diffzoo.zoo.bundle import CHECKOUT

TINY = {
    "network_def#channels": [32, 32],
    "field": [48, 56],
    "grid_mm": 4.0,
    "batch_size": 4,
    "steps_per_epoch": 2,
    "epochs": 2,
    "device_name": "cpu",
}
CONFIGS = [("cdpm", "train"), ("diffusion_anomaly", "train"), ("diffusion_anomaly", "train_classifier")]


@pytest.fixture(scope="module", autouse=True)
def quiet():
    """Training logs each epoch; not so in these tests."""
    logging.disable(logging.INFO)
    yield
    logging.disable(logging.NOTSET)


@pytest.fixture(scope="module")
def scans(tmp_path_factory):
    """Two heads: one to train on, one to validate on."""
    folder = tmp_path_factory.mktemp("scans")
    for seed, name in enumerate(("a_t1.nii", "b_flair.nii")):
        volume, affine, _ = toy_head(modality=name[2:-4], stripped=True, seed=seed)
        nib.save(nib.Nifti1Image(volume, affine), folder / name)
    parts = {"training": [{"image": "a_t1.nii"}], "validation": [{"image": "b_flair.nii"}]}
    (folder / "datalist.json").write_text(json.dumps(parts))
    return folder


def training(bundle, config, scans, output, **overrides):
    folder = CHECKOUT / bundle / "configs"
    files = [str(folder / f"{name}.yaml") for name in dict.fromkeys(("train", config))]
    settings = {"dataset_dir": str(scans), "output_dir": str(output)} | TINY | overrides
    flow = ConfigWorkflow(files, workflow_type="train", logging_file=False, **settings)
    flow.initialize()
    return flow


@pytest.mark.parametrize(("bundle", "config"), CONFIGS)
def test_two_runs_give_the_same_weights(bundle, config, scans, tmp_path):
    for name in ("whole", "again"):
        training(bundle, config, scans, tmp_path / name).run()
    one, other = ((tmp_path / name / "model.safetensors").read_bytes() for name in ("whole", "again"))
    assert one == other and all(value.isfinite().all() for value in load_file(tmp_path / "whole" / "model.safetensors").values())
    log = [json.loads(line) for line in (tmp_path / "whole" / "train_log.jsonl").read_text().splitlines()]
    assert log[-1]["step"] == 4 and np.isfinite(log[-1]["loss"])


def test_another_networks_weights_are_taken_where_they_match(scans, tmp_path):
    parent = UNet(concat_channels=1, vector_size=4, channels=(32, 32), shuffle=2)
    save_weights(parent, tmp_path / "parent.safetensors")
    flow = training("cdpm", "train", scans, tmp_path / "labelled", weights=str(tmp_path / "parent.safetensors"))
    network, held = flow.parser.get_parsed_content("network"), load_file(tmp_path / "parent.safetensors")
    assert torch.equal(network.unet.conv_in.conv.weight, held["unet.conv_in.conv.weight"].float())
    weight = network.unet.class_embedding.weight
    assert torch.equal(weight[:, :4], held["unet.class_embedding.weight"].float()) and not weight[:, 4:].any()
