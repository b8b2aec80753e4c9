"""Weight files: the round trip, every refusal, and that a failure leaves the earlier file."""

import os
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import nn

from diffzoo.networks import weights
from diffzoo.networks.weights import from_weights, load_weights, save_weights


class Net(nn.Module):
    """Floats, integers and a buffer."""

    def __init__(self, width: int = 3) -> None:
        super().__init__()
        self.layer = nn.Linear(2, width)
        self.norm = nn.BatchNorm1d(width)


def test_round_trip_is_half_precision_and_strict(tmp_path):
    net, path = Net(), tmp_path / "models" / "model.safetensors"
    net.norm.num_batches_tracked += 7
    save_weights(net, path)
    with safe_open(path, "pt") as file:
        assert {file.get_tensor(key).dtype for key in file.keys()} == {torch.float16, torch.int64}  # noqa: SIM118
    read = load_weights(Net().train(), path)
    assert not read.training
    assert read.norm.num_batches_tracked == 7
    for key, value in net.state_dict().items():
        assert read.state_dict()[key].dtype == value.dtype
        assert torch.equal(read.state_dict()[key], value.half().to(value.dtype) if value.is_floating_point() else value)


def test_a_second_round_trip_changes_no_byte(tmp_path):
    save_weights(Net(), tmp_path / "a")
    save_weights(load_weights(Net(), tmp_path / "a"), tmp_path / "b")
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_the_file_can_be_read_by_all(tmp_path):
    save_weights(Net(), tmp_path / "model.safetensors")
    assert (tmp_path / "model.safetensors").stat().st_mode & 0o777 == 0o644


def changed(state: dict, change: str) -> dict:
    if change == "missing":
        return {key: value for key, value in state.items() if key != "layer.bias"}
    if change == "unexpected":
        return state | {"layer.scale": torch.ones(1)}
    return state | {"layer.weight": torch.ones(5, 2)}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("missing", "lacks 1 tensors: layer.bias"),
        ("unexpected", "has the unexpected 1 tensors: layer.scale"),
        ("shape", "has another shape for 1 tensors: layer.weight"),
    ],
)
def test_another_state_is_refused_and_changes_nothing(tmp_path, change, message):
    path, net = tmp_path / "model.safetensors", Net()
    save_file(changed(dict(Net().state_dict()), change), path)
    before = {key: value.clone() for key, value in net.state_dict().items()}
    with pytest.raises(ValueError, match=message):
        load_weights(net, path)
    assert all(torch.equal(before[key], value) for key, value in net.state_dict().items())


@pytest.mark.parametrize(
    "spoil", [lambda b: b[:-3], lambda b: b[:20], lambda b: b"", lambda b: b"PK\x03\x04" + b, lambda b: b + b"x"]
)
def test_a_spoilt_file_is_refused(tmp_path, spoil):
    path = tmp_path / "model.safetensors"
    save_weights(Net(), path)
    path.write_bytes(spoil(path.read_bytes()))
    with pytest.raises(ValueError, match=r"model.safetensors is not a whole safetensors file"):
        load_weights(Net(), path)


def test_a_pickle_is_refused(tmp_path):
    torch.save(Net().state_dict(), tmp_path / "model.pt")
    with pytest.raises(ValueError, match="not a whole safetensors file"):
        load_weights(Net(), tmp_path / "model.pt")


def test_a_missing_file_is_told(tmp_path):
    with pytest.raises(FileNotFoundError, match="no weight file"):
        load_weights(Net(), tmp_path / "none.safetensors")


def test_no_path_leaves_the_network_as_it_is(tmp_path):
    net = Net()
    assert from_weights(net, None) is net and net.training
    save_weights(Net(), tmp_path / "model.safetensors")
    assert not from_weights(net, tmp_path / "model.safetensors").training


def test_a_write_that_is_cut_off_leaves_the_earlier_file(tmp_path, monkeypatch):
    path = tmp_path / "model.safetensors"
    save_weights(Net(), path)
    earlier = path.read_bytes()

    def cut_off(state, beside, metadata):
        Path(beside).write_bytes(b"half")
        raise OSError("no space left on device")

    monkeypatch.setattr(weights, "save_file", cut_off)
    with pytest.raises(OSError, match="no space"):
        save_weights(Net(), path)
    assert path.read_bytes() == earlier


def test_the_file_appears_at_once(tmp_path, monkeypatch):
    """Nothing stands under the final name before the rename."""
    path, rename, seen = tmp_path / "model.safetensors", os.replace, []
    monkeypatch.setattr(os, "replace", lambda a, b: (seen.append(path.exists()), rename(a, b)))
    save_weights(Net(), path)
    assert seen == [False] and [p.name for p in tmp_path.iterdir()] == ["model.safetensors"]


@pytest.mark.parametrize("value", [float("nan"), float("inf"), 1e5])
def test_weights_that_are_not_finite_in_half_precision_are_not_written(tmp_path, value):
    path, net = tmp_path / "model.safetensors", Net()
    save_weights(net, path)
    earlier = path.read_bytes()
    net.layer.weight.data[0, 0] = value
    with pytest.raises(ValueError, match=r"1 tensors hold NaN or values beyond fp16, first layer\.weight"):
        save_weights(net, path)
    assert path.read_bytes() == earlier


def test_two_networks_of_one_definition_do_not_share_their_weights(tmp_path):
    definition, paths = Net(), [tmp_path / "a.safetensors", tmp_path / "b.safetensors"]
    for value, path in zip((1.0, 2.0), paths, strict=True):
        torch.nn.init.constant_(definition.layer.weight, value)
        save_weights(definition, path)
    first, second = (from_weights(definition, path) for path in paths)
    assert (first.layer.weight == 1).all() and (second.layer.weight == 2).all() and from_weights(definition, None) is definition
