"""Fine-tuning: a whole new bundle from tiny scans, the same after an interruption, and nothing half-written when it fails."""

import errno
import json
import shutil

import pytest
import torch
import yaml
from finetune_toy import folder_of, write_scan
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file

from diffzoo.errors import InputError
from diffzoo.facts import sha256
from diffzoo.tasks.task import task_of
from diffzoo.training import handlers, steps
from diffzoo.zoo.bundle import Bundle, find
from diffzoo.zoo.finetune import make, recipe, train, words
from diffzoo.zoo.finetune.choices import Choices, duration, layout, resumed
from diffzoo.zoo.finetune.command import finetune
from diffzoo.zoo.finetune.measure import changes, entries_of, plans_of, within_noise
from diffzoo.zoo.finetune.request import epochs_within, layout_within, lengths
from diffzoo.zoo.finetune.yamltext import blocks, written
from diffzoo.zoo.metadata import problems
from diffzoo.zoo.session import parse
from diffzoo.zoo.trust import content_hash
from diffzoo.zoo.verify import Subject, kept, verify, workflows
from diffzoo.zoo.work import run_cases

PARENT = "score_mri"
SHORT = {"steps": 4, "batch_size": 2, "learning_rate": 0.0002}
CROP = ["crop=32"]


@pytest.fixture(scope="module", autouse=True)
def small():
    """Previews of a small scan, two lines of the log in four steps."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(make, "WIDE", (48, 40, 3))
        patch.setattr("diffzoo.zoo.finetune.request.layout", lambda steps: layout(steps, 2))
        yield


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return folder_of(tmp_path_factory.mktemp("data"))


@pytest.fixture(scope="module")
def made(data, tmp_path_factory):
    """A bundle fine-tuned by adapters, held to its parent on the very data; what was said; the parent's hash before."""
    said, before = [], content_hash(find(PARENT).root)
    place = tmp_path_factory.mktemp("made") / "mine"
    options = SHORT | {"method": "lora", "rank": 4, "replay": str(data)}
    assert finetune(PARENT, data, place, options, CROP, device="cpu", say=said.append) == place
    return place, said, before


def text_of(root, name):
    return (root / name).read_text()


def described(root):
    return json.loads(text_of(root, "configs/metadata.json"))


def test_a_fine_tuned_bundle_passes_verification_and_trains_on(made, tmp_path):
    root, *_ = made
    assert [check for check in verify(root, quick=True) if check.passed is False] == []
    subject = Subject(root, tmp_path)
    assert [kept(check, subject).passed for check in (workflows.training_properties, workflows.training_step)] == [True, True]
    assert json.loads(text_of(root, "docs/reference.json"))["weights_sha256"] == described(root)["weights_sha256"]


def test_it_runs_like_any_other(made, data, tmp_path):
    [record] = run_cases(str(made[0]), [data / "miller0_t1.nii.gz"], tmp_path / "out", ["steps=2"], device="cpu")
    assert record["outputs"] == ["miller0_t1_recon.nii.gz", "miller0_t1_zero_filled.nii.gz"]


def test_its_weights_are_others_and_the_parent_is_untouched(made):
    root, _, before = made
    ours, theirs = load_file(root / "models" / "model.safetensors"), load_file(find(PARENT).weights)
    assert ours.keys() == theirs.keys() and not all(torch.equal(ours[key], theirs[key]) for key in theirs)
    assert content_hash(find(PARENT).root) == before


def test_metadata_tell_parent_counts_and_figures_before_and_after(made):
    told, parent = described(made[0]), find(PARENT).metadata
    assert told["parent"] == {key: parent[key] for key in ("name", "version", "weights_sha256")}
    split = told["training_data"]["split"]
    assert {part: (split[part]["subjects"], split[part]["count"]) for part in split} == {
        "train": (2, 2),
        "val": (1, 1),
        "test": (1, 1),
        "earlier": (12, 21),
    }
    mean = told["eval_metrics"]["values"]
    assert list(mean)[:2] == ["recon", "parent"] and mean["recon"] != mean["parent"]
    entry = json.loads(text_of(made[0], "docs/results.json"))["evaluations"]["validation"]["mean"]
    log = [json.loads(line) for line in text_of(made[0], "docs/train_log.jsonl").splitlines()]
    assert log[0]["step"] == 0 and entry["parent"]["denoising_psnr"] == log[0]["denoising_psnr"]
    assert entry["fine_tuned"]["denoising_psnr"] == max(line["denoising_psnr"] for line in log)
    assert "LicenseRef-Local" in told["licenses"]["data"] and told["changelog"]["0.1.0"].startswith("fine-tuned from score_mri")


