"""The configs of every bundle are short: a recipe is read in one sitting, however many parameters stand before it."""

import pytest
import yaml

from diffzoo.zoo.bundle import CHECKOUT

LIMITS = {"inference.yaml": 60, "train*.yaml": 55, "evaluate.yaml": 25}
CONFIGS = [(path, limit) for pattern, limit in LIMITS.items() for path in sorted(CHECKOUT.glob(f"[!.]*/configs/{pattern}"))]
IDS = [f"{path.parts[-3]}-{path.stem}" for path, _ in CONFIGS]


def recipe_lines(text: str) -> int:
    """Lines of a config that are neither comment nor blank nor a parameter: a top-level scalar, or a list of them on one line."""
    parameters = {
        value.start_mark.line
        for _, value in yaml.compose(text).value
        if isinstance(value, yaml.ScalarNode)
        or (isinstance(value, yaml.SequenceNode) and value.start_mark.line == value.end_mark.line and _plain(value))
    }
    return sum(
        bool(line.strip()) and not line.lstrip().startswith("#") and number not in parameters
        for number, line in enumerate(text.splitlines())
    )


def _plain(sequence: yaml.SequenceNode) -> bool:
    return all(isinstance(item, yaml.ScalarNode) for item in sequence.value)


@pytest.mark.parametrize(("path", "limit"), CONFIGS, ids=IDS)
def test_a_recipe_is_short(path, limit):
    lines = recipe_lines(path.read_text(encoding="utf-8"))
    assert lines <= limit, (
        f"{path.relative_to(CHECKOUT.parent)} has {lines} lines beside parameters and comments, at most {limit}:"
        " pack its flow mappings, or move what repeats into a component"
    )


def test_what_counts_as_a_line_of_the_recipe():
    text = """# what it does
seed: 0       # of the noise
axes: [2, 3]  # of the image

handlers: ['@report']
transforms: [{_target_: one}]
field:
  - 96
network: {_target_: two,
  # channels of each level
  channels: [48, 64]}
"""
    assert recipe_lines(text) == 5
