"""The outcome of an evaluation of reconstruction: a person counts once, gains have the value of each, seeds are pooled."""

import pytest

from diffzoo.metrics.intervals import worded
from diffzoo.tasks.reconstruction.table import MetricsTable, merged


class Report:
    """What a table asks of a report."""

    methods, parameters = ("ours", "theirs"), {"seed": 0}

    def __init__(self, cases):
        self.cases = cases


def case(name, subject, ours, theirs):
    def figures(values):
        return {"psnr": values, "ssim": [v / 40 for v in values], "nmse": [0.1] * len(values), "rmse": [2.0] * len(values)}

    facts = {"network_calls": 1.0, "seconds": 2.0, "data_residual": 0.1, "figures": {}, "acquisition": {"words": "4x", "arc": 90}}
    return {"case": name, "subject": subject, "by_slice": {"ours": figures(ours), "theirs": figures(theirs)}, **facts}


def test_a_person_counts_once_however_many_slices():
    result = MetricsTable(
        Report([case("a1", "a", [30, 32], [28, 28]), case("a2", "a", [34], [30]), case("b", "b", [20], [21])])
    ).result()
    assert result["people"]["a"]["ours"]["psnr"] == 32 and result["slices"] == 4
    assert result["mean"]["ours"]["psnr"] == 26 and result["mean"]["ours"]["rmse"] == 2
    gain = result["gain_db"]["theirs"]
    assert gain["each"] == pytest.approx([32 - 86 / 3, -1]) and gain["interval"] is None
    assert gain["mean"] == pytest.approx(sum(gain["each"]) / 2) and result["ssim_above"]["theirs"] == 0.75


def test_five_people_have_an_interval():
    result = MetricsTable(Report([case(n, n, [30 + k], [28]) for k, n in enumerate("abcde")])).result()
    low, high = result["gain_db"]["theirs"]["interval"]
    assert low < result["gain_db"]["theirs"]["mean"] == 4 < high
    assert worded(result["gain_db"]["theirs"], "{:+.1f}", " dB") == f"+4.0 dB [{low:+.1f}, {high:+.1f}]"


def test_seeds_are_pooled_by_person():
    results = [MetricsTable(Report([case("a", "a", [30 + k], [28]), case("b", "b", [20 + k], [19])])).result() for k in range(3)]
    whole = merged(results)
    assert whole["seeds"] == [25, 26, 27] and whole["people"]["a"]["ours"]["psnr"] == 31 and whole["seconds"] == 12
    assert whole["gain_db"]["theirs"]["each"] == [3, 2] and whole["mean"]["theirs"]["psnr"] == 23.5 and whole["slices"] == 2
    assert len(whole["cases"]) == 6


def test_figures_are_told_by_how_many_people_there_are():
    assert worded({"mean": 1.0, "interval": None, "each": [1.0]}, "{:.1f}") == "1.0"
    assert worded({"mean": 1.5, "interval": None, "each": [1.0, 2.0]}, "{:.1f}", " dB") == "1.5 dB (1.0, 2.0)"
    assert worded({"mean": None, "interval": None}, "{:.1f}") == ""
