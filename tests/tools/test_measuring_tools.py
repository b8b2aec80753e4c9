"""Tools that measure: tuned weights go into a config, evaluations under several seeds become one, reliability is drawn."""

import json
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tools"))

import figure_reliability  # noqa: E402
import train_zoo  # noqa: E402
import tune_baselines  # noqa: E402

CONFIG = """# Header.
tv_weights: {default: 0.1, gaussian1d 4: 0.1,
  equispaced 4: 0.1}  # tuned
tv_weight: 0.0               # 0: the one that fits
"""


def test_the_table_of_weights_is_replaced_and_the_rest_stays(tmp_path, monkeypatch):
    monkeypatch.setattr(tune_baselines, "ROOT", tmp_path)
    path = tmp_path / "evaluate.yaml"
    path.write_text(CONFIG)
    weights = {"default": 0.002, "gaussian1d 4": 0.002, "poisson2d 4": 0.00005}
    tune_baselines._write(path, "tv_weights", weights)
    text = path.read_text()
    assert yaml.safe_load(text) == {"tv_weights": weights, "tv_weight": 0.0}
    assert text.startswith("# Header.\ntv_weights: {default") and "}  # tuned\ntv_weight: 0.0   " in text


@pytest.mark.parametrize("name", ["score_mri", "dolce"])
def test_the_table_of_a_bundle_can_be_written_again(name, tmp_path, monkeypatch):
    monkeypatch.setattr(tune_baselines, "ROOT", tmp_path)
    path = tmp_path / "evaluate.yaml"
    path.write_text((ROOT / "bundles" / name / "configs" / "evaluate.yaml").read_text())
    before = yaml.safe_load(path.read_text())
    tune_baselines._write(path, "tv_weights", before["tv_weights"])
    assert yaml.safe_load(path.read_text()) == before


def test_what_is_tuned_is_what_the_configs_hold():
    for name in ("score_mri", "dolce"):
        folder = ROOT / "bundles" / name
        recipe = json.loads((folder / "docs" / "recipe.json").read_text())["baseline"]
        weights = yaml.safe_load((folder / "configs" / "evaluate.yaml").read_text())["tv_weights"]
        assert list(weights) == ["default", *recipe["acquisitions"]] and set(weights.values()) <= set(recipe["grid"])


def test_an_evaluation_under_several_seeds_is_run_with_each(monkeypatch):
    calls = []

    def evaluate(bundle, listing, part, output, settings, config, device, overwrite, say):
        calls.append((Path(output).name, settings))
        return {"seed": settings[-1]}

    merge = SimpleNamespace(task=SimpleNamespace(merged=lambda results: {"of": [r["seed"] for r in results]}))
    monkeypatch.setattr("diffzoo.zoo.work.evaluate_cases", evaluate)
    monkeypatch.setattr("diffzoo.zoo.bundle.Bundle", lambda path: merge)
    plan = {"settings": ["slices=1"], "seeds": 3}
    assert train_zoo._evaluated(Path("b"), Path("w"), "test", plan) == {"of": ["seed=0", "seed=1", "seed=2"]}
    assert [name for name, _ in calls] == ["test_0", "test_1", "test_2"] and calls[0][1] == ["slices=1", "seed=0"]
    assert train_zoo._evaluated(Path("b"), Path("w"), "test", {"settings": ["slices=1"]}) == {"seed": "slices=1"}


def test_reliability_is_drawn_of_what_has_a_spread(tmp_path, monkeypatch):
    monkeypatch.setattr(figure_reliability, "BUNDLES", tmp_path / "bundles")
    spread = {"covered_0.5": 0.4, "covered_0.8": 0.7, "covered_0.95": 0.9}
    for name, entry in (("drawn", {"what": "test", "spread": spread}), ("bare", {"what": "test", "spread": None})):
        docs = tmp_path / "bundles" / name / "docs"
        docs.mkdir(parents=True)
        (docs / "results.json").write_text(json.dumps({"evaluations": {"test": entry}}))
    monkeypatch.setattr(sys, "argv", ["figure_reliability.py"])
    figure_reliability.main()
    assert (tmp_path / "bundles" / "drawn" / "docs" / "reliability.png").read_bytes()[:4] == b"\x89PNG"
    assert not (tmp_path / "bundles" / "bare" / "docs" / "reliability.png").exists()
    monkeypatch.setattr(sys, "argv", ["figure_reliability.py", "bare"])
    with pytest.raises(SystemExit, match="no evaluation with a standard deviation"):
        figure_reliability.main()


def test_an_evaluation_records_the_weights_of_its_config(tmp_path):
    (tmp_path / "configs").mkdir()
    (tmp_path / "configs" / "published.yaml").write_text("weights: $@bundle_root + '/models/wide.safetensors'\nsteps: 3\n")
    (tmp_path / "configs" / "fast.yaml").write_text("steps: 3\n")
    names = [train_zoo.weights_of(tmp_path, config).name for config in (None, "fast", "published")]
    assert names == ["model.safetensors", "model.safetensors", "wide.safetensors"]
