"""The outcome of an evaluation of anomaly detection: means over subjects, intervals, groups, healthy cases."""

import json

import numpy as np
import pytest
from anomaly_toy import THRESHOLD, case, report, volume
from report_toy import run

from diffzoo.errors import InputError
from diffzoo.tasks.anomaly.table import DetectionTable


@pytest.fixture
def table(copy, tmp_path):
    """A function from cases to metrics.json."""

    def made(*cases, **options):
        kept = report(copy, tmp_path / "out", **options)
        run(kept, *cases, table=DetectionTable(kept))
        assert (kept.folder / "metrics.png").read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"
        return json.loads((kept.folder / "metrics.json").read_text())

    return made


def sick(name, subject, noise, group="6 mm", **more):
    return case(name, noise=noise, subject=subject, group=group, seed=sum(map(ord, name)), **more)


CASES = [("a0", "a", 0.6), ("a1", "a", 0.9), ("a2", "a", 1.2), ("b0", "b", 0.7), ("c0", "c", 2.0)]


def test_a_mean_is_one_over_subjects(table):
    result = table(*[sick(*one) for one in CASES])
    one = result["groups"]["6 mm"]
    assert (one["subjects"], one["cases"]) == (3, 5)
    values = {case["case"]: case["metrics"]["anomaly_map"]["auprc"] for case in result["cases"]}
    a = np.mean([values[n] for n in ("a0", "a1", "a2")])
    told = one["methods"]["anomaly_map"]["auprc"]
    assert told["mean"] == pytest.approx(np.mean([a, values["b0"], values["c0"]]))
    assert result["mean"]["anomaly_map"]["auprc"] == told["mean"] != pytest.approx(np.mean(list(values.values())), rel=1e-3)
    assert told["by_subject"] is None  # of three people
    assert set(result["mean"]) == {"anomaly_map", "brightness"}
    assert {"auprc", "auroc", "best_dice"} <= set(result["mean"]["brightness"]) and "dice" not in result["mean"]["brightness"]
    assert "dice" in result["mean"]["anomaly_map"] and result["threshold"] == THRESHOLD
    assert one["fpr"] == pytest.approx(np.mean([case["fpr"] for case in result["cases"]]))


def test_five_people_have_an_interval(table):
    cases = [sick(f"{subject}0", subject, 0.6 + 0.2 * k) for k, subject in enumerate("abcde")]
    told = table(*cases)["groups"]["6 mm"]["methods"]["anomaly_map"]["auprc"]
    low, high = told["by_subject"]
    assert low < told["mean"] < high


def test_groups_stand_by_themselves_and_together(table):
    result = table(*[sick(*one) for one in CASES[:3]], *[sick(*one, group="10 mm") for one in CASES[3:]])
    assert list(result["groups"]) == ["6 mm", "10 mm", "all"]
    assert [result["groups"][name]["cases"] for name in result["groups"]] == [3, 2, 5]
    assert result["groups"]["6 mm"]["methods"]["anomaly_map"]["auroc"]["by_subject"] is None  # of one subject
    assert result["mean"]["anomaly_map"]["auprc"] == result["groups"]["all"]["methods"]["anomaly_map"]["auprc"]["mean"]
    assert len(table(sick(*CASES[0]))["groups"]) == 1


def test_healthy_cases_count_for_false_positives_alone(table):
    healthy = [case(f"h{k}", lesion=False, noise=0.3 + 0.1 * k, subject=f"h{k}", seed=k) for k in range(3)]
    result = table(sick(*CASES[0]), *healthy)
    told = result["healthy"]
    rates = [case["fpr"] for case in result["cases"][1:]]
    assert (told["subjects"], told["cases"]) == (3, 3) and told["fpr"]["mean"] == pytest.approx(np.mean(rates)) and rates[2] > 0
    thresholds = [told["threshold_at_fpr"][rate] for rate in ("0.05", "0.02", "0.01", "0.005")]
    assert thresholds == sorted(thresholds) and thresholds[0] > 0
    assert result["groups"]["6 mm"]["cases"] == 1
    alone = table(*healthy)
    assert alone["mean"] == {} and alone["groups"] == {} and alone["healthy"] == told
    assert table(sick(*CASES[0]))["healthy"] is None


def test_figures_that_only_some_cases_have_are_means_of_those(table):
    plain, clean = sick(*CASES[0]), sick(*CASES[3])
    brain = clean[1]["brain"].numpy()[0]
    clean[1]["clean"] = volume((0.6 * brain).astype(np.float32))
    result = table(plain, clean)
    assert result["mean"]["anomaly_map"]["moved"] == pytest.approx(1, abs=1e-4)


def test_cases_without_a_group_have_one_name(table):
    one, two = case("a"), case("b", seed=1)
    result = table(one, two)
    assert list(result["groups"]) == ["lesions"] and result["groups"]["lesions"]["subjects"] == 2


def test_a_case_without_truth_is_refused_and_the_rest_stays(copy, tmp_path):
    kept = report(copy, tmp_path / "out")
    with pytest.raises(InputError, match='b: no mask to compare with: give "mask"'):
        run(kept, case("a"), case("b", known=False), table=DetectionTable(kept))
    assert [one["case"] for one in json.loads((kept.folder / "metrics.json").read_text())["cases"]] == ["a"]
