"""`diffzoo new` and `diffzoo simulate`: scaffolds that tell the truth, and refusals that leave nothing behind."""

import json
import os
import shutil

import nibabel as nib
import numpy as np
import pytest
import yaml
from safetensors.torch import load_file

from diffzoo.cli import main
from diffzoo.errors import InputError
from diffzoo.facts import sha256
from diffzoo.imaging.heads import LoadHead
from diffzoo.tasks.task import names, task_of
from diffzoo.zoo.bundle import Bundle, find, installed
from diffzoo.zoo.new import configs, make, new, split_of, train
from diffzoo.zoo.new.make import kind_of
from diffzoo.zoo.new.results import headline_text
from diffzoo.zoo.new.simulate import BRIGHTNESS, HU, simulate
from diffzoo.zoo.tables import results_of
from diffzoo.zoo.trust import content_hash
from diffzoo.zoo.verify import verify
from diffzoo.zoo.work import evaluate_cases

PARENT = "score_mri"


def held(folder) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def text_of(root, name) -> str:
    return (root / name).read_text()


def described(root) -> dict:
    return json.loads(text_of(root, "configs/metadata.json"))


@pytest.fixture(scope="module")
def scaffold(tmp_path_factory):
    """A scaffold for MR, trained for two steps."""
    return new("my_mri", task="reconstruct_mri", folder=tmp_path_factory.mktemp("bundles"), steps=2)


@pytest.fixture(scope="module")
def copied(scaffold):
    """A scaffold like that scaffold."""
    return new("second", like=str(scaffold), folder=scaffold.parent)


@pytest.fixture(scope="module")
def finder(tmp_path_factory):
    """A scaffold that finds anomalies, its network and twin trained for two steps."""
    return new("my_finder", task="anomaly", folder=tmp_path_factory.mktemp("finders"), steps=2)


@pytest.fixture(scope="module")
def bender(tmp_path_factory):
    """A scaffold that registers, its network and twin trained for two steps."""
    return new("my_bender", task="register", folder=tmp_path_factory.mktemp("benders"), steps=2)


@pytest.fixture(scope="module")
def painter(tmp_path_factory):
    """A scaffold that draws and paints, each stage of its one network trained for two steps."""
    return new("my_painter", task="generate", folder=tmp_path_factory.mktemp("painters"), steps=2)


@pytest.fixture(scope="module")
def translator(tmp_path_factory):
    """A scaffold that makes missing contrasts, its network and the one that regresses trained for two steps."""
    return new("my_translator", task="translate", folder=tmp_path_factory.mktemp("translators"), steps=2)


@pytest.mark.parametrize("which", ["scaffold", "copied", "finder", "bender", "painter", "translator"])
def test_a_scaffold_passes_verification(which, request):
    root = request.getfixturevalue(which)
    assert [check for check in verify(root, quick=True) if check.passed is False] == []
    reference = json.loads(text_of(root, "docs/reference.json"))
    assert reference["weights_sha256"] == sha256(root / "models" / "model.safetensors") and reference["outputs"]


def test_each_stage_changes_its_part_of_the_one_network_alone(painter, tmp_path):
    stages, data = train.stages_of(Bundle(painter)), simulate("brain", tmp_path / "simulated", cases=3)
    assert [stage[-1] for stage in stages] == ["train", "train_maps", "train_maps_diffusion"]
    assert all((painter / "docs" / f"{stage[-1].replace('train', 'train_log', 1)}.jsonl").is_file() for stage in stages)
    before = load_file(painter / "models" / "model.safetensors")
    short = {"epochs": 1, "steps_per_epoch": 1, "batch_size": 2, "augmented": 1, "ema_decay": 0.5}
    for stage, part in zip(stages[1:], ("autoencoder", "diffusion"), strict=True):
        train.trained(Bundle(painter), data, tmp_path / part, stage, short)
        after = load_file(tmp_path / part / "model.safetensors")
        changed = {key.partition(".")[0] for key, value in after.items() if not (before[key] == value).all()}
        assert part in changed and changed <= {part, "scale"}


