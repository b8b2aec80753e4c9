"""report.csv: a line a case, read back by the csv module."""

import csv

from diffzoo.tasks.case_table import table

DONE = {"case": "a, b", "input": "a.nii", "seconds": 1.5, "network_calls": 3, "warnings": ["one", "two"], "found_ml": 2.0}
DONE |= {"metrics": {"recon": {"psnr": 30.0, "ssim": 0.9}}, "regions": [{"ml": 1.0}], "shape": [1, 2]}


def lines(*arguments):
    return list(csv.DictReader(table(*arguments).splitlines()))


def test_every_case_has_a_line_and_its_status():
    rows = lines([DONE], [{"case": "c", "error": "is empty"}], ["d"])
    assert [(row["case"], row["status"]) for row in rows] == [("a, b", "done"), ("c", "failed"), ("d", "not started")]
    assert rows[1]["error"] == "is empty" and rows[1]["seconds"] == "" and rows[0]["warnings"] == "one; two"


def test_figures_are_the_numbers_of_the_record_and_of_each_method():
    [row] = lines([DONE], [], [])
    assert (row["found_ml"], row["recon_psnr"], row["recon_ssim"], row["seconds"]) == ("2.0", "30.0", "0.9", "1.5")
    assert not {"regions", "shape", "metrics"} & row.keys()
