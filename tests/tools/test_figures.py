"""Figures of a tool are kept beside the evaluations, in the order of the recipe."""

import json
import sys

from diffzoo.zoo.bundle import CHECKOUT

sys.path.insert(0, str(CHECKOUT.parent / "tools"))
import figures


def test_an_entry_is_stored_in_the_order_of_the_recipe(tmp_path, monkeypatch):
    for folder in ("docs", "models"):
        (tmp_path / folder).mkdir()
    (tmp_path / "models" / "model.safetensors").write_bytes(b"x")
    (tmp_path / "docs" / "results.json").write_text(json.dumps({"evaluations": {"test": {}}}))
    monkeypatch.setattr(figures, "recipe_of", lambda name: {"evaluations": {"checks": {"what": "x"}, "test": {}}})
    figures.store(tmp_path, "checks", ["every=8"], {"drop_db": 1.00004, "parts": {"n": 3}})
    entries = figures.stored(tmp_path)
    assert list(entries) == ["checks", "test"] and len(entries["checks"]["weights_sha256"]) == 64
    assert entries["checks"]["figures"] == {"drop_db": 1.0, "parts": {"n": 3}} and entries["checks"]["what"] == "x"