def test_no_name_of_a_scan_or_place_is_in_the_bundle(made, data):
    named = [
        path
        for path in made[0].rglob("*")
        if path.is_file()
        for word in (b"miller", str(data).encode())
        if word in path.read_bytes()
    ]
    assert named == []
    assert "miller" in (made[0].with_name("mine_work") / "data" / "datalist.json").read_text()  # what is looked for is there


def test_the_card_gives_the_command_and_says_that_its_picture_is_simulated(made):
    card = text_of(made[0], "docs/README.md")
    command = "diffzoo finetune score_mri --data DATALIST -o mine --steps 4 --method lora --rank 4 --learning-rate 0.0002"
    assert f"{command} --replay OLD_DATA --batch-size 2 --set crop=32" in card
    assert "is simulated" in card and "low-rank adapters of rank 4" in card


def test_it_is_told_beforehand_what_will_happen(made):
    _, said, _ = made
    [report] = [line for line in said if "tensors" in line]
    assert report == "154 of 154 tensors of score_mri match the train.yaml of score_mri"
    [plan] = [line for line in said if "million parameters train" in line]
    assert "2 training, 1 validation, 1 test" in plan and "4 steps" in plan and "GB of memory" in plan
    assert any(line.startswith("step 4 of 4: loss ") for line in said)


def test_the_config_trains_the_same_weights_again_by_the_command_that_it_tells(made, data, tmp_path):
    root, work = made[0], made[0].with_name("mine_work")
    [run] = [line for line in text_of(root, "configs/train.yaml").splitlines() if line.startswith("# Run: ")]
    flags = dict(pair for pair in zip(*[iter(run.partition(" run ")[2].split())] * 2, strict=True))
    local = {"--dataset_dir": str(work / "data"), "--output_dir": str(tmp_path), "--weights": str(find(PARENT).weights)}
    flags = {
        key.removeprefix("--"): value for key, value in (flags | local).items() if key not in ("--config_file", "--bundle_root")
    }
    assert flags["method"] == "lora" and flags["replay"] == "@replayed"
    parse(Bundle(root), ["train"], flags | {"first": True, "device_name": "cpu"}).get_parsed_content("run")
    assert sha256(tmp_path / "model.safetensors") == sha256(root / "models" / "model.safetensors")


def test_an_interrupted_run_goes_on_to_the_same_weights(data, tmp_path, monkeypatch):
    def weights(place, **more):
        return sha256(finetune(PARENT, data, place, device="cpu", **more) / "models" / "model.safetensors")

    whole = weights(tmp_path / "whole", options=SHORT, settings=CROP)
    update = handlers.EMAUpdate.attach

    def killed(self, engine):
        update(self, engine)
        engine.add_event_handler(handlers.Events.ITERATION_COMPLETED(once=3), interrupt)

    def interrupt():
        raise KeyboardInterrupt

    place = tmp_path / "broken"
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(handlers.EMAUpdate, "attach", killed)
        weights(place, options=SHORT, settings=CROP)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["broken_work", "whole", "whole_work"]
    with pytest.raises(InputError, match="give --resume to go on"):
        weights(place, options=SHORT)
    with pytest.raises(InputError, match="--steps 6 is not what the interrupted run had"):
        weights(place, options={"steps": 6}, resume=True)
    assert weights(place, resume=True) == whole
    log = [json.loads(line)["step"] for line in text_of(place, "docs/train_log.jsonl").splitlines()]
    assert log == [0, 2, 4]


def failing(number, at):
    def fail(*_, **__):
        raise OSError(number, errno.errorcode[number])

    return at, fail


