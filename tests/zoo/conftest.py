"""A home with one installed bundle, which is a copy of a real one without its network."""

import json
import shutil

import pytest
from attacks import GOOD_WEIGHTS

from diffzoo.zoo.bundle import CHECKOUT, Bundle
from diffzoo.zoo.facts import sha256


@pytest.fixture
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("DIFFZOO_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


@pytest.fixture
def copy(home) -> Bundle:
    """The bundle "copied", installed in `home`; its weights are two small tensors, and metadata tells their hash."""
    root = home / "bundles" / "copied"
    shutil.copytree(CHECKOUT / "score_mri" / "configs", root / "configs")
    (root / "models").mkdir()
    (root / "models" / "model.safetensors").write_bytes(GOOD_WEIGHTS)
    described = json.loads((root / "configs" / "metadata.json").read_text())
    described |= {"name": "copied", "weights_sha256": sha256(root / "models" / "model.safetensors")}
    (root / "configs" / "metadata.json").write_text(json.dumps(described))
    return Bundle(root)
