"""The chart and the table of an evaluation, from the content of metrics.json alone."""

import csv

import numpy as np
import pytest
from PIL import Image

from diffzoo.zoo.chart import CHART, CSV, figures, write_chart


def metrics_of(count: int, **more) -> dict:
    both = [{"recon": {"psnr": 30.0 + k, "ssim": 0.9}, "zero_filled": {"psnr": 20.0 + k, "ssim": None}} for k in range(count)]
    cases = [{"case": f"c{k}", "metrics": told} | more for k, told in enumerate(both)]
    return {"mean": {"recon": {"psnr": 31.0, "ssim": 0.9}, "zero_filled": {"psnr": 21.0}}, "cases": cases}


def test_the_table_has_a_row_a_case_and_method(tmp_path):
    paths = write_chart(tmp_path, metrics_of(3, group="T1"))
    assert [path.name for path in paths] == [CSV, CHART]
    with open(tmp_path / CSV, newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 6 and list(rows[0]) == ["case", "group", "method", "psnr", "ssim"]
    assert rows[2] == {"case": "c1", "group": "T1", "method": "recon", "psnr": "31.0", "ssim": "0.9"}
    assert rows[3]["ssim"] == ""


@pytest.mark.parametrize("count", [1, 3, 80])
def test_the_chart_shows_every_method(tmp_path, count):
    write_chart(tmp_path, metrics_of(count))
    with Image.open(tmp_path / CHART) as picture:
        pixels = np.asarray(picture.convert("RGB")).astype(int)
    for colour in ((31, 119, 180), (255, 127, 14)):  # of the first two methods
        assert (np.abs(pixels - colour).max(-1) < 12).sum() > 30


def test_cases_without_figures_are_left_out_and_none_leave_nothing(tmp_path):
    empty = {"case": "c", "metrics": {"x": {"psnr": float("nan")}}}
    told = {"mean": {}, "cases": [{"case": "a"}, {"case": "b", "metrics": {}}, empty]}
    assert figures(told) == [] and write_chart(tmp_path, told) == [] and not list(tmp_path.iterdir())


def test_a_task_with_figures_of_its_own_has_a_chart_too(tmp_path):
    told = {"mean": {"own": {"sharpness": 2.0}}, "cases": [{"case": "a", "metrics": {"own": {"sharpness": 2.0}}}]}
    assert len(write_chart(tmp_path, told)) == 2