@pytest.mark.parametrize(
    ("place", "number", "told"),
    [
        ("diffzoo.zoo.finetune.work.write_json", errno.ENOSPC, "the disk is full, and no bundle was written: free some space"),
        ("diffzoo.training.handlers.save_weights", errno.ENOSPC, "then --resume"),
        ("diffzoo.zoo.finetune.work.write_json", errno.EROFS, "cannot be written: choose another folder"),
    ],
)
def test_a_disk_that_is_full_or_closed_leaves_no_bundle(place, number, told, data, tmp_path, monkeypatch):
    monkeypatch.setattr(*failing(number, place))
    with pytest.raises(InputError, match=told):
        finetune(PARENT, data, tmp_path / "mine", SHORT, CROP, device="cpu")
    assert not (tmp_path / "mine").exists()


def test_a_loss_that_is_not_finite_stops_and_keeps_the_last_good_weights(data, tmp_path, monkeypatch):
    descend = steps.DiffusionStep._descend

    def broken(self, engine, *rest):
        return descend(self, engine, *rest) * (
            float("nan") if engine.state.iteration == 3 and hasattr(engine.state, "epoch_length") else 1
        )

    monkeypatch.setattr(steps.DiffusionStep, "_descend", broken)
    monkeypatch.setattr(train, "TRIALS", 1)
    with pytest.raises(InputError, match=r"training stopped at step 3: the loss is nan.* kept in .*model.safetensors: lower"):
        finetune(PARENT, data, tmp_path / "mine", SHORT, CROP, device="cpu")
    good = load_file(tmp_path / "mine_work" / "train" / "model.safetensors")
    assert all(torch.isfinite(value).all() for value in good.values())
    assert not (tmp_path / "mine").exists()


def copied(folder, name="other"):
    """A copy of the parent that a test may break."""
    shutil.copytree(find(PARENT).root, folder / name)
    return Bundle(folder / name)


def test_the_load_report_refuses_weights_that_do_not_fit(tmp_path):
    bundle = copied(tmp_path)
    state = load_file(bundle.weights)
    first = next(key for key, value in state.items() if value.ndim > 1)
    save_file(state | {first: state[first].flatten()}, bundle.weights)
    said = []
    with pytest.raises(InputError, match=r"153 of 154 tensors .* less than 100%: mend network_def, or lower --match"):
        train.start_weights(bundle, 1.0, tmp_path, said.append)
    start = train.start_weights(bundle, 0.9, tmp_path, said.append)
    assert said == ["153 of 154 tensors of other match the train.yaml of other"]
    begun = load_file(start)
    assert begun[first].shape != (state[first].numel(),) and all(torch.equal(begun[k], v) for k, v in state.items() if k != first)
    bundle.weights.write_bytes(b"none")
    with pytest.raises(InputError, match="cannot be read"):
        train.load_report(bundle)


def test_a_bundle_that_lacks_a_part_is_told(data, tmp_path):
    bundle = copied(tmp_path)
    (bundle.root / "configs" / "train.yaml").unlink()
    with pytest.raises(InputError, match="has no config 'train'"):
        finetune(str(bundle.root), data, tmp_path / "mine")
    shutil.rmtree(bundle.root)
    bundle = copied(tmp_path)
    bundle.weights.unlink()
    with pytest.raises(InputError, match="lacks its weights"):
        finetune(str(bundle.root), data, tmp_path / "mine")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["other"]


def test_the_plan_of_another_parent_is_not_gone_on_with(data, tmp_path):
    (tmp_path / "mine_work").mkdir()
    (tmp_path / "mine_work" / "plan.json").write_text(json.dumps({"parent": "0" * 64, "choices": Choices().record}))
    with pytest.raises(InputError, match="is of another parent"):
        finetune(PARENT, data, tmp_path / "mine", resume=True)
    (tmp_path / "mine_work" / "plan.json").write_text("{")
    with pytest.raises(InputError, match="cannot be read"):
        finetune(PARENT, data, tmp_path / "mine", resume=True)


def test_metadata_take_a_whole_parent_and_no_other(made):
    told = described(made[0])
    assert problems(told) == []
    for parent in ({}, told["parent"] | {"version": "one"}, told["parent"] | {"path": "x"}):
        assert any(line.startswith("parent") for line in problems(told | {"parent": parent})), parent


