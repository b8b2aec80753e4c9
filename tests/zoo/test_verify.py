"""Verification by attack: a copy of a bundle with one thing broken, and the one check that is there for it tells so."""

import json
import runpy
import shutil

import pytest
from defects import DEFECTS, INFERENCE, METADATA, swap, tell
from safetensors.torch import load_file, save_file

from diffzoo.errors import InputError
from diffzoo.facts import sha256
from diffzoo.zoo.bundle import CHECKOUT
from diffzoo.zoo.pack import pack
from diffzoo.zoo.verify import (
    CHECKS,
    QUICK,
    Check,
    Subject,
    configs,
    files,
    kept,
    name_of,
    network,
    reference,
    runs,
    verify,
    versions,
    workflows,
)
from diffzoo.zoo.verify.show import as_json, row, show


@pytest.fixture
def root(tmp_path):
    """A copy of score_mri."""
    return shutil.copytree(CHECKOUT / "score_mri", tmp_path / "score_mri")


@pytest.fixture
def small(root):
    """The same with a few of its tensors, which is as good where nothing is run."""
    path = root / "models" / "model.safetensors"
    before = sha256(path)
    save_file(dict(list(load_file(path).items())[:9]), path)
    for told in ("configs/metadata.json", "docs/results.json"):
        swap(told, before, sha256(path))(root)
    return root


def broken(checks) -> dict[str, Check]:
    return {check.name: check for check in checks if check.passed is False}


@pytest.mark.parametrize("what", DEFECTS)
def test_a_defect_is_told_by_its_own_check_alone_and_with_a_remedy(small, what):
    name, word, spoil = DEFECTS[what]
    spoil(small)
    found = broken(verify(small, quick=True))
    assert list(found) == [name], {one.name: one.detail for one in found.values()}
    assert word in found[name].detail and found[name].remedy


def test_a_whole_bundle_passes_what_is_quick_and_each_check_has_a_name_and_a_promise(root):
    checks = verify(root, quick=True)
    assert [check.name for check in checks] == [name_of(check) for check in QUICK] and not broken(checks)
    assert [check.name for check in checks if check.passed is None] == ["version"]  # nothing earlier was given
    names = [name_of(check) for check in CHECKS]
    assert len(set(names)) == len(names) and all(check.__doc__ for check in CHECKS)


def test_no_folder_is_an_error(tmp_path):
    with pytest.raises(InputError, match="is no folder"):
        verify(tmp_path / "gone")


def test_an_empty_folder_tells_what_is_missing_and_nothing_else(tmp_path):
    found = broken(verify(tmp_path))
    assert list(found) == ["files"] and "LICENSE is missing" in found["files"].detail


# versions


def previous(root, earlier, change=None) -> Check:
    if change:
        change(root)
    return kept(versions.version, Subject(root, root.parent / "work", earlier))


@pytest.fixture(params=["pack", "folder"])
def earlier(request, root, tmp_path):
    """score_mri as it was before."""
    return pack(root, tmp_path / "packs") if request.param == "pack" else shutil.copytree(root, tmp_path / "old" / "score_mri")


def test_the_same_content_may_keep_its_version(root, earlier):
    assert previous(root, earlier).passed


def test_changed_content_needs_a_higher_version_and_keeps_the_changelog(root, earlier):
    found = previous(root, earlier, swap("docs/README.md", "## Bias and limits", "## Bias and limits\nMore."))
    assert found.passed is False and "docs/README.md changed" in found.detail and "raise the version" in found.remedy
    tell("version", value="0.10.0")(root)
    told = json.loads((root / "configs" / "metadata.json").read_text())["changelog"]
    assert "no more of" in previous(root, earlier, tell("changelog", value={"0.10.0": "limits"})).detail
    assert previous(root, earlier, tell("changelog", value=told | {"0.10.0": "limits"})).passed


def test_versions_are_compared_as_numbers_not_as_text(root, tmp_path):
    old = shutil.copytree(root, tmp_path / "old" / "score_mri")
    for version, place, good in (("0.9.0", root, None), ("0.10.0", old, False), ("0.11.0", root, True)):
        tell("version", value=version)(place)
        tell("changelog", value={"0.9.0": "a", "0.10.0": "b", "0.11.0": "c"})(place)
        if good is not None:
            assert previous(root, old).passed is good
    assert "older than 0.10.0" in previous(root, old, tell("version", value="0.9.0")).detail


def test_a_folder_with_an_index_gives_the_newest_pack(root, tmp_path):
    from diffzoo.zoo.index import INDEX, written
    from diffzoo.zoo.pack import pack_facts

    made = pack(root, tmp_path / "packs")
    listed = written("toys", 1, "2026-01-01T00:00:00Z", [pack_facts(made, tmp_path / "look")])
    (made.parent / INDEX).write_bytes(listed)
    assert previous(root, made.parent).passed
    assert previous(root, made.parent, swap("docs/README.md", "## Bias and limits", "## Bias and limits\nMore.")).passed is False
    (made.parent / INDEX).write_bytes(listed.replace(b'"score_mri": {', b'"others": {').replace(b"score_mri_v", b"others_v"))
    assert "first of score_mri" in previous(root, made.parent).detail


