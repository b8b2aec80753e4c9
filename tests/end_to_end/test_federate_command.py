"""`diffzoo federate` as a person types it: a job and lists for two sites, and one line with code 2 for whatever does not fit."""

import json

import pytest
from finetune_toy import folder_of, write_scan


@pytest.fixture(scope="module")
def sites(tmp_path_factory):
    folder = tmp_path_factory.mktemp("sites")
    for k in range(3):
        write_scan(folder / "two" / f"jones{k}_t1.nii.gz", 10 + k)
    return folder_of(folder / "one"), folder / "two"


def test_a_job_for_two_sites_and_what_to_do_with_it(command, sites, tmp_path):
    words = ("--data", sites[0], "--data", sites[1], "--rounds", 3, "--steps", 7, "--mu", 0.1, "--set", "crop=32")
    done = command("federate", "score_mri", *words, "-o", tmp_path / "together")
    assert done.code == 0, done.err
    assert "site-1:" in done.out and "4 T1" in done.out and "2 training, 1 validation, 1 test" in done.out
    assert "nvflare simulator" in done.out and "--weights FL_global_model.pt --steps 0" in done.out
    job = tmp_path / "together" / "job"
    assert sorted(path.name for path in job.iterdir()) == ["app_server", "app_site-1", "app_site-2", "meta.json"]
    train = json.loads((job / "app_site-2" / "config" / "score_mri" / "configs" / "train.json").read_text())
    assert train["mu"] == 0.1
    server = json.loads((job / "app_server" / "config" / "config_fed_server.json").read_text())
    assert server["workflows"][0]["args"]["num_rounds"] == 3


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("score_mr",), "did you mean score_mri"),
        (("score_mri", "--rounds", 0), "--rounds 0"),
        (("score_mri", "--mu", -1), "--mu -1"),
        (("score_mri", "--set", "epochs=3"), "give --epochs"),
        (("score_mri", "--set", "crops=3"), "did you mean crop"),
        (("score_mri", "--roundz", 3), "--rounds"),
    ],
)
def test_what_does_not_fit_is_one_line(words, told, command, sites, tmp_path):
    done = command("federate", *words, "--data", sites[0], "-o", tmp_path / "together")
    assert done.code == 2 and told in done.complaint and not list(tmp_path.iterdir())


def test_a_site_with_too_few_scans_leaves_nothing(command, sites, tmp_path):
    few = folder_of(tmp_path / "few", 1)
    done = command("federate", "score_mri", "--data", sites[0], "--data", few, "-o", tmp_path / "together")
    assert done.code == 2 and "one scan only" in done.complaint and not (tmp_path / "together").exists()