# Text and content of train.yaml


def content_of(name):
    text = find(name).config("train").read_text()
    return text, yaml.safe_load(text)


@pytest.mark.parametrize("name", ["score_mri", "anoddpm", "dolce", "diffusemorph"])
@pytest.mark.parametrize("choices", [Choices(), Choices(method="lora", replay="."), Choices(method="head", replay="samples")])
def test_train_yaml_holds_what_was_chosen_and_keeps_what_did_not_change(name, choices):
    text, parent = content_of(name)
    if name == "diffusemorph" and choices.replay == "samples":
        with pytest.raises(InputError, match="--replay samples: the bundle draws no pairs itself"):
            recipe.adapted(parent, choices, 4, 25, 1.0)
        return
    content = recipe.adapted(parent, choices, 4, 25, 1.0)
    made = written(text, content, recipe.COMMENTS)
    assert yaml.safe_load(made) == content and max(map(len, made.splitlines())) <= 160
    _, old = blocks(text)
    _, new = blocks(made)
    same = [key for key in old if content[key] == parent[key] and key not in ("network", "validate")]
    assert same and all(new[key] == old[key] for key in same)
    assert (
        recipe.adapted(content, Choices(), 4, 25)["train"] == recipe.adapted(parent, Choices(), 4, 25)["train"]
    )  # once is enough
    assert ("prepared" in content) == (choices.method != "full") and content.get("method", "full") == "full"
    assert parent == content_of(name)[1]


def test_a_step_that_the_trainer_refers_to_is_changed_in_its_place():
    _, parent = content_of("umm_csgm")
    train = recipe.adapted(parent, Choices(), 4, 25)["train"]
    assert train["trainer"]["step"] == "@train::step" and train["step"]["step"]["_target_"] == parent["train"]["step"]["_target_"]
    again = recipe.adapted(recipe.adapted(parent, Choices(), 4, 25), Choices(), 4, 25)["train"]
    assert again["step"] == train["step"]


def test_train_yaml_of_a_fine_tuned_bundle_that_is_fine_tuned_again():
    _, parent = content_of(PARENT)
    once = recipe.adapted(parent, Choices(method="lora", replay="samples", patience=3), 4, 25)
    again = recipe.adapted(once, Choices(), 4, 25)
    assert again["network"] == parent["network"] and not {"method", "methods", "prepared", "replayed"} & again.keys()
    assert again["patience"] == 0


def test_rates_and_averages_follow_method_and_length():
    _, parent = content_of(PARENT)
    full, lora = (recipe.adapted(parent, Choices(method=method), 10, 50) for method in ("full", "lora"))
    assert (full["learning_rate"], lora["learning_rate"]) == (0.0002, 0.0008) and full["ema_decay"] == 0.98
    given = recipe.adapted(parent, Choices(learning_rate=0.01, ema=0.9, batch_size=3, seed=7), 1, 50)
    assert [given[key] for key in ("learning_rate", "ema_decay", "batch_size", "seed")] == [0.01, 0.9, 3, 7]
    assert recipe.fitted(full, 40)["epochs"] == 40 and recipe.fitted(full, 40)["train"] != full["train"]


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda c: c.pop("epochs"), "has no 'epochs'"),
        (lambda c: c["train"].pop("callbacks"), "are not made by diffzoo.components.handlers"),
        (lambda c: c["train"]["callbacks"].pop("evaluator"), "validates nothing"),
        (
            lambda c: c["train"]["trainer"]["step"].update(_target_="diffzoo.training.autoencoder_step.AutoencoderStep"),
            "trains by AutoencoderStep",
        ),
    ],
)
def test_a_train_yaml_that_cannot_be_fine_tuned_is_told(change, told):
    _, content = content_of(PARENT)
    change(content)
    with pytest.raises(InputError, match=told):
        recipe.adapted(content, Choices(replay="samples"), 1, 2)


