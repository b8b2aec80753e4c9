"""What configs are made of: engines with the items that an inferer asks for, the handlers of a training, settings of a report."""

import logging

import pytest
import torch
from monai.data import Dataset
from monai.inferers import Inferer
from training_toy import Shades, Toy, levels

from diffzoo import components
from diffzoo.diffusion.denoiser import EMA, loss
from diffzoo.diffusion.precond import edm
from diffzoo.parameters import scalars, settings_of, stock_settings
from diffzoo.tasks.denoise import DenoiseInferer
from diffzoo.training.setup import adam
from diffzoo.training.steps import DenoisingValidation, DiffusionStep

RATE, PER_EPOCH, ROUNDS = 0.01, 5, 4


@pytest.fixture(autouse=True)
def quiet():
    logging.disable(logging.WARNING)
    yield
    logging.disable(logging.NOTSET)


class Doubled(Inferer):
    conditions = ("mask",)

    def __call__(self, inputs, network, mask):
        return 2 * inputs * mask


def training(folder, **options):
    """A trainer of a toy with its handlers."""
    network, shades = Toy(), Shades(batches=PER_EPOCH)
    optimizer, ema = adam(network, RATE), EMA(network, 0.9)
    validator = components.validator(
        "cpu", Shades(batches=1), ema.average, DenoisingValidation(), {"db": "psnr"}, DenoiseInferer(edm(0.5))
    )
    place = {"output_dir": str(folder), "learning_rate": RATE, "steps": ROUNDS * PER_EPOCH}
    handlers = components.handlers(shades, network, optimizer, ema, validator, **place, warmup=1, **options)
    trainer = components.trainer(
        "cpu", ROUNDS, shades, network, optimizer, loss, DenoiseInferer(edm(0.5)), DiffusionStep(levels), handlers
    )
    return trainer, handlers


def test_an_evaluator_hands_over_what_its_inferer_asks_for():
    item = {"image": torch.ones(1, 2, 2), "mask": torch.full((1, 2, 2), 3.0)}
    engine = components.evaluator("cpu", Dataset([item]), torch.nn.Identity(), Doubled(), lambda x: x, [])
    engine.run()
    assert torch.equal(engine.state.output[0]["pred"], torch.full((1, 2, 2), 6.0))


def test_the_handlers_leave_log_checkpoint_and_weights(tmp_path):
    trainer, handlers = training(tmp_path)
    assert [type(h).__name__ for h in handlers] == (
        ["EpochOf", "LearningRate", "EMAUpdate", "LossLog", "Resume", "TimeLimit", "ExportWeights"]
    )
    trainer.run()
    assert {path.name for path in tmp_path.iterdir()} == {"train_log.jsonl", "checkpoint.pt", "model.safetensors"}
    assert '"db"' in (tmp_path / "train_log.jsonl").read_text().splitlines()[-1]


def test_with_patience_the_best_average_is_kept_and_drawn(tmp_path):
    trainer, handlers = training(tmp_path, patience=0, first=True, every=1)
    assert [type(h).__name__ for h in handlers[3:6]] == ["KeepBest", "LossLog", "LossPlot"]
    trainer.run()
    assert (tmp_path / "loss.png").stat().st_size and (tmp_path / "train_log.jsonl").read_text().startswith('{"step": 0')


def test_federated_rounds_share_one_cosine(tmp_path):
    """MONAI's client raises max_epochs by one a round: a rate that fell by it would begin anew, or stay at its end."""
    trainer, _ = training(tmp_path, resume=False)
    rates = []
    for _ in range(ROUNDS):
        trainer.state.max_epochs = trainer.state.epoch + 1
        trainer.run()
        rates.append(trainer.optimizer.param_groups[0]["lr"])
    assert rates == sorted(rates, reverse=True) and rates[0] > 0.8 * RATE and rates[-1] == pytest.approx(0.05 * RATE)


def test_settings_are_scalars_and_lists_of_numbers():
    text = "bundle_root: .\nsteps: 3        # calls\nsize: [4, 5]\nnames: [a]\nweights: $@bundle_root + '/x'\nnet: {a: 1}\n"
    assert {key: one.help for key, one in scalars(text).items()} == {"steps": "calls"}
    assert settings_of({"steps": 3, "size": [4, 5], "names": ["a"], "net": {}, "device_name": "cpu"}) == {
        "steps": 3,
        "size": [4, 5],
    }


def test_a_stock_run_tells_its_settings_from_the_command_line(tmp_path):
    (tmp_path / "configs").mkdir()
    (tmp_path / "configs" / "inference.yaml").write_text("steps: 3\nrate: 0.5\n")
    (tmp_path / "configs" / "published.yaml").write_text("steps: 9\n")
    words = ["run", "--config_file", "['configs/inference.yaml','configs/published.yaml']", "--rate", "0.25", "--other=1"]
    assert stock_settings(tmp_path, words) == {"steps": 9, "rate": 0.25}
    assert stock_settings(tmp_path, ["run", "--rate=0.75"]) == {"steps": 3, "rate": 0.75}
