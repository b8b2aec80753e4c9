"""An evaluation in few bytes."""

from diffzoo.tasks.anomaly.compact import compact


def figure(mean):
    return {"mean": mean, "by_subject": [0.1, 0.2]}


def test_means_and_a_value_a_person_and_method_are_kept():
    methods = {name: {"auprc": figure(0.123456), "auroc": figure(0.9)} for name in ("map", "other")}
    cases = [
        {"case": name, "subject": subject, "group": "6 mm", "metrics": {"map": {"auprc": value, "auroc": 0.9}}}
        for name, subject, value in (("a0", "a", 0.2), ("a1", "a", 0.4), ("b0", "b", 0.123456))
    ]
    summary = {"groups": {"6 mm": {"cases": 3, "methods": methods}}, "mean": {}, "healthy": None, "parameters": {"a": 1}}
    small = compact(summary, [*cases, {"case": "well"}])
    assert small["groups"]["6 mm"]["methods"]["map"] == {
        "auprc": {"mean": 0.1235, "by_subject": [0.1, 0.2]},
        "auroc": {"mean": 0.9},
    }
    assert list(small["groups"]["6 mm"]["methods"]["other"]) == ["auprc"]
    assert small["subjects"] == {"6 mm": {"a": {"map": 0.3}, "b": {"map": 0.1235}}}
    assert small["cases"] == {"a0": {"map": 0.2}, "a1": {"map": 0.4}, "b0": {"map": 0.1235}}
    assert "parameters" not in small and small["healthy"] is None
