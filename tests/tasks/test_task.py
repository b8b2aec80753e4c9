"""Every task: what its TASK says, from a simulated case through run and evaluation to the rows of a card."""

import json

import pytest

from diffzoo.errors import InputError
from diffzoo.tasks.task import names, task_of
from diffzoo.zoo.bundle import Bundle, find
from diffzoo.zoo.session import Session
from diffzoo.zoo.tables import entry_of, results_of
from diffzoo.zoo.verify import Subject
from diffzoo.zoo.verify.samples import labelled


def test_a_task_is_named_by_its_folder():
    assert {"anomaly", "generate", "reconstruct_ct", "reconstruct_mri", "register", "translate"} <= set(names())
    assert [task_of(name).name for name in names()] == names() and task_of("reconstruct-mri") is task_of("reconstruct_mri")
    with pytest.raises(InputError, match="unknown task 'anomalies'; did you mean anomaly"):
        task_of("anomalies")


@pytest.mark.parametrize("name", names())
def test_a_simulated_case_is_measured_and_told(name, tmp_path):
    task = task_of(name)
    bundle = find(task.pattern)
    assert bundle.task is task and task.title and set(task.images) >= {"image"}
    subject = Subject(bundle.root, tmp_path)
    configs = ["inference", "evaluate"]
    session = Session(Bundle(bundle.root), configs, subject.short(configs), "cpu", tmp_path / "out")
    outcome = session.run([labelled(tmp_path / "case", subject)])
    assert not outcome.failures and session.get("report").line(outcome.cases[0]).startswith("scan_t1: ")
    metrics = json.loads((tmp_path / "out" / "metrics.json").read_text())
    settings, what = task.scaffold_plan(bundle.parameters(configs))
    entry = entry_of({"what": f"Test list{what}", "settings": settings}, metrics, "0" * 64, task)
    methods = {method: method.replace("_", " ") for method in entry["mean"]}
    headline = task.headline(methods, entry).format(**entry)
    text = results_of({"test": entry}, {"methods": methods, "headline": "test"}, task)
    assert any(letter.isdigit() for letter in headline) and text.startswith("| ") and f"Test list{what}" in text


@pytest.mark.parametrize("name", names())
def test_what_a_task_plans_fits_the_parameters_of_its_pattern(name):
    task = task_of(name)
    known = find(task.pattern).parameters(["inference", "evaluate"])
    for labelled_list in (True, False):
        for plan in task.plans(known, labelled_list):
            assert all(pair.partition("=")[0] in known for pair in plan.settings)
    assert all(pair.partition("=")[0] in known for pair in task.scaffold_plan(known)[0])
