"""A tiny run of the Score-MRI train.yaml through MONAI's own workflow: resume is exact, failures lose nothing."""

import json
import logging

import numpy as np
import pytest
import torch
from ignite.engine import Events
from monai.bundle import ConfigWorkflow
from safetensors.torch import load_file

from diffzoo.errors import InputError
from diffzoo.networks.weights import load_weights
from diffzoo.zoo.bundle import CHECKOUT

CONFIG = CHECKOUT / "score_mri" / "configs" / "train.yaml"
TINY = {
    "network_def#channels": [16, 32],
    "crop": 32,
    "batch_size": 2,
    "steps_per_epoch": 2,
    "epochs": 4,
    "device_name": "cpu",
}


@pytest.fixture(scope="module", autouse=True)
def quiet():
    """Training logs each epoch; not so in these tests."""
    logging.disable(logging.INFO)
    yield
    logging.disable(logging.NOTSET)


@pytest.fixture(scope="module")
def scans(tmp_path_factory, volume):
    """Two volumes with a datalist that trains on the first and validates on the second."""
    import nibabel as nib

    folder = tmp_path_factory.mktemp("scans")
    for seed, name in enumerate(("a.nii.gz", "b.nii.gz")):
        nib.save(nib.Nifti1Image(volume((48, 44, 6), seed), np.diag([1, 1, 4, 1])), folder / name)
    (folder / "datalist.json").write_text(json.dumps({"training": [{"image": "a.nii.gz"}], "validation": ["b.nii.gz"]}))
    return folder


class Killed(Exception):
    """A run that is ended from outside."""


def training(scans, output, **overrides) -> ConfigWorkflow:
    flow = ConfigWorkflow(
        str(CONFIG), workflow_type="train", logging_file=False, dataset_dir=str(scans), output_dir=str(output), **TINY | overrides
    )
    flow.initialize()
    return flow


def part(flow, name):
    return flow.parser.get_parsed_content(name)


def killed_at(flow, step: int) -> None:
    """Runs until the given optimiser step is done, and no further."""

    def kill(engine):
        raise Killed

    part(flow, "train#trainer").add_event_handler(Events.ITERATION_COMPLETED(once=step), kill)
    with pytest.raises(Killed):
        part(flow, "train#trainer").run()


def lines(output) -> list[dict]:
    return [json.loads(line) for line in (output / "train_log.jsonl").read_text().splitlines()]


@pytest.fixture(scope="module")
def whole(scans, tmp_path_factory):
    """The output folder of an uninterrupted run."""
    output = tmp_path_factory.mktemp("whole")
    training(scans, output).run()
    return output


def assert_same(a, b) -> None:
    if isinstance(a, dict):
        assert a.keys() == b.keys()
        for key in a:
            assert_same(a[key], b[key])
    elif isinstance(a, list | tuple):
        for one, other in zip(a, b, strict=True):
            assert_same(one, other)
    elif isinstance(a, torch.Tensor):
        assert torch.equal(a, b)
    else:
        assert a == b


@pytest.mark.parametrize("step", [5, 6])
def test_a_resumed_run_gives_the_same_bits(scans, whole, tmp_path, step):
    """Killed within its third epoch (the last step of it is step 6), it goes on from the end of the second."""
    killed_at(training(scans, tmp_path), step)
    assert not (tmp_path / "model.safetensors").exists()
    assert torch.load(tmp_path / "checkpoint.pt", weights_only=True)["epoch"] == 2
    training(scans, tmp_path).run()
    assert (tmp_path / "model.safetensors").read_bytes() == (whole / "model.safetensors").read_bytes()
    ours, theirs = (torch.load(folder / "checkpoint.pt", weights_only=True) for folder in (tmp_path, whole))
    assert ours["iteration"] == 8
    assert_same(ours, theirs)
    assert [line["loss"] for line in lines(tmp_path)] == [line["loss"] for line in lines(whole)]


def test_a_half_written_checkpoint_is_not_used(scans, whole, tmp_path):
    killed_at(training(scans, tmp_path), 3)
    (tmp_path / "checkpoint.part").write_bytes((tmp_path / "checkpoint.pt").read_bytes()[:1000])
    training(scans, tmp_path).run()
    assert (tmp_path / "model.safetensors").read_bytes() == (whole / "model.safetensors").read_bytes()
    assert not (tmp_path / "checkpoint.part").exists()


