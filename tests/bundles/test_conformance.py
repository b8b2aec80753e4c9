"""Every folder under bundles/ passes every check of `diffzoo verify`, offline: a new bundle is covered by being there."""

import pytest

from diffzoo.zoo.bundle import CHECKOUT
from diffzoo.zoo.verify import CHECKS, Subject, kept, name_of

ROOTS = sorted(path for path in CHECKOUT.iterdir() if path.is_dir() and not path.name.startswith("."))


@pytest.fixture(scope="module", params=ROOTS, ids=lambda path: path.name)
def subject(request, tmp_path_factory) -> Subject:
    return Subject(request.param, tmp_path_factory.mktemp(request.param.name))


@pytest.mark.parametrize("check", CHECKS, ids=name_of)
def test_bundle_keeps_its_promise(subject, check, monkeypatch):
    asked = []
    monkeypatch.setattr("socket.socket.connect", lambda *address: asked.append(address) or pytest.fail("asked the network"))
    found = kept(check, subject)
    assert not asked, "a check asked the network"
    if found.passed is None and not found.detail.startswith("waits for"):
        pytest.skip(found.detail)
    assert found.passed, f"{found.detail}; {found.remedy}"