def test_an_earlier_pack_that_is_not_there_is_told(root, tmp_path):
    found = previous(root, tmp_path / "gone.zip")
    assert found.passed is False and "is not there" in found.detail


# what only a run shows: one check alone, as the others would take a minute


def one(root, check, change) -> Check:
    change(root)
    return kept(check, Subject(root, root.parent / "work"))


RUN = {
    "another network": (
        network.strict_weights,
        "unexpected",
        swap(INFERENCE, "channels: [48, 96, 128]", "channels: [48, 96, 96]"),
    ),
    "training of another network": (
        network.strict_weights,
        "train trains another network",
        swap("configs/train.yaml", "channels: [48, 96, 128]", "channels: [48, 96, 96]"),
    ),
    "more channels out than there are": (
        network.network,
        "(2, 1, 24, 25)",
        tell("network_data_format", "outputs", "pred", "num_channels", value=2),
    ),
    "another dtype": (network.network, "float64", tell("network_data_format", "outputs", "pred", "dtype", value="float64")),
    "a network under another id": (network.stock_load, "network_def", swap(INFERENCE, "network_def", "the_network")),
    "no id evaluator": (workflows.inference_properties, "evaluator", swap(INFERENCE, "evaluator", "engine")),
    "no id train::dataset": (
        workflows.training_properties,
        "dataset",
        swap("configs/train.yaml", "'@train::dataset'", "'@train::data'"),
    ),
    "an input that is not described": (
        workflows.pipeline,
        "mask is described or taken",
        tell("inferer_data_format", "inputs", "mask", value=None),
    ),
    "output that stays in the network's grid": (
        runs.geometry,
        "not on the grid",
        swap(INFERENCE, "keys: [recon, std, zero_filled, reference]", "keys: [std, zero_filled, reference]"),
    ),
    "no seed": (
        runs.determinism,
        "seed",
        lambda root: [swap(INFERENCE, "'@seed'", "0")(root), swap(INFERENCE, "\nseed: 0 ", "\n#")(root)],
    ),
    "no metrics": (workflows.evaluation, "metrics.json", swap("configs/evaluate.yaml", "['@report', '@metrics']", "['@report']")),
    "a rate of nothing": (
        workflows.training_step,
        "tensors in one step",
        swap("configs/train.yaml", "learning_rate: '@learning_rate'", "learning_rate: 1.0e-30"),
    ),
}


@pytest.mark.parametrize("what", RUN)
def test_a_defect_that_only_a_run_shows_is_told_with_a_remedy(root, what):
    check, word, change = RUN[what]
    found = one(root, check, change)
    assert found.passed is False and word in found.detail and found.remedy, found


def test_a_reference_of_other_values_weights_or_settings_is_told(root):
    path = root / reference.FILE
    told = json.loads(path.read_text())
    blocks = told["outputs"]["recon.nii.gz"]["blocks"]
    shifted = {**told["outputs"]["recon.nii.gz"], "blocks": [blocks[0] + 20, *blocks[1:]]}
    changed = {"outputs": {**told["outputs"], "recon.nii.gz": shifted}}
    for change, word in (
        (changed, "of its range"),
        ({"weights_sha256": "0" * 64}, "other weights"),
        ({"settings": {**told["settings"], "steps": 3}}, "of its range"),
        ({"sample": "head"}, "another sample"),
    ):
        path.write_text(json.dumps(told | change))
        found = kept(reference.reference, Subject(root, root.parent / f"work{len(word)}{len(str(change))}"))
        assert found.passed is False and word in found.detail and "write_reference" in found.remedy
    path.unlink()
    assert "missing" in kept(reference.reference, Subject(root, root.parent / "last")).detail


def test_the_program_writes_the_reference_that_the_check_reads(root):
    path = root / reference.FILE
    before = json.loads(path.read_text())
    path.unlink()
    runpy.run_path(str(CHECKOUT.parent / "tools" / "write_reference.py"))["main"](str(root))
    assert json.loads(path.read_text()).keys() == before.keys()
    assert kept(reference.reference, Subject(root, root.parent / "work")).passed


def test_the_difference_of_two_summaries_is_in_units_of_the_range():
    expected = {"mean": 1.0, "std": 2.0, "range": 10.0, "blocks": [1.0, 2.0]}
    assert reference.difference(expected, expected) == 0
    assert reference.difference(expected | {"std": 2.5}, expected) == pytest.approx(0.05)
    assert reference.difference(expected | {"blocks": [1.0, 3.0]}, expected) == pytest.approx(0.1)