def test_a_finished_run_is_not_trained_again(scans, whole, tmp_path):
    for name in ("checkpoint.pt", "train_log.jsonl"):
        (tmp_path / name).write_bytes((whole / name).read_bytes())
    training(scans, tmp_path).run()
    assert len(lines(tmp_path)) == 4
    assert (tmp_path / "model.safetensors").read_bytes() == (whole / "model.safetensors").read_bytes()


def test_resume_can_be_turned_off(scans, whole, tmp_path):
    (tmp_path / "checkpoint.pt").write_bytes(b"of another run")
    training(scans, tmp_path, resume=False, epochs=1).run()
    assert torch.load(tmp_path / "checkpoint.pt", weights_only=True)["iteration"] == 2


@pytest.mark.parametrize("content", [b"not a checkpoint", None])
def test_a_checkpoint_that_does_not_fit_is_refused(scans, whole, tmp_path, content):
    (tmp_path / "checkpoint.pt").write_bytes(content or (whole / "checkpoint.pt").read_bytes())
    flow = training(scans, tmp_path, **{"network_def#channels": [32, 32]})
    with pytest.raises(InputError, match=r"does not fit this training .*: delete it, or set resume to false") as caught:
        part(flow, "train#trainer").run()
    assert "\n" not in str(caught.value)


def test_the_shipped_weights_are_the_average_in_half_precision(scans, whole):
    flow = training(scans, whole)
    saved = torch.load(whole / "checkpoint.pt", weights_only=True)
    average = {key.removeprefix("average."): value for key, value in saved["ema"].items() if key.startswith("average.")}
    loaded = load_weights(flow.network_def, whole / "model.safetensors").state_dict()
    assert loaded.keys() == average.keys() == saved["network"].keys()
    assert all(torch.equal(loaded[key], average[key].half().float()) for key in loaded)
    assert any(not torch.equal(average[key], saved["network"][key]) for key in loaded)


def test_the_log_has_a_line_an_epoch_and_the_validation_at_the_end(whole):
    told = lines(whole)
    assert [line["step"] for line in told] == [2, 4, 6, 8]
    assert all(line["loss"] > 0 and line["seconds"] >= 0 for line in told)
    assert [line.get("denoising_psnr", 0) > 5 for line in told] == [False, False, False, True]
    assert told[-1]["loss"] < told[0]["loss"]


@pytest.mark.parametrize("where", ["loss", "gradient"])
def test_a_broken_step_keeps_the_last_checkpoint_and_writes_no_weights(scans, tmp_path, where):
    flow = training(scans, tmp_path)
    trainer = part(flow, "train#trainer")
    usual = trainer.loss_function

    def broken(*args):
        loss = usual(*args)
        if trainer.state.iteration < 4:
            return loss
        return loss * float("nan") if where == "loss" else loss + (loss - loss.detach()).abs().sqrt()  # infinite slope at 0

    trainer.loss_function = broken
    with pytest.raises(ArithmeticError, match=r"step 4: .*lower the learning rate"):
        trainer.run()
    assert not (tmp_path / "model.safetensors").exists()
    saved = torch.load(tmp_path / "checkpoint.pt", weights_only=True)
    assert saved["epoch"] == 1
    assert all(torch.isfinite(value).all() for value in trainer.network.state_dict().values())


def test_the_time_limit_ends_the_run_with_weights(scans, whole, tmp_path):
    training(scans, tmp_path, minutes=1e-9).run()
    assert [line["step"] for line in lines(tmp_path)] == [2]
    assert (tmp_path / "model.safetensors").exists()
    training(scans, tmp_path).run()  # and it goes on from there
    assert (tmp_path / "model.safetensors").read_bytes() == (whole / "model.safetensors").read_bytes()


def test_fine_tuning_starts_from_a_weight_file(scans, whole, tmp_path):
    flow = training(scans, tmp_path, weights=str(whole / "model.safetensors"), learning_rate=0.0, epochs=1)
    flow.run()
    ours, theirs = (load_file(folder / "model.safetensors") for folder in (tmp_path, whole))
    assert_same(ours, theirs)


def test_the_seed_decides_the_first_weights(scans, tmp_path):
    first, again, other = (part(training(scans, tmp_path, seed=seed), "network").state_dict() for seed in (0, 0, 1))
    assert all(torch.equal(first[key], again[key]) for key in first)
    assert any(not torch.equal(first[key], other[key]) for key in first)
