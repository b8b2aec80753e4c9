"""Every folder under bundles/ passes every check of `diffzoo verify`, offline: a new bundle is covered by being there.

What is a property of a kind of training step, and not of a bundle, is tried on the first bundle that trains by it: `SHARED`.
"""

from functools import reduce
from operator import getitem

import pytest
import yaml

from diffzoo.zoo.bundle import CHECKOUT
from diffzoo.zoo.verify import CHECKS, Subject, kept, name_of, parallel, workflows

ROOTS = sorted(path for path in CHECKOUT.iterdir() if path.is_dir() and not path.name.startswith("."))
SHARED = (parallel.two_processes, workflows.training_from_nothing)


def step_of(root) -> str:
    """The full name of the training step of a bundle."""
    content = yaml.safe_load((root / "configs" / "train.yaml").read_text())
    step = content["train"]["trainer"]["step"]
    while isinstance(step, str):  # a reference, @train::step
        step = reduce(getitem, step.removeprefix("@").split("::"), content)
    return step["_target_"]


FIRST = {step_of(root): root.name for root in reversed(ROOTS)}  # by its step


@pytest.fixture(scope="module", params=ROOTS, ids=lambda path: path.name)
def subject(request, tmp_path_factory) -> Subject:
    return Subject(request.param, tmp_path_factory.mktemp(request.param.name))


@pytest.mark.parametrize("check", CHECKS, ids=name_of)
def test_bundle_keeps_its_promise(subject, check, monkeypatch):
    if check in SHARED and (first := FIRST[step_of(subject.root)]) != subject.root.name:
        pytest.skip(f"tried on {first}, which trains by the same step")
    asked = []
    monkeypatch.setattr("socket.socket.connect", lambda *address: asked.append(address) or pytest.fail("asked the network"))
    found = kept(check, subject)
    assert not asked, "a check asked the network"
    if found.passed is None and not found.detail.startswith("waits for"):
        pytest.skip(found.detail)
    assert found.passed, f"{found.detail}; {found.remedy}"
