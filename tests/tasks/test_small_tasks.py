"""Choices by name, devices, one denoising call, launching and the progress bar."""

import pytest
import torch
from ignite.engine import Engine
from slices_toy import Smooth

from diffzoo.diffusion.denoiser import Denoiser
from diffzoo.diffusion.precond import edm
from diffzoo.errors import InputError
from diffzoo.names import nearest
from diffzoo.spaces import channelwise
from diffzoo.tasks.choose import choose
from diffzoo.tasks.denoise import DenoiseInferer
from diffzoo.tasks.device import check_precision, pick
from diffzoo.tasks.launch import launch
from diffzoo.tasks.progress import Bar
from diffzoo.tasks.reconstruct_mri.coilwise import fold_coils, unfold_coils

AMONG = {"euler": 1, "ancestral": 2, "dpmpp_2m": 3}


def test_a_choice_is_the_value_itself():
    assert choose("ancestral", AMONG) == 2


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("eular", "unknown sampler 'eular'; did you mean euler?"),
        ("zzz", "unknown sampler 'zzz'; known: ancestral, dpmpp_2m, euler"),
    ],
)
def test_an_unknown_choice_names_the_nearest_or_all(name, hint):
    with pytest.raises(InputError) as caught:
        choose(name, AMONG, "sampler")
    assert str(caught.value) == hint


def test_nearest_names_at_most_three_and_says_where_there_is_none():
    assert nearest("a", []) == "known: none"
    assert nearest("aaaa", ["aaab", "aaac", "aaad", "aaae"]).count(" or ") == 2
    assert nearest(3, ["x"]) == "known: x"


def test_the_device_is_there_or_refused():
    assert pick("cpu").type == "cpu"
    assert pick("auto").type == ("cuda" if torch.cuda.is_available() else "cpu")


@pytest.mark.parametrize("name", ["cuda:77", "gpu", "", "cpu:x"])
def test_a_device_that_is_not_there_is_told_in_one_line(name):
    with pytest.raises(InputError, match=r"cannot be used: .*; try --device cpu") as caught:
        pick(name)
    assert "\n" not in str(caught.value) and repr(name) in str(caught.value)


def test_one_call_of_the_denoiser():
    x, sigma, precond = torch.randn(3, 1, 8, 8), torch.tensor([0.1, 0.5, 2.0]), edm(0.5)
    inferer = DenoiseInferer(precond)
    skip, out, scale, label = precond(sigma)
    expected = skip.reshape(-1, 1, 1, 1) * x + out.reshape(-1, 1, 1, 1) * Smooth()(scale.reshape(-1, 1, 1, 1) * x, label)
    torch.testing.assert_close(inferer(x, Smooth(), sigma=sigma), expected)
    torch.testing.assert_close(inferer.denoiser(Smooth())(x, sigma), expected)


class Sees(torch.nn.Module):
    """Keeps what it is called with."""

    def forward(self, x, c_noise, *, concat=None, vector=None, tokens=None):
        self.seen = (x.dtype, concat)
        return torch.nn.functional.conv2d(x, torch.ones(1, 1, 1, 1))


def test_conditions_and_autocast_reach_the_network():
    net, x, other = Sees(), torch.randn(2, 1, 4, 4), torch.ones(2, 1, 4, 4)
    full = DenoiseInferer(edm(0.5))(x, net, sigma=torch.ones(2), concat=other)
    assert net.seen[1] is other
    half = DenoiseInferer(edm(0.5), autocast="bfloat16")(x, net, sigma=torch.ones(2), concat=other)
    assert half.dtype == torch.float32 and not torch.equal(half, full)
    torch.testing.assert_close(half, full, rtol=0.02, atol=0.02)


def test_channels_are_denoised_one_by_one():
    denoise = Denoiser(Smooth(), edm(0.5)).bind()
    x = torch.randn(2, 6, 8, 8)
    found = channelwise(denoise)(x, 0.3)
    for c in range(6):
        torch.testing.assert_close(found[:, c : c + 1], denoise(x[:, c : c + 1], 0.3))


def test_coils_fold_and_unfold():
    x = torch.arange(2 * 6 * 4.0).reshape(2, 6, 2, 2)
    folded = fold_coils(x)
    assert folded.shape == (6, 2, 2, 2) and torch.equal(folded[1], x[0, 2:4])
    assert torch.equal(unfold_coils(folded, 3), x)


def test_launch_runs_the_engine_and_returns_it():
    seen = []
    engine = Engine(lambda engine, batch: seen.append(batch))
    engine.state.max_epochs = 1
    whole = type("Whole", (), {"run": lambda self: engine.run([1, 2])})()
    assert launch(whole) is whole and seen == [1, 2]


class Terminal:
    """A stream that says it is a terminal, and keeps what is written."""

    def __init__(self) -> None:
        self.text = ""

    def write(self, text: str) -> None:
        self.text += text

    def flush(self) -> None:
        pass

    def isatty(self) -> bool:
        return True


def test_the_bar_shows_on_a_terminal_and_closes_itself(monkeypatch):
    stream = Terminal()
    monkeypatch.setattr("sys.stderr", stream)
    bar = Bar("steps")
    for _ in range(2):  # a second case starts a new bar
        for done in (1, 2, 3):
            bar(done, 3)
        assert bar.bar is None
    assert "steps" in stream.text and "| 0/3" in stream.text


def test_the_bar_is_silent_elsewhere(capsys):
    bar = Bar()
    bar(1, 2)
    bar(2, 2)
    assert capsys.readouterr() == ("", "")


def test_bfloat16_is_refused_where_a_cpu_has_none(monkeypatch):
    monkeypatch.setattr("platform.machine", lambda: "x86_64")
    for supported in (True, False):
        monkeypatch.setattr("torch.cpu._is_avx512_bf16_supported", lambda given=supported: given)
        monkeypatch.setattr("torch.cpu._is_amx_tile_supported", lambda: False)
        if supported:
            check_precision("bfloat16", torch.device("cpu"))
        else:
            with pytest.raises(InputError, match="this CPU has no instructions for it"):
                check_precision("bfloat16", torch.device("cpu"))
    check_precision("bfloat16", torch.device("cuda"))
    check_precision(None, torch.device("cpu"))
