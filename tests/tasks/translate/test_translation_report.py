"""What a translation leaves and tells: volumes in units on the scan's grid, metrics, spread, pictures, tables."""

import json

import nibabel as nib
import numpy as np
import pytest
import torch
from contrasts_toy import write_contrasts
from report_toy import run

from diffzoo.errors import InputError
from diffzoo.imaging.preview import Column
from diffzoo.tasks.translate.card import compact, translation_rows
from diffzoo.tasks.translate.heads import LoadContrasts
from diffzoo.tasks.translate.outputs import NameTargets, in_units
from diffzoo.tasks.translate.report import TranslationReport
from diffzoo.tasks.translate.table import TranslationTable

ROLES = ("t1", "t2", "flair")
OFF = 0.1


class Stub:
    """An inferer that has run."""

    def __init__(self):
        self.stats = {"network_calls": 12.0, "seconds": 1.0}


def item_of(folder, samples=1, **more):
    """A case whose FLAIR was made, off by OFF everywhere, with a std of the same."""
    paths = write_contrasts(folder)
    load = LoadContrasts(ROLES, 4.0, (48, 48), target="flair")
    case = {"image": paths["t1"], "case": "sub", **paths, **more}
    data = load(case)
    inside = data["inside"].as_tensor()
    draw = (data["truth"].as_tensor() + OFF) * inside * torch.tensor([0.0, 0, 1]).view(3, 1, 1, 1)
    std = OFF * inside * torch.tensor([0.0, 0, 1]).view(3, 1, 1, 1)
    pred = draw if samples == 1 else torch.cat([draw, draw, std])
    return case, NameTargets(ROLES)(data | {"pred": pred})


@pytest.fixture
def report(copy, tmp_path):
    return TranslationReport(
        bundle_root=str(copy.root), output_dir=str(tmp_path / "out"), weights=str(copy.weights),
        inferer=Stub(), volumes=["flair", "flair_std"], parameters={}, methods=["draw", "mean"], sources=ROLES, targets=ROLES,
    )  # fmt: skip


def test_volumes_lie_on_the_first_scan_in_units(report, tmp_path):
    case, item = item_of(tmp_path / "in", samples=3)
    [told] = run(report, (case, item))["cases"]
    assert told["outputs"] == ["sub_flair.nii.gz", "sub_flair_std.nii.gz"] and told["units"] == {"flair": "units"}
    made, scan = nib.load(tmp_path / "out" / "sub_flair.nii.gz"), nib.load(case["t1"])
    assert made.shape == scan.shape and np.allclose(made.affine, scan.affine)
    spread = nib.load(tmp_path / "out" / "sub_flair_std.nii.gz").get_fdata()
    assert np.median(spread[spread > 0]) == pytest.approx(1000 * OFF, rel=0.01)
    assert told["acquisition"]["words"] == "FLAIR from T1, T2" and told["given"] == "t1+t2"


def test_each_method_is_judged_on_the_truth(report, tmp_path):
    [told] = run(report, item_of(tmp_path / "in", samples=3))["cases"]
    for method in ("draw", "mean"):
        assert told["metrics"][method]["mae"] == pytest.approx(1000 * OFF, rel=1e-3)
        assert told["metrics"][method]["detail"] == pytest.approx(1, abs=0.2)
    spread = told["spread"]
    assert spread["factor"] == pytest.approx(1 / 1.2816, rel=0.01) and spread["covered_0.8"] == 1 and spread["covered_0.5"] == 0
    assert "FLAIR from T1, T2" in report.line(report.cases[0]) and (tmp_path / "out" / "preview.png").is_file()


def test_the_picture_has_what_was_given_made_true_and_wrong(report, tmp_path):
    run(report, item_of(tmp_path / "in", samples=3))
    columns = report.columns_of(report.rows)
    assert [c.title for c in columns] == ["given: t1", "given: t2", "made: flair", "true", "error", "std"]
    assert all(isinstance(c, Column) and len(c.planes) == 4 for c in columns)
    assert np.median(columns[4].planes[1][columns[4].planes[1] > 0]) == pytest.approx(OFF / 0.5, rel=0.01)


def test_without_a_truth_nothing_is_judged(report, tmp_path):
    case, item = item_of(tmp_path / "in")
    [told] = run(report, (case, item | {"known": torch.zeros(3)}))["cases"]
    assert "metrics" not in told and "spread" not in told and "true" not in report.rows[0]["planes"]


def test_a_table_is_over_people_and_says_what_lacks_a_truth(report, tmp_path):
    first = item_of(tmp_path / "a", subject="p1")
    again, other = item_of(tmp_path / "b", subject="p1"), item_of(tmp_path / "c", subject="p2")
    worse = other[1] | {"draw": other[1]["draw"] * 0.5}
    table = TranslationTable(report)
    run(report, first, again, (other[0], worse), table=table)
    result = table.result()
    each = [result["people"][p]["draw"]["mae"] for p in ("p1", "p2")]
    assert result["mean"]["draw"]["mae"] == pytest.approx(np.mean(each)) and result["spread"] is None
    assert list(result["given"]) == ["t1+t2"] and list(result["roles"]) == ["flair"]
    kept = compact(json.loads((tmp_path / "out" / "metrics.json").read_text()), report.cases)
    assert set(kept["cases"]["sub"]) == {"draw"} and len(json.dumps(kept)) < 2000
    rows = translation_rows({"test": kept | {"what": "Test"}}, {"methods": {"draw": "ours"}, "headline": "test"})
    assert rows[0][2][:3] == ["Test", "ours", "2"] and len(rows) == 1  # of one set, one target
    with pytest.raises(InputError, match="nothing to compare with"):
        run(report, (first[0], first[1] | {"known": torch.zeros(3)}), table=table)


def test_ct_is_in_hounsfield_units():
    assert in_units(torch.tensor([0.0, 0.5, 1.5]), "ct").tolist() == [-1000, 0, 2000]


def test_a_ct_has_a_table_of_its_own_and_so_has_what_a_tool_measured():
    figures = {"psnr": 27.0, "ssim": 0.8, "mae": 90.0, "bias": -12.34, "dice_bone": 0.5, "better_ssim": 0.25}
    test = {"what": "Test", "people": {"a": {"draw": figures}}, "mean": {"draw": figures}, "given": {}, "roles": {}}
    tool = {"what": "Lesions", "figures": {"contrast_hu": 123.4, "lesions": 8}}
    rows = translation_rows({"test": test, "lesions": tool}, {"methods": {"draw": "ours"}, "headline": "test"})
    assert rows[1][0][2:] == ["bias (HU)", "edges, F1", "bone, Dice", "air, Dice", "slices nearer by PSNR", "by SSIM"]
    assert rows[1][2] == ["Test", "ours", "-12.3", "", "0.500", "", "", "25%"]
    both, methods = {"test": test, "more": test | {"what": "More"}}, {"methods": {"draw": "ours"}, "headline": ""}
    again, once = (translation_rows(both, methods | {"once": flag}) for flag in (False, True))
    assert [len(table) for table in again[:2]] == [4, 4] and [len(table) for table in once[:2]] == [3, 3]
    assert rows[2] == [["measurement", "contrast hu", "lesions"], ["---", "---:", "---:"], ["Lesions", "123", "8"]]