# Choices and lengths


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"epochs": 1, "minutes": 2}, "one of --epochs and --minutes"),
        ({"steps": 0}, "--steps 0 trains nothing: give --weights"),
        ({"steps": -1}, "--steps -1: give 0 to"),
        ({"weights": "nowhere.pt"}, "no such file of weights"),
        ({"learning_rate": float("nan")}, "--learning-rate nan"),
        ({"method": "lorra"}, "did you mean lora"),
        ({"autocast": "bf16"}, "unknown --autocast"),
        ({"replay": "nowhere"}, "no such folder"),
        ({"match": 1.5}, "--match 1.5"),
    ],
)
def test_choices_out_of_range_are_told(given, told):
    with pytest.raises(InputError, match=told):
        Choices(**given)


def test_choices_of_an_interrupted_run_stay():
    stored = Choices(minutes=3, method="lora").record
    assert resumed(stored, {"minutes": 3, "rank": None}) == Choices(minutes=3, method="lora")
    with pytest.raises(InputError, match="--rank 2"):
        resumed(stored, {"rank": 2})


@settings(deadline=None, max_examples=60)
@given(st.integers(1, 100_000))
def test_a_layout_has_no_fewer_steps_and_few_more(steps):
    epochs, each = layout(steps)
    assert steps <= epochs * each < steps + epochs


@settings(deadline=None, max_examples=60)
@given(st.floats(0.01, 600), st.floats(1e-3, 100), st.integers(1, 100))
def test_what_is_planned_fits_into_the_minutes(minutes, step, each):
    epochs = epochs_within(minutes, step, each)
    assert epochs * each * step <= 60 * minutes and epochs >= 0
    assert epochs_within(2 * minutes, step, each) >= epochs


def test_lengths_by_epochs_are_the_bundles_own():
    assert lengths(Choices(epochs=3), 50) == (3, 50) and lengths(Choices(minutes=9), 50)[0] == 1
    assert duration(12) == "12 s" and duration(600) == "10 min" and duration(9000) == "2.5 h"


# What is measured


def test_what_can_be_measured_depends_on_what_is_known_of_the_scans(tmp_path):
    def plans(name, *more):
        scans = [words.Scan(tmp_path, "a", "a", "test", dict(one)) for one in more]
        return [(plan.name, plan.settings) for plan in plans_of(find(name), scans)]

    assert plans("score_mri", {}) == [("test", ("slices=central:8",))]
    assert plans("score_mri") == []
    assert plans("anoddpm", {}) == [("test", ("lesions=10",)), ("healthy", ())]
    assert plans("anoddpm", {"mask": "m"}) == [("test", ())]


def test_a_measurement_keeps_the_parent_as_a_method_and_no_name_of_a_case():
    def metrics(value):
        case = {"case": "miller", "metrics": {"own": {"psnr": value}}}
        return {"test": {"mean": {"own": {"psnr": value, "none": None}, "tv": {"psnr": 1.0}}, "cases": [case]}}

    [plan] = plans_of(find(PARENT), [words.Scan(None, "a", "a")])
    entry = entries_of(task_of("reconstruct_mri"), [plan], metrics(3.0), metrics(4.0), "0" * 64)["test"]
    assert entry["mean"] == {"own": {"psnr": 4.0}, "parent": {"psnr": 3.0}, "tv": {"psnr": 1.0}}
    assert entry["cases"] == {"case_01": {"own": {"psnr": 4.0}}}
    told = words.figures({"test": entry | {"slices": 5}}, "mine")
    assert told["headline"] == "PSNR 4.0 dB, +1.0 dB over its parent (5 test slices; of one scan, so its noise is not known)"
    assert "mine --data DATALIST -o out --set slices=central:8" in told["eval_metrics"]["command"]
    assert (
        words.table({"test": entry}, "p").splitlines()[2]
        == f"| {plan.what} | PSNR | 3 | 4 | +1, of one scan, so its noise is not known | 1 |"
    )


def test_scans_that_the_parent_was_trained_on_are_known_by_their_content(tmp_path):
    bundle = copied(tmp_path)
    path = write_scan(tmp_path / "a.nii.gz")
    told = described(bundle.root)
    told["training_data"]["split"]["train"]["files"]["x"] = sha256(path)
    (bundle.root / "configs" / "metadata.json").write_text(json.dumps(told))
    scans = [words.Scan(path, "a", "a"), words.Scan(write_scan(tmp_path / "b.nii.gz", 1), "b", "b")]
    assert words.seen_before(Bundle(bundle.root), scans) == {"a"}


