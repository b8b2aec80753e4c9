"""The tests of this folder run on every folder under bundles/: a new bundle is covered by being there."""

import pytest

from diffzoo.zoo.bundle import CHECKOUT, Bundle

ROOTS = sorted(path for path in CHECKOUT.iterdir() if path.is_dir() and not path.name.startswith("."))
SHORT = {"steps": 2}  # so that a test takes seconds; only those that the bundle knows are used


@pytest.fixture(scope="module", params=ROOTS, ids=lambda path: path.name)
def bundle(request) -> Bundle:
    return Bundle(request.param)


@pytest.fixture(scope="module")
def short(bundle) -> dict:
    """Settings that make a run of this bundle short."""
    return {key: value for key, value in SHORT.items() if key in bundle.parameters()}
