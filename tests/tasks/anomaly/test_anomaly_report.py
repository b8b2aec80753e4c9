"""The report of an anomaly detection: what was found and where, how well where the truth is known, and the picture."""

import json

import nibabel as nib
import numpy as np
import pytest
from anomaly_toy import SCAN, SIZE, THRESHOLD, case, report, volume
from PIL import Image
from report_toy import run

from diffzoo.metrics import detection
from diffzoo.tasks.anomaly.report import RATES

VOXEL = 0.012  # ml
CUBE = 48


@pytest.fixture
def told(copy, tmp_path):
    """A function from cases to report.json."""
    return lambda *cases, **options: run(report(copy, tmp_path / "out", **options), *cases)


def test_what_was_found_is_told_without_any_truth(told, tmp_path):
    given, found = case(known=False)
    out = told((given, found), volumes=["healthy", "anomaly_map", "mask", "lesion"])
    [one] = out["cases"]
    assert out.keys() == {
        *("bundle", "software", "device", "run", "parameters", "positions", "cases", "failed", "unstarted", "notice")
    }
    assert "RAS+" in out["positions"]
    assert one["found_ml"] == pytest.approx(CUBE * VOXEL) and one["network_calls"] == 5 and one["seconds"] >= 0
    assert one["acquisition"] == {"modality": "t1", "threshold": THRESHOLD, "words": "T1, threshold 0.5"}
    places = {"side": "middle", "voxel": [8, 10, 5], "slice": {"plane": "axial", "counted_from": "feet", "number": 5}}
    assert one["regions"] == [{"ml": 0.576, "centre_mm": [15.0, 19.0, 15.0], **places}]
    assert "metrics" not in one and "lesion_ml" not in one and "fpr" not in one
    assert one["outputs"] == ["a_healthy.nii.gz", "a_anomaly_map.nii.gz", "a_mask.nii.gz"]
    assert np.array_equal(nib.load(tmp_path / "out" / "a_mask.nii.gz").get_fdata() > 0, found["mask"].numpy()[0])
    assert "somebody" not in json.dumps(out)


def test_the_line_of_a_case_tells_scores_and_volume(copy, tmp_path):
    made = report(copy, tmp_path / "out")
    [one] = run(made, case(subject="s"))["cases"]
    assert "AUPRC" in made.line(one) and made.line(one).endswith(f"{one['found_ml']:.1f} ml found")


def test_regions_lie_in_the_world_of_the_scan(told):
    given, found = case(known=False, affine=SCAN)
    [one] = told((given, found))["cases"]
    [region] = one["regions"]
    assert region["centre_mm"] == pytest.approx((SCAN @ [7.5, 9.5, 5, 1])[:3].tolist())
    assert region["side"] == "middle" and region["slice"] == {"plane": "axial", "counted_from": "feet", "number": 10}
    assert one["shape"] == list(SIZE) and one["spacing_mm"] == [2.0, 4.0, 1.5]


def test_the_side_is_that_of_the_person_and_is_not_told_where_the_header_states_none(told):
    given, found = case(known=False)
    mirrored = {key: volume(value.numpy()[0], np.diag([-2.0, 2.0, 3.0, 1.0])) for key, value in found.items()}
    off = {key: volume(np.roll(found[key].numpy()[0], -4, axis=0)) for key in ("mask", "anomaly_map")}
    assert told((given, found | off))["cases"][0]["regions"][0]["side"] == "left of the person"
    flipped = {key: volume(np.roll(found[key].numpy()[0], -4, axis=0), mirrored[key].affine) for key in off}
    assert told((given, mirrored | flipped))["cases"][0]["regions"][0]["side"] == "right of the person"
    given["notes"] = "the header has no sform or qform: geometry taken from the voxel size, orientation unknown"
    assert "unknown" in told((given, found | off))["cases"][0]["regions"][0]["side"]


def test_every_method_is_judged_on_the_brain(told):
    given, found = case(noise=0.5, subject="s", group="6 mm")
    [one] = told((given, found))["cases"]
    truth, brain = found["lesion"].numpy()[0], found["brain"].numpy()[0]
    for method in ("anomaly_map", "brightness"):
        score, metrics = found[method].numpy()[0][brain], one["metrics"][method]
        assert metrics["auprc"] == pytest.approx(detection.average_precision(score, truth[brain]))
        assert metrics["auroc"] == pytest.approx(detection.auroc(score, truth[brain]))
        assert (metrics["best_dice"], metrics["best_threshold"]) == pytest.approx(detection.best_dice(score, truth[brain]))
    assert set(one["metrics"]["brightness"]) == {"auprc", "auroc", "best_dice", "best_threshold"}
    mask = found["mask"].numpy()[0]
    assert one["metrics"]["anomaly_map"]["dice"] == pytest.approx(2 * CUBE / (CUBE + mask.sum()))
    assert one["fpr"] == pytest.approx((mask & ~truth).sum() / (brain & ~truth).sum()) and 0 < one["fpr"] < 1
    assert one["lesion_ml"] == pytest.approx(CUBE * VOXEL) and one["prevalence"] == pytest.approx(CUBE / brain.sum())
    assert (one["subject"], one["group"]) == ("s", "6 mm")