def test_nothing_is_run_of_a_bundle_that_the_scan_refuses(root, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    swap(INFERENCE, "handlers: ['@report']\n", "handlers: $open('canary', 'w').close()\n")(root)
    checks = {check.name: check for check in verify(root)}
    assert list(broken(checks.values())) == ["scan"] and not (tmp_path / "canary").exists()
    assert all(checks[name_of(check)].passed is None for check in CHECKS[len(QUICK) :])


def test_further_weights_are_hashed_too(root):
    twin, others = root / "models" / "twin.safetensors", Subject(root, root.parent).metadata["files_sha256"]
    shutil.copyfile(root / "models" / "model.safetensors", twin)
    for told, good in ((sha256(twin), True), ("0" * 64, False)):
        tell("files_sha256", value=others | {"models/twin.safetensors": told})(root)
        assert kept(files.weights, Subject(root, root.parent)).passed is good
    found = kept(files.sizes, Subject(root, root.parent))
    assert found.passed is False and "18.8 MiB" in found.detail
    twin.unlink()
    assert "which is not there" in kept(files.weights, Subject(root, root.parent)).detail


@pytest.mark.parametrize(
    "text", ["@a.run()", "@a.__class__", "__import__('os')", "lambda: 1", "[1, 2]", "@a[0]", "@a if @b else 1", "a ="]
)
def test_the_small_grammar_refuses(text):
    assert not configs.is_simple(text)
    assert configs.is_simple("@a::b + '/c' * 2")


def test_an_overlay_of_training_is_laid_over_training(root):
    (root / "configs" / "train_longer.yaml").write_text("# Laid over train.yaml.\nepochs: 99   # more\nlonger: '@nothing'\n")
    subject = Subject(root, root.parent)
    assert ["train", "train_longer"] in subject.training_sets and ["inference", "train_longer"] not in subject.inference_sets
    assert "train+train_longer, longer: @nothing" in kept(configs.references, subject).detail
    assert "longer is neither" in kept(configs.overlays, subject).detail


@pytest.mark.parametrize(
    ("place", "known"),
    [("train::loss", True), ("train::callbacks::ema", True), ("train::los", False), ("train::callbacks::emma", False)],
)
def test_an_overlay_may_change_a_part_of_what_its_base_has(root, place, known):
    (root / "configs" / "train_other.yaml").write_text(f"# Laid over train.yaml.\n'{place}': null\n")
    found = kept(configs.overlays, Subject(root, root.parent))
    assert found.passed is known and (known or f"{place} is neither" in found.detail)


def test_a_stage_of_one_training_makes_the_one_weight_file(root):
    (root / "configs" / "train_stage.yaml").write_text("# Laid over train.yaml.\npart: other\n")
    (root / "configs" / "train_twin.yaml").write_text("# Laid over train.yaml.\nepochs: 9\n")
    subject = Subject(root, root.parent)
    assert subject.weights_of(["train", "train_stage"]).name == subject.weights_of(["train"]).name == "model.safetensors"
    assert subject.weights_of(["train", "train_twin"]).name == "twin.safetensors"


# the table


def test_rows_and_json_tell_the_same(tmp_path):
    checks = [Check("a", True, "fine"), Check("b", False, "bad " * 50, "mend it"), Check("c", None, "not here")]
    assert row(checks[0]).startswith("ok    a ") and row(checks[2]).startswith("skip  c ")
    assert "to do: mend it" in row(checks[1]) and max(map(len, row(checks[1]).splitlines())) <= 130
    told = json.loads(as_json("toy", checks, 1.23))
    assert told["passed"] is False and told["bundle"] == "toy" and told["checks"][2] == vars(checks[2])
    assert json.loads(as_json("toy", checks[::2], 1.0))["passed"] is True


def test_the_table_goes_to_the_screen_and_to_a_file(root, tmp_path):
    lines = []
    assert show(str(root), True, None, str(tmp_path / "table.json"), lines.append)
    told = json.loads((tmp_path / "table.json").read_text())
    assert len(lines) == len(told["checks"]) + 1 and lines[-1].startswith("score_mri keeps its promises: ")
    swap(METADATA, "score_mri", "another")(root)
    lines.clear()
    assert not show(str(root), True, None, "-", lines.append)
    assert json.loads("".join(lines))["passed"] is False


def test_the_command_ends_with_2_when_a_promise_is_broken_and_0_otherwise(root, monkeypatch, capsys):
    from diffzoo import cli

    for change, code in ((None, 0), (tell("headline", value="better"), 2)):
        if change:
            change(root)
        monkeypatch.setattr("sys.argv", ["diffzoo", "verify", str(root), "--quick"])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        assert ended.value.code == code
    assert "BAD   headline" in capsys.readouterr().out
