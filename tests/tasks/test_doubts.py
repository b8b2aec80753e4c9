"""What each task doubts of a record: a nonsense result is told, a good one is not."""

import pytest

from diffzoo.tasks.task import task_of

GOOD = {
    "anomaly": {"found_ml": 20.0, "brain_ml": 1300.0},
    "generate": {"label_ml": {"csf": 300.0, "grey": 600.0, "white": 500.0, "lesion": 10.0}},
    "reconstruct_ct": {"data_residual": 0.004, "metrics": {"recon": {"psnr": 30.0}, "fbp": {"psnr": 20.0}}},
    "reconstruct_mri": {"data_residual": 1e-7, "metrics": {"recon": {"psnr": 35.0}, "zero_filled": {"psnr": 27.0}}},
    "register": {"ncc_before": 0.5, "ncc_after": 0.9, "jacobian": {"folding": 0.0}},
    "segment": {"acquisition": {"marked": 16}, "spread": 0.2, "metrics": {"drawn": {"ci": 0.6}, "empty": {"ci": 0.1}}},
    "translate": {"levels": {"t2": [100.0, 900.0]}, "metrics": {"draw": {"psnr": 18.0}, "copy": {"psnr": 17.0}}},
}
NONSENSE = [
    ("anomaly", {"found_ml": 1508.0, "brain_ml": 1520.0}, {}, "1508 ml were found, 99% of the brain"),
    ("anomaly", {"found_ml": 0.0, "brain_ml": 12.0}, {}, "only 12 ml of brain"),
    ("anomaly", GOOD["anomaly"], {"steps": 4, "average": 1}, "chosen for another steps, average"),
    (
        "anomaly",
        GOOD["anomaly"] | {"metrics": {"anomaly_map": {"auprc": 0.1}, "brightness": {"auprc": 0.4}}},
        {},
        "worse than brightness, which needs no model: AUPRC 0.1 against 0.4",
    ),
    ("generate", {"label_ml": {"csf": 300.0, "grey": 0.0, "white": 0.0, "lesion": 0.0}}, {}, "no grey or white matter"),
    ("generate", {"label_ml": {"csf": 300.0, "grey": 600.0, "white": 100.0, "lesion": 1000.0}}, {}, "50% of the map is lesion"),
    ("generate", GOOD["generate"] | {"metrics": {"painted": {"psnr": 9.0}, "flat": {"psnr": 12.0}}}, {}, "worse than flat"),
    (
        "reconstruct_ct",
        {"data_residual": 0.004, "metrics": {"recon": {"psnr": 10.0}, "fbp": {"psnr": 20.0}}},
        {},
        "worse than fbp",
    ),
    ("reconstruct_ct", {"data_residual": 2.5}, {}, "does not fit the measured data: 250%"),
    ("reconstruct_mri", {"data_residual": float("nan")}, {}, "does not fit the measured data"),
    (
        "reconstruct_mri",
        {"data_residual": 1e-7, "metrics": {"recon": {"psnr": -14.9}, "zero_filled": {"psnr": 27.0}}},
        {},
        "worse than zero filled, which needs no model: PSNR -14.9 against 27",
    ),
    ("register", GOOD["register"] | {"ncc_after": 0.4}, {}, "agrees less than before: NCC 0.500 to 0.400"),
    ("register", GOOD["register"] | {"jacobian": {"folding": 0.05}}, {}, "folds in 5.0% of the voxels"),
    (
        "register",
        GOOD["register"] | {"metrics": {"network": {"dice": 0.6}, "aligned": {"dice": 0.7}}},
        {},
        "worse than aligned, which needs no model: DICE 0.6 against 0.7",
    ),
    ("segment", GOOD["segment"] | {"acquisition": {"marked": 0}}, {}, "no draw marks anything"),
    ("segment", GOOD["segment"] | {"spread": 0.9}, {}, "the draws hardly agree"),
    ("segment", GOOD["segment"] | {"metrics": {"drawn": {"ci": 0.1}, "empty": {"ci": 0.4}}}, {}, "worse than empty"),
    ("translate", {"levels": {"t2": [0.0, 3.0]}}, {}, "the t2 that was made is empty"),
    ("translate", GOOD["translate"] | {"metrics": {"draw": {"psnr": 9.0}, "copy": {"psnr": 17.0}}}, {}, "worse than copy"),
]


@pytest.mark.parametrize("task", GOOD)
def test_a_good_result_is_not_doubted(task):
    assert task_of(task).doubts(GOOD[task], {}) == []


@pytest.mark.parametrize(("task", "case", "changed", "words"), NONSENSE)
def test_nonsense_is_told(task, case, changed, words):
    [doubt] = task_of(task).doubts(case, changed)
    assert words in doubt


def test_the_mean_of_draws_stands_for_a_translation_that_has_one():
    metrics = {"draw": {"psnr": 9.0}, "mean": {"psnr": 18.0}, "copy": {"psnr": 17.0}}
    assert task_of("translate").doubts(GOOD["translate"] | {"metrics": metrics}, {}) == []


@pytest.mark.parametrize("changed", [{"seed": 3}, {"slice_batch": 2, "modality": "t2"}, {"steps": 4, "threshold": 0.2}])
def test_a_threshold_that_still_holds_or_was_set_is_not_doubted(changed):
    assert task_of("anomaly").doubts(GOOD["anomaly"], changed) == []