def test_nothing_but_the_bundle_is_left(scaffold, copied):
    assert held(scaffold.parent) == ["my_mri", "second"]


def test_the_command_that_is_told_measures_the_told_numbers(copied, tmp_path):
    told = described(copied)["eval_metrics"]
    first, second = (line.split() for line in told["command"].split(" && "))
    assert first[:-1] == ["diffzoo", "simulate", "MR", "-o", "simulated", "--seed"] and first[-1] != "0"  # which its parent saw
    assert second[:-1] == ["diffzoo", "evaluate", "second", "--data", "simulated", "-o", "out", "--set"]
    simulate("MR", tmp_path / "simulated", seed=int(first[-1]))
    data, out = tmp_path / "simulated", tmp_path / "out"
    found = evaluate_cases(str(copied), data, "test", out, second[-1:], device="cpu")["mean"]
    assert told["values"].keys() == found.keys()
    for method, values in told["values"].items():
        assert values == pytest.approx(found[method], abs=1e-4)
    tested = described(copied)["training_data"]["split"]["simulated_test"]["files"]
    assert len(tested) == 2 and all(sha256(data / name) == digest for name, digest in tested.items())


def test_a_trained_scaffold_says_what_it_is(scaffold):
    parent, metadata = find(PARENT), described(scaffold)
    assert (metadata["name"], metadata["version"], list(metadata["changelog"])) == ("my_mri", "0.1.0", ["0.1.0"])
    assert (
        content_hash(parent.root) in metadata["changelog"]["0.1.0"] and "2 steps on simulated" in metadata["changelog"]["0.1.0"]
    )
    assert "scaffold" in metadata["headline"] and "simulated" in metadata["headline"] and "no patient" in metadata["limits"]
    assert metadata["licenses"]["data"] == "Apache-2.0" and "lesion" not in json.dumps(metadata["training_data"])
    counts = {part: (content["count"], len(content["files"])) for part, content in metadata["training_data"]["split"].items()}
    assert counts == {"train": (8, 8), "val": (2, 2), "test": (2, 2)}
    assert metadata["eval_metrics"]["values"] != parent.metadata["eval_metrics"]["values"]
    assert json.loads(text_of(scaffold, "docs/train_log.jsonl").splitlines()[-1])["step"] == 2


def test_a_scaffold_quotes_nothing_that_was_measured_for_its_parent(scaffold, copied):
    theirs = find(PARENT).metadata["headline"]
    for root in (scaffold, copied):
        for path in [*root.glob("configs/*.yaml"), root / "docs" / "README.md"]:
            assert theirs not in path.read_text() and "four test people" not in path.read_text(), path.name
    assert "Measured: 37.9 dB" in find(PARENT).config("inference").read_text()  # what the check above looks for is there


def test_a_scaffold_trains_by_its_own_config_the_network_that_it_ships(scaffold):
    training, inference = (yaml.safe_load(text_of(scaffold, f"configs/{name}.yaml")) for name in ("train", "inference"))
    assert training["network_def"] == inference["network_def"]
    assert training["epochs"] * training["steps_per_epoch"] == 2
    assert {key: training[key] for key in task_of("reconstruct_mri").training} == task_of("reconstruct_mri").training
    assert (scaffold / "models" / "model.safetensors").stat().st_size < find(PARENT).weights.stat().st_size / 2


def test_a_copy_has_the_weights_of_its_parent_and_its_licences(scaffold, copied):
    ours, theirs = (load_file(root / "models" / "model.safetensors") for root in (copied, scaffold))
    assert ours.keys() == theirs.keys() and all((ours[key] == theirs[key]).all() for key in theirs)
    metadata = described(copied)
    assert content_hash(scaffold) in metadata["changelog"]["0.1.0"]
    assert metadata["description"].count("Scaffold from") == 1
    parts = metadata["training_data"]["split"]
    assert {key: parts[key] for key in ("train", "val", "test")} == described(scaffold)["training_data"]["split"]
    assert text_of(scaffold, "docs/data_license.txt") in text_of(copied, "docs/data_license.txt")
    assert not (copied / "docs" / "train_log.jsonl").exists()  # it was not trained


