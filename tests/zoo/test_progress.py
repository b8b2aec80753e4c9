"""What a short training says as it goes."""

from ignite.engine import Engine

from diffzoo.zoo.progress import Steps


def said_of(seconds: float) -> list[str]:
    """What is said of twelve steps that take so many seconds each."""
    now, said = [0.0], []

    def step(engine, batch):
        now[0] += seconds
        return {"loss": 0.25}

    engine = Engine(step)
    Steps(said.append, lambda: now[0]).attach(engine)
    engine.run([1] * 6, max_epochs=2)
    assert engine.state.iteration == 12
    return said


def test_steps_and_time_left_are_told_now_and_then():
    assert said_of(5.0) == [
        "step 3 of 12: loss 0.25, about 45 s left",
        "step 6 of 12: loss 0.25, about 30 s left",
        "step 9 of 12: loss 0.25, about 15 s left",
    ]


def test_a_training_of_seconds_says_nothing_and_a_long_one_counts_minutes():
    assert said_of(1.0) == []
    assert said_of(600.0)[0] == "step 1 of 12: loss 0.25, about 110 min left"
