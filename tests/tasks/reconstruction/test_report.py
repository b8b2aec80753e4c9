"""The report of a run: files beside the picture, numbers that can be read again, and none of a person's folders."""

import json
from types import SimpleNamespace

import nibabel as nib
import numpy as np
import pytest
import torch
from monai.data import MetaTensor
from report_toy import run

from diffzoo.tasks.reconstruction.report import Report

AFFINE = np.diag([0.9, 1.1, 4.0, 1.0])


@pytest.fixture
def report(copy, tmp_path):
    inferer = SimpleNamespace(stats={"network_calls": 4.0, "data_residual": 1e-7, "figures": {}, "seconds": 1.0})
    parameters = {"seed": 0, "autocast": None}
    return Report(
        str(copy.root),
        str(tmp_path / "out"),
        str(copy.weights),
        inferer,
        ["recon", "std"],
        ["recon", "zero_filled"],
        {"reference": "truth", "recon": "reconstruction", "std": "std"},
        parameters=parameters,
    )


def volume(array):
    return MetaTensor(torch.as_tensor(array, dtype=torch.float32)[None], affine=torch.from_numpy(AFFINE))


def case(name="scan", reference=True, std=False, size=(40, 36, 3), seed=0):
    rng = np.random.default_rng(seed)
    truth = np.abs(rng.normal(size=size)).cumsum(0) / size[0]
    found = {"recon": volume(truth + 0.01), "zero_filled": volume(truth + 0.1 * rng.normal(size=size))}
    found |= {"reference": volume(truth)} if reference else {}
    found |= {"std": volume(np.abs(0.1 * rng.normal(size=size)))} if std else {}
    told = {"words": "4.00x", "undersampling": "retrospective" if reference else "measured", "effective_acceleration": 4.0}
    given = {"image": volume(truth), "acquisition": json.dumps(told), "notes": "one\ntwo", "case": name}
    return given | {"image_path": f"/home/somebody/{name}.nii.gz"}, found


def test_content(report, copy):
    told = run(report, case(std=True))
    assert told.keys() == {
        *("bundle", "software", "device", "run", "parameters", "positions", "cases", "failed", "unstarted", "notice")
    }
    assert told["bundle"] == {key: copy.metadata[key] for key in ("name", "version", "weights_sha256")} | {"trust": "not scanned"}
    assert told["parameters"] == {"seed": 0, "autocast": None} and told["device"] == "cpu"
    [one] = told["cases"]
    assert (
        one["shape"] == [40, 36, 3]
        and one["spacing_mm"] == [0.9, 1.1, 4.0]
        and one["acquisition"]["effective_acceleration"] == 4.0
    )
    assert one["network_calls"] == 4 and one["data_residual"] == 1e-7 and one["seconds"] >= 0
    assert one["warnings"] == ["one", "two"] and one["acquisition"]["undersampling"] == "retrospective"
    assert one["outputs"] == ["scan_recon.nii.gz", "scan_std.nii.gz"]
    assert "by_slice" not in one and set(one["spread"]) == {
        "spearman",
        "mean_std",
        "factor",
        "covered_0.5",
        "covered_0.8",
        "covered_0.95",
    }


def test_metrics_are_means_over_slices(report):
    given, found = case()
    [one] = run(report, (given, found))["cases"]
    truth, recon = (found[key].numpy()[0].astype(np.float64) for key in ("reference", "recon"))
    expected = np.mean([10 * np.log10(truth.max() ** 2 / np.mean((recon - truth)[..., k] ** 2)) for k in range(3)])
    assert one["metrics"]["recon"]["psnr"] == pytest.approx(expected)
    assert one["metrics"]["recon"]["psnr"] > one["metrics"]["zero_filled"]["psnr"]


def test_volumes_keep_values_and_affine(report):
    given, found = case()
    run(report, (given, found))
    made = nib.load(report.folder / "scan_recon.nii.gz")
    assert np.allclose(made.affine, AFFINE) and np.allclose(made.get_fdata(), found["recon"].numpy()[0])


def test_measured_data_has_no_metrics(report):
    [one] = run(report, case(reference=False))["cases"]
    assert one["acquisition"]["undersampling"] == "measured" and "metrics" not in one


def test_several_cases_grow_one_report(report):
    told = run(report, case("a"), case("b", seed=1), case("c", reference=False, seed=2))
    assert [one["case"] for one in told["cases"]] == ["a", "b", "c"]
    assert (report.folder / "preview.png").read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"


@pytest.mark.filterwarnings("ignore:Mean of empty slice", "ignore:invalid value")
def test_slices_of_air_and_small_slices_leave_a_report_that_can_be_read(report):
    given, found = case(std=True, size=(16, 16, 1))
    empty = {key: value * 0 for key, value in found.items()}
    told = run(report, (given, empty), (given | {"case": "small"}, found))
    assert told["cases"][0]["metrics"] == {"recon": {}, "zero_filled": {}}
    assert "nan" not in (report.folder / "report.json").read_text().lower()


def test_no_folder_of_a_person_and_no_half_file(report):
    run(report, case())
    assert "somebody" not in (report.folder / "report.json").read_text()
    assert not [p.name for p in report.folder.iterdir() if p.name.startswith(".") or "part" in p.name]


def test_the_line_of_a_case_tells_the_essentials(report):
    record = {"case": "a", "seconds": 1.25, "metrics": {"recon": {"psnr": 33.25}, "zero_filled": {}}, "warnings": ["spacing"]}
    assert report.line(record) == "a: 1.2 s, recon 33.2 dB, warning: spacing"
