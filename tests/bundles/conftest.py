"""The tests of this folder run on every folder under bundles/: a new bundle is covered by being there."""

import pytest
import yaml
from anatomy import anatomy

from diffzoo.zoo.bundle import CHECKOUT, Bundle

ROOTS = sorted(path for path in CHECKOUT.iterdir() if path.is_dir() and not path.name.startswith("."))
SHORT = {"steps": 2, "average": 1, "arc": 120.0}  # so that a test takes seconds; only those that the bundle knows are used
SHORT_TRAINING = {"epochs": 1, "steps_per_epoch": 1, "batch_size": 2, "crop": 32}
SHORT_TRAINING |= {"sizes": [32], "items": [2], "held_out": [2], "shares": [1.0], "phantoms": 1}


@pytest.fixture(scope="module", params=ROOTS, ids=lambda path: path.name)
def bundle(request) -> Bundle:
    return Bundle(request.param)


@pytest.fixture(scope="module")
def volume(bundle):
    """volume(shape, seed) -> array [X, Y, Z] of anatomy in the units that the bundle takes."""
    in_hu = bundle.metadata["valid_range"]["modality"] == "CT"
    return lambda shape, seed=0: 1.4 * anatomy(shape, seed) - 1000 if in_hu else anatomy(shape, seed)


@pytest.fixture(scope="module")
def short_training(bundle) -> dict:
    """Settings that make a training of this bundle short."""
    known = yaml.safe_load(bundle.config("train").read_text())
    return {key: value for key, value in SHORT_TRAINING.items() if key in known}


@pytest.fixture(scope="module")
def short(bundle) -> dict:
    """Settings that make a run of this bundle short."""
    return {key: value for key, value in SHORT.items() if key in bundle.parameters()}
