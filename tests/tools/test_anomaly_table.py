"""The table that compares the bundles of anomaly detection, from results as they are kept."""

import json
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tools"))

import anomaly_table  # noqa: E402
from data_folder import BUNDLES  # noqa: E402


def group(value):
    methods = {
        m: {"auprc": {"mean": value + k / 10}}
        for k, m in enumerate(("anomaly_map", "brightness", "mean_distance", "autoencoder"))
    }
    return {"methods": methods}


def evaluations(value):
    persons = {person: {"anomaly_map": value} for person in ("a", "b")}
    return {
        "family_lesions": {
            "groups": {size: group(value) for size in anomaly_table.SIZES},
            "subjects": dict.fromkeys(anomaly_table.SIZES, persons),
            "network_calls": 12.0,
        },
        "family_sclerosis": {"groups": {name: group(value / 2) for name in anomaly_table.CONTRASTS}},
        "family_healthy": {"healthy": {"fpr": {"mean": 0.0123}}},
    }


@pytest.fixture
def found():
    return {"pddpm": evaluations(0.4), "banoddpm": evaluations(0.2)}


def test_a_row_a_bundle_and_baseline_with_its_numbers(found):
    lines = anomaly_table.table(found).splitlines()
    assert len(lines) == 2 + 2 + 1 + 2
    assert lines[2].count("0.40") == 4 and lines[2].count("0.20") == 3 and "1.2 %" in lines[2] and lines[2].endswith("| 12 |")
    assert lines[4].startswith("| VQ-VAE alone (of banoddpm)") and lines[4].count("0.50") == 4
    assert lines[5].startswith("| brightness") and lines[5].count("0.50") == 4


def test_people_have_the_mean_of_two_sizes(found):
    assert anomaly_table.people(found).splitlines()[2:] == ["| a | 0.40 | 0.20 |", "| b | 0.40 | 0.20 |"]


def test_the_tuning_quotes_what_the_config_holds():
    lines = anomaly_table.tuning(["pddpm"]).splitlines()
    content = json.loads((BUNDLES / "pddpm" / "docs" / "tuning.json").read_text())
    best = max(content["rows"], key=lambda row: row["auprc"])
    assert len(lines) == 3 and lines[2].endswith(f"| {best['auprc']:.2f} ({best['smoothing']:g}) |")
    own = max(row["auprc"] for row in content["rows"] if row["smoothing"] <= 1.6)
    assert f"| {content['setting']['threshold']:g} | {own:.2f} |" in lines[2]
    assert "noise_level" in lines[2] and f"{content['setting']['smoothing']:g}" in lines[2]


def test_every_bundle_with_the_shared_lists_and_results_is_in_the_table_and_the_page_quotes_it():
    recipes = {path.parents[1].name: json.loads(path.read_text()) for path in BUNDLES.glob("*/docs/recipe.json")}
    named = {name for name, recipe in recipes.items() if recipe.get("lists_of") == "anomaly"}
    measured = anomaly_table.measured()
    assert measured and measured.keys() <= named
    page = anomaly_table.PAGE.read_text()
    assert anomaly_table.table(measured) in page and anomaly_table.people(measured) in page