def test_configs_of_a_copy_differ_from_its_parents_in_comments_alone(scaffold, copied):
    for path in scaffold.glob("configs/*.yaml"):
        assert yaml.safe_load(path.read_text()) == yaml.safe_load(text_of(copied, f"configs/{path.name}"))
        assert "my_mri -" not in text_of(copied, f"configs/{path.name}")


@pytest.mark.parametrize(
    "words", [("new", "Brain", "--task", "reconstruct_mri"), ("new", "mine", "--like", "none"), ("simulate", "PET")]
)
def test_the_command_refuses_in_one_line_with_code_2(words, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("sys.argv", ["diffzoo", *words, "-o", str(tmp_path / "made")])
    with pytest.raises(SystemExit) as leave:
        main()
    said = capsys.readouterr()
    assert leave.value.code == 2 and said.err.startswith("error: ") and said.err.count("\n") == 1 and not said.out
    assert held(tmp_path) == []


BAD_NAMES = ["", "Brain", "2d", "_x", "a-b", "a b", "a/b", "..", "é", "x\n", "x" * 41]


@pytest.mark.parametrize(
    ("asked", "told"),
    [
        *[({"name": name, "task": "reconstruct_mri"}, "is no name for a bundle") for name in BAD_NAMES],
        ({"name": PARENT, "task": "reconstruct_mri"}, "there is a bundle score_mri already"),
        ({"name": "mine", "like": "scor_mri"}, "did you mean score_mri"),
        ({"name": "mine", "task": "reconstruct-mr"}, "did you mean reconstruct_mri"),
        (
            {"name": "mine"},
            "tasks: anomaly, generate, reconstruct_ct, reconstruct_mri, register, restore, segment, translate",
        ),
        ({"name": "mine", "like": PARENT, "task": "reconstruct_mri"}, "one of the two"),
        ({"name": "mine", "like": PARENT, "steps": 5}, "--steps goes with --task"),
        ({"name": "mine", "task": "reconstruct_mri", "steps": 0}, "steps=0"),
    ],
)
def test_bad_wishes_are_refused_with_nothing_written(asked, told, tmp_path):
    with pytest.raises(InputError, match=told) as refused:
        new(folder=tmp_path, **asked)
    assert "\n" not in str(refused.value).replace("x\\n", "") and held(tmp_path) == []


@pytest.mark.parametrize("kind", ["folder", "file", "link"])
def test_what_is_there_is_kept(kind, tmp_path):
    path = tmp_path / "mine"
    {"folder": path.mkdir, "file": path.touch, "link": lambda: path.symlink_to("nowhere")}[kind]()
    with pytest.raises(InputError, match="mine is there already"):
        new("mine", like=PARENT, folder=tmp_path)
    assert held(tmp_path) == ["mine"] and path.is_symlink() == (kind == "link")


def test_a_folder_that_cannot_be_written_is_one_line(tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="not a folder that can be written to"):
        new("mine", like=PARENT, folder=tmp_path / "file" / "below")

    def full(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(make.tempfile, "TemporaryDirectory", full)
    with pytest.raises(InputError, match=r"cannot be written \(No space left on device\)"):
        new("mine", like=PARENT, folder=tmp_path)
    assert held(tmp_path) == ["file"]


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_read_only_folder_is_refused(tmp_path):
    tmp_path.chmod(0o500)
    with pytest.raises(InputError, match="not a folder that can be written to"):
        new("mine", like=PARENT, folder=tmp_path)


def test_work_that_breaks_off_leaves_nothing(tmp_path, monkeypatch):
    def broken(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr("diffzoo.zoo.new.simulate.simulate", broken)
    with pytest.raises(KeyboardInterrupt):
        new("mine", like=PARENT, folder=tmp_path)
    assert held(tmp_path) == []


def test_a_name_that_somebody_took_meanwhile_is_not_overwritten(tmp_path, monkeypatch):
    monkeypatch.setattr(make._Maker, "make", lambda self: (tmp_path / "mine").mkdir())
    with pytest.raises(InputError, match="mine is there already"):
        new("mine", like=PARENT, folder=tmp_path)
    assert held(tmp_path) == ["mine"] and held(tmp_path / "mine") == []


@pytest.fixture
def altered(scaffold, tmp_path):
    """altered(change) copies the scaffold, changes it and returns it."""

    def alter(change):
        shutil.copytree(scaffold, tmp_path / "parent")
        change(tmp_path / "parent")
        return tmp_path / "parent"

    return alter


def _with_kind(root):
    metadata = described(root)
    metadata["kind"] = "movie"
    (root / "configs" / "metadata.json").write_text(json.dumps(metadata))


def _with_code(root):
    path = root / "configs" / "inference.yaml"
    path.write_text(path.read_text().replace("diffzoo.components.device", "os.system"))


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (_with_code, "parent fails the scan: .*os.system"),
        (_with_kind, "unknown task 'movie'"),
        (lambda root: (root / "models" / "model.safetensors").unlink(), "parent lacks models/model.safetensors"),
        (lambda root: (root / "configs" / "train.yaml").unlink(), "parent has no config 'train'"),
        (lambda root: (root / "docs" / "data_license.txt").unlink(), "parent lacks docs/data_license.txt"),
    ],
)
def test_a_parent_that_cannot_be_one_is_refused(altered, change, told, tmp_path):
    parent = altered(change)
    with pytest.raises(InputError, match=told):
        new("mine", like=str(parent), folder=tmp_path)
    assert held(tmp_path) == ["parent"]


@pytest.mark.parametrize("task", names())
def test_the_pattern_of_a_task_has_what_its_short_training_sets(task):
    pattern = find(task_of(task).pattern)
    text = configs.with_values(pattern.config("train").read_text(), task_of(task).training)
    made = yaml.safe_load(configs.narrowed(text))
    assert {key: made[key] for key in task_of(task).training} == task_of(task).training
    from monai.bundle import ConfigParser

    count = {
        name: sum(p.numel() for p in ConfigParser({"net": one["network_def"]}).get_parsed_content("net").parameters())
        for name, one in (("made", made), ("theirs", yaml.safe_load(pattern.config("train").read_text())))
    }
    assert count["made"] < 0.8 * count["theirs"]
    of_inference = yaml.safe_load(configs.narrowed(pattern.config("inference").read_text()))
    assert of_inference["network_def"] == made["network_def"]


def test_values_are_set_with_their_comments_kept():
    text = "a: 1                         # one\nb: [1, 2]\nnested:\n  a: 3\n"
    assert configs.with_values(text, {"a": 20, "b": [3]}) == "a: 20                        # one\nb: [3]\nnested:\n  a: 3\n"
    with pytest.raises(InputError, match="no 'c'"):
        configs.with_values(text, {"c": 1})


def test_a_header_keeps_what_a_config_does_and_drops_what_its_parent_reached():
    text = "# Does this.\n# Measured: 30 dB.\n# Run: diffzoo run old -i x\n# Goes on.\na: 1  # tuned on the validation split\n"
    made = configs.renamed(text, "mine", "old", "Measured: 1 dB.")
    assert made == ("# Does this.\n# Measured: 1 dB.\n# Run: diffzoo run mine -i x\n# Goes on.\na: 1  # as tuned for old\n")


def test_table_and_headline_leave_out_what_was_not_measured():
    mean = {"recon": {"psnr": 30.0, "ssim": 0.9}, "zero": {"psnr": 20.0, "ssim": 0.5}}
    entry = {"what": "all", "slices": 4, "mean": mean, "ssim_above": {"zero": 1.0}}
    entry |= {"people": {"a": mean}, "gain_db": {"zero": {"mean": 10.0, "interval": None, "each": [10.0]}}}
    entry |= {"network_calls": 20.0, "largest_data_residual": 1e-3}
    methods = {"recon": "ours", "other": "theirs", "zero": "nothing"}
    assert headline_text(find(PARENT), methods, entry).format(**entry) == "PSNR 30.0 dB, +10.0 dB over nothing (4 test slices)"
    row = results_of({"test": entry}, {"methods": methods}, task_of("reconstruct_mri")).splitlines()[-1]
    assert row == "| all | 1 (4) | 30.00 dB, 0.900 |  | 20.00 dB, 0.500 |  | +10.00 dB | 100 % |  | 20 | 1.0e-03 |"


def test_a_scaffold_for_anomalies_trains_its_own_twin_and_measures_lesions(finder):
    metadata, parent = described(finder), find("anoddpm")
    model, gaussian, atlas = (load_file(finder / "models" / f"{n}.safetensors") for n in ("model", "gaussian", "atlas"))
    assert model.keys() == gaussian.keys() and any((model[key] != gaussian[key]).any() for key in model)
    assert list(atlas) == ["t1"]  # the only contrast that is simulated
    for name, digest in metadata["files_sha256"].items():
        assert sha256(finder / name) == digest != sha256(parent.root / name)
    for name in ("train_log", "train_log_gaussian"):
        assert json.loads(text_of(finder, f"docs/{name}.jsonl").splitlines()[-1])["step"] == 2
    [entry] = json.loads(text_of(finder, "docs/results.json"))["evaluations"].values()
    assert len(entry["cases"]) == 12 and entry["settings"] == ["lesions=10"]  # two scans, light and dark, three textures
    assert f"AUPRC {entry['mean']['anomaly_map']['auprc']:.2f}, simplex" in metadata["headline"]
    assert metadata["headline"] in text_of(finder, "configs/inference.yaml") and "| 12 (2) |" in text_of(finder, "docs/README.md")
    assert metadata["eval_metrics"]["command"].startswith("diffzoo simulate brain -o simulated && diffzoo evaluate my_finder ")
    assert "AUPRC 0.44" not in text_of(finder, "configs/inference.yaml") and "an anatomy of its own in each volume" in str(
        metadata
    )


def test_a_scaffold_for_registration_leaves_the_hearts_out_and_measures_pairs(bender):
    assert held(bender / "models") == ["model.safetensors", "voxelmorph.safetensors"]
    assert held(bender / "configs") == [
        *("evaluate.yaml", "inference.yaml", "logging.conf", "metadata.json", "published.yaml", "train.yaml"),
        "train_voxelmorph.yaml",
    ]
    [entry] = json.loads(text_of(bender, "docs/results.json"))["evaluations"].values()
    assert entry["pairs"] == 2 and entry["mean"]["aligned"]["dice"] > entry["mean"]["identity"]["dice"] + 0.1
    metadata = described(bender)
    assert f"Dice {entry['mean']['network']['dice']:.2f}, voxelmorph" in metadata["headline"] and "cardiac" not in str(metadata)
    assert metadata["eval_metrics"]["command"].startswith("diffzoo simulate pair -o simulated && diffzoo evaluate my_bender ")
    assert "-i moving.nii.gz -i fixed.nii.gz" in text_of(bender, "docs/README.md")


def test_a_pattern_whose_weight_file_no_config_makes_is_refused(finder, tmp_path):
    shutil.copytree(finder, tmp_path / "parent")
    train.makeable(Bundle(tmp_path / "parent"))
    (tmp_path / "parent" / "configs" / "train_gaussian.yaml").unlink()
    with pytest.raises(InputError, match=r"no train_gaussian.yaml for models/gaussian.safetensors"):
        train.makeable(Bundle(tmp_path / "parent"))


def test_simulated_brains_differ_in_form_and_are_read_as_heads(tmp_path):
    listing = simulate("brain", tmp_path / "one", cases=3)
    names = sorted(path.name for path in listing.parent.glob("*.nii.gz"))
    assert names == ["case_01_t1.nii.gz", "case_02_t1.nii.gz", "case_03_t1.nii.gz"]
    images = [nib.load(listing.parent / name) for name in names]
    masks = [np.asarray(image.dataobj) > 0 for image in images]
    shares = [(masks[0] & other).sum() / (masks[0] | other).sum() for other in masks[1:]]
    assert all(0.7 < share < 0.99 for share in shares)  # noise alone would leave the form as it is
    millilitres = masks[0].sum() * np.prod(images[0].header.get_zooms()) / 1000
    assert 900 < millilitres < 1700  # of an adult
    heads = [LoadHead()({"image": str(listing.parent / name), "case": name}) for name in names]
    assert all(head["modality"] == "t1" and 15 <= head["image"].shape[3] <= 22 for head in heads)
    assert all(not mask[0].any() and not mask[-1].any() and not mask[:, :, 0].any() for mask in masks)  # none is cut off
    simulate("brain", tmp_path / "two", cases=3)
    assert all((tmp_path / "two" / name).read_bytes() == (listing.parent / name).read_bytes() for name in names)


def test_simulated_contrasts_show_one_brain_each(tmp_path):
    listing = simulate("contrasts", tmp_path / "one", cases=3)
    lists = json.loads(listing.read_text())
    entry = lists["training"][0]
    assert set(entry) == {"image", "t1", "t1post", "t2", "flair"} and entry["image"] == entry["t1"]
    shown = {role: np.asarray(nib.load(listing.parent / entry[role]).dataobj) for role in ("t1", "t2", "flair")}
    fluid = (shown["t2"] > 700) & (shown["t1"] > 0)
    assert fluid.mean() > 0.001 and shown["t1"][fluid].mean() < 250 and shown["flair"][fluid].mean() < 250


def test_simulated_whole_heads_have_a_ct_of_the_same_head(tmp_path):
    listing = simulate("whole_head", tmp_path / "heads", cases=3)
    entry = json.loads(listing.read_text())["training"][0]
    assert set(entry) == {"image", "t1", "t2", "ct"} and entry["image"] == entry["t1"]
    t1, ct = (nib.load(listing.parent / entry[role]) for role in ("t1", "ct"))
    shown, hu = np.asarray(t1.dataobj), np.asarray(ct.dataobj)
    assert (t1.affine == ct.affine).all() and hu.min() <= -1000 and (hu > 500).mean() > 0.005
    assert not any((hu.take(side, axis) > -300).any() for axis in (0, 1, 2) for side in (0, -1))  # none is cut off
    assert shown[hu > 500].mean() < 0.5 * shown[(hu > 0) & (hu < 100)].mean()
    alone = json.loads(simulate("head_ct", tmp_path / "alone", cases=3).read_text())["training"][0]
    assert alone == {"image": "case_03_ct.nii.gz"}


@pytest.mark.parametrize(
    ("name", "kind"), [("mri_to_ct", "whole_head"), ("fgdm", "head_ct"), ("umm_csgm", "contrasts"), ("dolce", "CT")]
)
def test_a_scaffold_is_tried_on_what_its_parent_takes(name, kind):
    assert kind_of(find(name)) == kind


def test_simulated_pairs_have_labels_and_need_two_in_a_list(tmp_path):
    listing = simulate("pair", tmp_path / "one", cases=6)
    lists = json.loads(listing.read_text())
    assert [len(entries) for entries in lists.values()] == [2, 2, 2]
    labels = []
    for entry in (entry for entries in lists.values() for entry in entries):
        image, label = (nib.load(listing.parent / entry[key]) for key in ("image", "label"))
        assert (image.affine == label.affine).all() and image.shape == label.shape
        labels.append(np.asarray(label.dataobj))
        bright, dark = (np.asarray(image.dataobj)[labels[-1] == part].mean() for part in (2, 1))
        assert set(np.unique(labels[-1])) == {0, 1, 2} and bright > 700 > 150 > dark
    assert all((labels[0] != other).any() for other in labels[1:])
    with pytest.raises(InputError, match="give 6 to 999 cases, two for each list"):
        simulate("pair", tmp_path / "two", cases=5)


@pytest.mark.parametrize(
    ("kind", "keys"),
    [("OCT", {"image", "reference"}), ("pet", {"image", "pet", "t1", "fullpet"}), ("nodule", {"image", "mask"})],
)
def test_what_goes_with_a_simulated_image_lies_beside_it_on_its_grid(tmp_path, kind, keys):
    lists = json.loads(simulate(kind, tmp_path / "data", cases=3).read_text())
    entry = lists["training"][0]
    assert set(entry) == keys and all(len(entries) == 1 for entries in lists.values())
    files = [file for value in entry.values() for file in (value if isinstance(value, list) else [value])]
    images = [nib.load(tmp_path / "data" / file) for file in files]
    assert all(image.shape == images[0].shape and np.allclose(image.affine, images[0].affine) for image in images)
    assert len({image.get_fdata().tobytes() for image in images}) >= len(keys) - (kind == "pet")


@pytest.mark.parametrize("kind", ["MR", "CT"])
def test_simulated_volumes_are_the_same_bytes_for_a_seed_and_split_by_case(kind, tmp_path):
    listings = [simulate(kind, tmp_path / str(k), cases=3, seed=seed) for k, seed in enumerate((0, 0, 1))]
    first, again, other = ([p.read_bytes() for p in sorted(path.parent.iterdir())] for path in listings)
    assert first == again and first != other
    lists = json.loads(listings[0].read_text())
    assert sorted(e["image"] for part in lists.values() for e in part) == ["case_01.nii.gz", "case_02.nii.gz", "case_03.nii.gz"]
    assert all(len(part) == 1 for part in lists.values())
    image = nib.load(tmp_path / "0" / "case_03.nii.gz")
    values, low = np.asarray(image.dataobj), 0 if kind == "MR" else -1000
    assert image.shape == (160, 160, 4) and values.min() == low and np.isfinite(values).all()
    assert nib.aff2axcodes(image.affine) == ("L", "P", "S")
    assert values.max() > (500 if kind == "MR" else 300) and 0.1 < (values > low).mean() < 0.9
    middle = (image.affine @ [79.5, 79.5, 0, 1])[:2]
    assert np.allclose(middle, 0)


def test_brightness_is_defined_along_rising_hu():
    assert list(HU) == sorted(HU) and len(HU) == len(BRIGHTNESS) and BRIGHTNESS[0] == 0


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ({"kind": "PET"}, "no simulation of 'PET'"),
        ({"kind": "MR", "cases": 2}, "3 to 999"),
        ({"kind": "MR", "seed": -1}, "seed from 0"),
    ],
)
def test_a_simulation_that_cannot_be_is_refused(words, told, tmp_path):
    with pytest.raises(InputError, match=told):
        simulate(folder=tmp_path / "data", **words)
    assert held(tmp_path) == []