def test_voxels_that_do_not_count_change_nothing(told):
    given, found = case(noise=0.2)
    ignore = np.zeros(SIZE, bool)
    ignore[13:17, 3:9, 2:9] = True
    loud = {"anomaly_map": found["anomaly_map"] + volume(5.0 * ignore), "ignore": volume(ignore)}
    [one] = told((given, found | loud))["cases"]
    assert one["metrics"]["anomaly_map"]["auprc"] == pytest.approx(1) and one["fpr"] == 0
    [other] = told((given, found | {"anomaly_map": loud["anomaly_map"]}))["cases"]
    assert other["metrics"]["anomaly_map"]["auprc"] < 0.5 and other["fpr"] > 0


def test_a_healthy_case_tells_its_false_positives_and_thresholds(copy, tmp_path):
    made = report(copy, tmp_path / "out")
    given, found = case(lesion=False, noise=0.5)
    [one] = run(made, (given, found))["cases"]
    brain, score = found["brain"].numpy()[0], found["anomaly_map"].numpy()[0]
    assert "metrics" not in one and "by_threshold" not in one and one["lesion_ml"] == 0
    assert one["fpr"] == pytest.approx(np.mean(score[brain] >= THRESHOLD))
    for rate in RATES:
        threshold = made.cases[0]["by_threshold"][str(rate)]
        assert np.mean(score[brain] >= threshold) <= rate < np.mean(score[brain] >= threshold - 0.02)


def test_what_became_of_image_and_lesion(told):
    given, found = case()
    image, truth, brain = (found[key].numpy()[0] for key in ("image", "lesion", "brain"))
    healthy = np.where(truth, image - 0.45, image + 0.01 * brain).astype(np.float32)
    clean = volume((0.6 * brain).astype(np.float32))
    [one] = told((given, found | {"healthy": volume(healthy), "clean": clean}))["cases"]
    own = one["metrics"]["anomaly_map"]
    assert own["moved"] == pytest.approx(0.45 / 0.6, abs=1e-4) and own["healthy_psnr"] == pytest.approx(40, abs=0.01)
    assert "moved" not in one["metrics"]["brightness"]
    twin = volume(image)
    [one] = told((given, found | {"brightness_healthy": twin, "clean": clean}))["cases"]
    assert one["metrics"]["anomaly_map"]["moved"] == pytest.approx(1, abs=1e-4) and one["metrics"]["brightness"]["moved"] == 0


def test_maps_back_on_the_scan_are_judged_by_their_dice(told):
    """The brain mask stays on the model's grid."""
    given, found = case(affine=SCAN)
    scan = volume(900 * found["image"].numpy()[0], SCAN)
    small = volume(np.ones((5, 6, 7), bool))
    [one] = told((given | {"scan": scan}, found | {"brain": small, "image": small.float()}))["cases"]
    assert one["metrics"] == {"anomaly_map": {"dice": 1.0}} and one["lesion_ml"] == one["found_ml"]
    none = {"brain": small, "image": small.float(), "lesion": found["lesion"] & False}
    [none] = told((given | {"scan": scan}, found | none))["cases"]
    assert "metrics" not in none and none["lesion_ml"] == 0


def test_the_picture_shows_slices_of_the_lesion_in_red_and_blue(copy, tmp_path):
    made = report(copy, tmp_path / "out")
    run(made, case())
    assert [int(row["planes"]["lesion"].sum()) for row in made.rows] == [16, 16]  # of three slices two that do not touch
    picture = np.asarray(Image.open(made.folder / "preview.png").convert("RGB")).astype(int)
    red = (picture[..., 0] > picture[..., 1] + 60) & (picture[..., 0] > picture[..., 2] + 60)
    blue = picture[..., 2] > picture[..., 0] + 60
    thirds = [part.mean() for part in np.array_split(red[30:-60], 5, axis=1)]
    assert np.argmax(thirds[3:]) == 0 and thirds[3] > 0.001 and not red[30:-60, : picture.shape[1] // 5].any()
    assert blue[:, -picture.shape[1] // 5 :].sum() > 100


def test_rows_of_a_scan_grow_to_right_anterior_and_know_their_spacing(copy, tmp_path):
    made = report(copy, tmp_path / "out")
    given, found = case(known=False, affine=SCAN)
    run(made, (given | {"scan": found["image"]}, found))
    row = made.rows[0]
    assert row["spacing"] == (1.5, 2.0) and row["planes"]["scan"].shape == (SIZE[2], SIZE[0])
    place = np.argwhere(row["planes"]["mask"]).mean(0)
    assert place.tolist() == [5.0, SIZE[0] - 1 - 7.5]  # R up along the third stored axis, A down along the first


def test_the_picture_has_four_rows_and_only_cases_that_it_shows(copy, tmp_path):
    made = report(copy, tmp_path / "out")
    run(made, *[case(f"c{k}", seed=k, lesion=k != 1) for k in range(6)])
    assert [row["case"] for row in made.rows] == ["c0", "c0", "c1", "c2"]
    assert len(json.loads((made.folder / "report.json").read_text())["cases"]) == 6


def test_nothing_found_is_a_report_too(told):
    given, found = case(lesion=False, known=False)
    empty = {"anomaly_map": found["anomaly_map"] * 0, "mask": found["mask"] & False}
    [one] = told((given, found | empty))["cases"]
    assert one["found_ml"] == 0 and one["regions"] == []


def test_a_mask_is_a_file_of_whole_numbers(told, tmp_path):
    told(case(known=False), volumes=["healthy", "mask"])
    kinds = {name: nib.load(tmp_path / "out" / f"a_{name}.nii.gz").get_data_dtype() for name in ("mask", "healthy")}
    assert kinds == {"mask": np.uint8, "healthy": np.float32}
