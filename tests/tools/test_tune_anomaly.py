"""The one rule by which the family of anomaly detection is tuned: grid, choice, and what stands in the configs."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tools"))

import tune_anomaly  # noqa: E402

RULE = json.loads((ROOT / "tools" / "lists" / "anomaly.json").read_text())
RECIPES = {path.parents[1].name: json.loads(path.read_text()) for path in (ROOT / "bundles").glob("*/docs/recipe.json")}
TUNED = sorted(name for name, recipe in RECIPES.items() if recipe.get("lists_of") == "anomaly")
CONFIG = "# Header.\nnoise_level: '0.18'          # several such as 0.1,0.2\nthreshold: 0.121             # of the map\nrim: 1\n"


def test_a_grid_gives_every_combination():
    grid = {"a": [1, 2], "b": [3, 4, 5]}
    rows = tune_anomaly.combinations(grid)
    assert len(rows) == 6 and rows[0] == {"a": 1, "b": 3} and rows[-1] == {"a": 2, "b": 5}


def test_settings_take_the_place_of_the_old_ones_and_comments_stay(tmp_path, monkeypatch):
    monkeypatch.setattr(tune_anomaly, "ROOT", tmp_path)
    path = tmp_path / "inference.yaml"
    path.write_text(CONFIG)
    tune_anomaly.write_settings(path, {"noise_level": 0.25, "threshold": 0.0908, "rim": 2})
    text = path.read_text()
    assert yaml.safe_load(text) == {"noise_level": "0.25", "threshold": 0.0908, "rim": 2}
    assert (
        text.startswith("# Header.\nnoise_level: '0.25'          # several")
        and "threshold: 0.0908            # of the map" in text
    )


@pytest.mark.parametrize("name", TUNED)
def test_the_config_holds_the_best_of_the_grid(name):
    tuning = json.loads((ROOT / "bundles" / name / "docs" / "tuning.json").read_text())
    config = yaml.safe_load((ROOT / "bundles" / name / "configs" / "inference.yaml").read_text())
    best = tune_anomaly.chosen(tuning["rows"], RULE)
    assert best["auprc"] == max(row["auprc"] for row in tuning["rows"] if row["smoothing"] <= 1.6)
    assert all(float(config[key]) == value for key, value in tuning["setting"].items())
    assert {key: value for key, value in best.items() if key != "auprc"}.items() <= tuning["setting"].items()
    grid = tune_anomaly.combinations(RECIPES[name]["levels"] | RULE["scores"])
    assert [{key: value for key, value in row.items() if key != "auprc"} for row in tuning["rows"]] == grid


def test_a_smoother_map_is_scored_from_the_same_edit():
    """The score is taken from what one run of the network gave, with other parameters in place of the config's."""
    from functools import partial

    import torch

    from diffzoo.tasks.anomaly.scores import residual

    class Inferer:
        score = partial(residual, window=1, smoothing=0.0)

        def judged(self, image, healthy, inside):
            return torch.cat([healthy, self.score(image, healthy, inside)])

    image, inside = torch.zeros(1, 9, 9, 3), torch.ones(1, 9, 9, 3, dtype=torch.bool)
    image[0, 4, 4, 1] = 1.0
    inferer = Inferer()
    score_map = partial(tune_anomaly._map, inferer, inferer.score, (image, torch.zeros_like(image), inside))
    sharp, smooth, again = (score_map({"smoothing": value}) for value in (0.0, 1.0, 0.0))
    assert sharp.max() == 1.0 and smooth.max() < 0.3 and np.array_equal(sharp, again)