def test_a_simulation_overwrites_nothing(tmp_path):
    (tmp_path / "mine.txt").write_text("kept")
    with pytest.raises(InputError, match="is there already"):
        simulate("MR", tmp_path)
    assert held(tmp_path) == ["mine.txt"]
    with pytest.raises(InputError, match="cannot be written"):
        simulate("MR", tmp_path / "mine.txt" / "below")


def test_a_split_counts_subjects_and_names_files_from_the_folder(tmp_path):
    for name in ("a", "b", "c"):
        (tmp_path / name).write_text(name)
    lists = {
        "training": [{"image": str(tmp_path / "a"), "subject": "x"}, {"image": str(tmp_path / "b"), "subject": "x"}],
        "test": [{"image": str(tmp_path / "c"), "slices": "0:2"}, {"image": str(tmp_path / "c"), "slices": "4:6"}],
    }
    found = split_of(lists, tmp_path)
    assert found["train"] == {"subjects": 1, "count": 2, "files": {n: sha256(tmp_path / n) for n in ("a", "b")}}
    assert found["test"]["count"] == 1 and found["test"]["subjects"] == 1 and found["test"]["slices"] == {"c": "0:2, 4:6"}
    series = tmp_path / "series"
    series.mkdir()
    (series / "1.dcm").write_text("slice")
    assert split_of({"test": [{"image": str(series)}]}, tmp_path)["test"]["files"] == {"series": content_hash(series)}


def test_new_bundles_in_the_making_are_not_listed(tmp_path, monkeypatch, scaffold):
    monkeypatch.setenv("DIFFZOO_HOME", str(tmp_path))
    shutil.copytree(scaffold, tmp_path / "bundles" / ".mine.abc" / "mine")
    assert "mine" not in [bundle.name for bundle in installed()] and ".mine.abc" not in [bundle.name for bundle in installed()]
