"""A step in parts is the step in one, and a lack of memory is told with the batch size that fits."""

import copy

import pytest
import torch
from training_toy import Shades, Toy, levels, trainer

from diffzoo.errors import InputError
from diffzoo.training.steps import DiffusionStep, MemoryTold


def after(step, steps: int = 3, batch_size: int = 6) -> tuple[list[float], dict]:
    """Losses and weights of a few steps."""
    net, losses = Toy(), []
    engine = trainer(step, net, kind=torch.optim.SGD)
    for k in range(steps):
        engine.state.iteration = k + 1
        losses.append(step(engine, Shades(batch_size=batch_size, batches=9)[k])["loss"])
    return losses, net.state_dict()


@pytest.mark.parametrize("parts", [2, 4, 6, 9])
def test_a_batch_in_parts_gives_the_same_step(parts):
    """Also with parts of different sizes (4 of 6 items), and with more parts than items."""
    (losses, weights), (ours, moved) = after(DiffusionStep(levels)), after(DiffusionStep(levels, accumulate=parts))
    assert ours == pytest.approx(losses, rel=1e-5)
    assert all(torch.allclose(moved[key], weights[key], atol=1e-6) for key in weights)


def test_parts_are_smaller_than_the_batch():
    seen, net = [], Toy()
    net.register_forward_pre_hook(lambda module, args: seen.append(len(args[0])))
    engine = trainer(DiffusionStep(levels, accumulate=3), net)
    engine.state.iteration = 1
    engine._process_function(engine, Shades(batch_size=7)[0])
    assert seen == [3, 2, 2]


def test_parts_must_be_one_or_more():
    with pytest.raises(ValueError, match="not 0: set accumulate to 1 or more"):
        DiffusionStep(levels, accumulate=0)


def memory_of(items: int, error: type[Exception] = RuntimeError, words: str = "DefaultCPUAllocator: can't allocate memory"):
    """A network whose machine holds so many items."""
    net = Toy()

    def refuse(module, args):
        if len(args[0]) > items:
            raise error(words)

    net.register_forward_pre_hook(refuse)
    return net


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (RuntimeError, "[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes"),
        (torch.OutOfMemoryError, "CUDA out of memory. Tried to allocate 2.00 GiB"),
        (MemoryError, ""),
    ],
)
@pytest.mark.parametrize(("holds", "fits"), [(12, 10), (5, 5), (4, 2), (1, 1)])
def test_the_batch_size_that_fits_is_named(error, words, holds, fits):
    net = memory_of(holds, error, words)
    before = copy.deepcopy(net.state_dict())
    engine = trainer(MemoryTold(DiffusionStep(levels)), net)
    with pytest.raises(InputError) as caught:
        engine.run(Shades(batch_size=20), max_epochs=1)
    assert str(caught.value) == (
        f"out of memory with a batch of 20; {fits} fit: "
        f"set batch_size to {fits}, or accumulate to {20 // fits} for the same result"
    )
    assert all(torch.equal(value, before[key]) for key, value in net.state_dict().items())


def test_the_named_number_of_parts_fits_too():
    net = memory_of(3)
    with pytest.raises(InputError, match="accumulate to 8 for"):
        trainer(MemoryTold(DiffusionStep(levels, accumulate=2)), net).run(Shades(batch_size=20), max_epochs=1)
    trainer(MemoryTold(DiffusionStep(levels, accumulate=8)), net).run(Shades(batch_size=20), max_epochs=1)


def test_not_even_one_fits():
    with pytest.raises(InputError, match="out of memory even with a batch of 1"):
        trainer(MemoryTold(DiffusionStep(levels)), memory_of(0)).run(Shades(), max_epochs=1)


def test_a_step_that_takes_no_parts_is_told_the_batch_size_alone():
    plain = DiffusionStep(levels)
    engine = trainer(MemoryTold(lambda engine, batch: plain(engine, batch)), memory_of(2))
    with pytest.raises(InputError, match=r"2 fit: set batch_size to 2$"):
        engine.run(Shades(batch_size=4), max_epochs=1)


def test_other_errors_and_good_steps_go_through():
    with pytest.raises(RuntimeError, match="shapes cannot be multiplied"):
        trainer(MemoryTold(DiffusionStep(levels)), memory_of(0, RuntimeError, "shapes cannot be multiplied")).run(Shades())
    losses, weights = after(DiffusionStep(levels))
    told, moved = after(MemoryTold(DiffusionStep(levels)))
    assert told == losses and all(torch.equal(moved[key], weights[key]) for key in weights)
