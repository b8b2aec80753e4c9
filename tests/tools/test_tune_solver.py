"""How the default of a solver is chosen from what was measured, and that the config holds it."""

import json
import sys
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tools"))

import tune_solver  # noqa: E402
from tune_anomaly import combinations  # noqa: E402

BUNDLE = ROOT / "bundles" / "score_mri"


def rows(**best):
    """Two settings of each number of steps, one worse than the other."""
    values = [(int(steps[1:]), value - worse, m) for steps, value in best.items() for worse, m in ((0.5, 0.5), (0.0, 0.7))]
    return [{"steps": steps, "momentum": m, "psnr": value} for steps, value, m in values]


@pytest.mark.parametrize(("loss_db", "steps"), [(0.0, 20), (0.1, 12), (0.3, 6)])
def test_the_fewest_steps_within_the_loss_are_chosen(loss_db, steps):
    best = tune_solver.fewest(rows(_20=39.0, _12=38.95, _6=38.75), loss_db)
    assert best["steps"] == steps and best["momentum"] == 0.7


def test_the_config_holds_what_was_chosen():
    plan = json.loads((BUNDLE / "docs" / "recipe.json").read_text())["solver"]
    tuning = json.loads((BUNDLE / "docs" / "tuning.json").read_text())
    config = yaml.safe_load((BUNDLE / "configs" / "inference.yaml").read_text())
    settings = [{k: v for k, v in row.items() if k not in ("psnr", "each")} for row in tuning["rows"]]
    assert settings == [s for steps in plan["steps"] for s in combinations({"steps": [steps], **plan["grid"]})]
    assert tuning["setting"].items() <= config.items() and tuning["rule"] == plan["rule"]
    assert tuning["setting"].items() <= tune_solver.fewest(tuning["rows"], plan["loss_db"]).items()
    assert all(row["psnr"] == pytest.approx(sum(row["each"]) / len(row["each"]), abs=2e-3) for row in tuning["rows"])
