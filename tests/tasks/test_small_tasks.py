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
from diffzoo.tasks.progress import Bar, Counter
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


def test_a_bar_of_a_case_that_failed_is_closed_by_the_next(monkeypatch):
    monkeypatch.setattr("sys.stderr", Terminal())
    bar = Bar()
    bar(1, 9)
    bar(2, 9)
    broken = bar.bar
    bar(1, 3)
    assert broken.disable and bar.bar is not broken and bar.bar.total == 3


def test_a_short_run_is_silent_without_a_terminal(capsys):
    bar = Bar()
    bar(1, 2)
    bar(2, 2)
    assert capsys.readouterr() == ("", "")


def lines_of(capsys, seconds: float, slices: int = 39, steps: int = 2, batch: int = 8) -> list[str]:
    """What a run without a terminal writes, each step taking so many seconds."""
    now = [0.0]
    counter = Counter(Bar(clock=lambda: now[0]), steps * -(-slices // batch), slices, batch)
    for _ in range(counter.total):
        counter(0, 0.0, torch.zeros(()), torch.zeros(()))
        now[0] += seconds
    out, err = capsys.readouterr()
    assert out == ""
    return err.splitlines()


def test_a_long_run_tells_its_slices_and_the_time_left_each_half_minute(capsys):
    assert lines_of(capsys, 10.0) == [
        "slices 8 of 39, about 80 s left",
        "slices 16 of 39, about 50 s left",
        "slices 32 of 39, about 20 s left",
    ]
    assert lines_of(capsys, 1.0) == []
    assert len(lines_of(capsys, 3600.0)) == 8 and "min left" in lines_of(capsys, 3600.0)[0]


def test_steps_are_told_where_there_are_no_slices(capsys):
    now = [0.0]
    bar = Bar("calls", clock=lambda: now[0])
    for done in range(1, 5):
        bar(done, 4)
        now[0] += 40.0
    told = capsys.readouterr().err.splitlines()
    assert told == ["calls 2 of 4, about 80 s left", "calls 3 of 4, about 40 s left"]


@pytest.mark.parametrize(
    ("done", "told"), [(1, "slices 0 of 5"), (3, "slices 2 of 5"), (8, "slices 4 of 5"), (9, "slices 5 of 5")]
)
def test_slices_are_counted_by_whole_batches(done, told):
    seen = []
    counter = Counter(lambda *words: seen.append(words), 9, 5, 2)
    for _ in range(done):
        counter(0, 0.0, torch.zeros(()), torch.zeros(()))
    assert seen[-1] == (done, 9, told)


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