def test_frozen_layers_are_laid_out_plainly_and_the_last_ones_train(data, tmp_path):
    place = finetune(PARENT, data, tmp_path / "mine", SHORT | {"method": "head"}, CROP, device="cpu")
    ours, theirs = (load_file(root / "models" / "model.safetensors") for root in (place, find(PARENT).root))
    moved = {key for key in theirs if not torch.equal(ours[key], theirs[key])}
    assert moved and all(".out." in key or ".up_blocks.2." in key for key in moved)
    told = json.loads(text_of(place, "docs/finetune.json"))
    assert 0 < told["trained"] < told["parameters"] / 2


@pytest.mark.parametrize(("minutes", "step", "told"), [(1, 2.0, (1, 23)), (10, 0.1, (109, 50)), (1, 1.0, (1, 50))])
def test_minutes_hold_so_many_steps(minutes, step, told):
    epochs, per_epoch = layout_within(minutes, step)
    assert (epochs, per_epoch) == told and epochs * per_epoch * step <= 60 * minutes


def test_minutes_that_hold_next_to_nothing_tell_what_would_hold():
    with pytest.raises(
        InputError, match=r"--minutes 1 holds \d+ steps of 5 s.*give --minutes (\d+), a smaller --batch-size, or --steps 20"
    ) as told:
        layout_within(1, 5.0)
    enough = int(str(told.value).split("give --minutes ")[1].split(",")[0])
    epochs, per_epoch = layout_within(enough, 5.0)
    assert epochs * per_epoch >= 20
    with pytest.raises(InputError):
        layout_within(enough - 1, 5.0)


def metrics_of(*values: float) -> dict:
    return {"cases": [{"case": f"c{k}", "metrics": {"recon": {"psnr": value}}} for k, value in enumerate(values)]}


def test_a_change_within_noise_is_called_that():
    same = changes(metrics_of(30.0, 31.0, 29.0), metrics_of(30.5, 30.8, 29.1), "recon")["psnr"]
    assert same["cases"] == 3 and same["low"] < 0 < same["mean"] < same["high"] and within_noise(same) == "within noise"
    better = changes(metrics_of(30.0, 31.0, 29.0), metrics_of(31.0, 32.1, 30.0), "recon")["psnr"]
    assert better["low"] > 0.5 and within_noise(better) == ""
    assert "one scan" in within_noise(changes(metrics_of(30.0), metrics_of(31.0), "recon")["psnr"])
    assert changes(metrics_of(30.0), {"cases": [{"case": "c0"}]}, "recon") == {} and within_noise(None) == ""


def test_headline_and_table_tell_the_noise_of_a_change():
    mean = {"recon": {"psnr": 30.1}, "parent": {"psnr": 30.0}}
    change = {"psnr": {"cases": 3, "mean": 0.1, "low": -0.4, "high": 0.6}}
    results = {"test": {"what": "test list", "settings": [], "slices": 9, "mean": mean, "change": change}}
    assert words.figures(results, "mine")["headline"] == "PSNR 30.1 dB, +0.1 dB over its parent (9 test slices; within noise)"
    assert "+0.1 (-0.4 to +0.6, within noise)" in words.table(results, "score_mri")


def test_nothing_is_measured_where_that_is_not_wanted(data, tmp_path):
    said = []
    made = finetune(
        PARENT, data, tmp_path / "mine", SHORT | {"steps": 2, "no_measure": True}, CROP, device="cpu", say=said.append
    )
    results = json.loads(text_of(made, "docs/results.json"))["evaluations"]
    assert list(results) == ["validation"] and not any(line.startswith("measuring") for line in said)
    assert any(line.startswith("to come: measuring before (nothing), training, about ") for line in said)
    assert "--no-measure" in text_of(made, "docs/README.md")


def test_a_parent_of_little_noise_draws_no_images_for_replay():
    from diffzoo.zoo.finetune.train import highest_level

    assert highest_level(find("anoddpm")) >= 1
    with pytest.raises(InputError, match=r"trained on noise up to 0\.2\d alone, so it draws no images of its own; give a folder"):
        highest_level(find("score_mri"))
