"""Federated fine-tuning, its sites in this process by MONAI's own MonaiAlgo; NVFLARE itself is in tests/clients."""

import json

import pytest
import torch
import yaml
from finetune_toy import folder_of, write_scan
from monai.fl.client import MonaiAlgo
from monai.fl.utils.constants import ExtraItems
from monai.fl.utils.exchange_object import ExchangeObject
from safetensors.torch import load_file

from diffzoo.errors import InputError
from diffzoo.zoo.bundle import CHECKOUT, Bundle, find
from diffzoo.zoo.federate.job import Terms, federate, federated
from diffzoo.zoo.finetune.command import finetune
from diffzoo.zoo.new.make import kind_of
from diffzoo.zoo.new.simulate import simulate
from diffzoo.zoo.session import parse, quiet_monai
from diffzoo.zoo.verify.samples import scans
from diffzoo.zoo.verify.subject import Subject

PARENT, ROUNDS = "score_mri", 2
TERMS = {"rounds": ROUNDS, "steps": 3, "batch_size": 2, "learning_rate": 0.002, "device": "cpu"}
CROP = ["crop=32"]
BUNDLES = sorted(path.name for path in CHECKOUT.iterdir() if (path / "configs").is_dir())
OF_TASK = {find(name).task.name: name for name in reversed(BUNDLES)}  # the first of each task
PEOPLE = {"register": 6}  # scans of a site, where three are too few
OF_TERMS = {"epochs", "steps_per_epoch", "batch_size"}  # what the terms of a job set


@pytest.fixture(scope="module")
def sites(tmp_path_factory):
    """The scans of two sites, those of the second of another form and brightness."""
    folder = tmp_path_factory.mktemp("sites")
    for k in range(4):
        write_scan(folder / "two" / f"jones{k}_t1.nii.gz", 10 + k, shape=(44, 50, 2), shift=300.0)
    return [folder_of(folder / "one"), folder / "two"]


def job(sites, folder, **terms):
    return federate(PARENT, sites, folder / "together", Terms(**TERMS | terms), CROP)


def client(place, name, folder):
    """A site's own algorithm, as NVFLARE makes it from the job, and where it stands in an app folder of its own."""
    import shutil

    app = folder / name
    shutil.copytree(place / f"app_{name}", app)
    [told] = json.loads((app / "config" / "config_fed_client.json").read_text())["components"]
    assert told["path"] == "monai.fl.client.MonaiAlgo"
    algo = MonaiAlgo(**told["args"])
    with quiet_monai():
        algo.initialize({ExtraItems.CLIENT_NAME: name, ExtraItems.APP_ROOT: str(app)})
    return algo


def shipped():
    return {key: value.float() for key, value in load_file(find(PARENT).weights).items()}


def averaged(algos, rounds=ROUNDS):
    """The global weights after some rounds of averaging, those of each site at the end, and what the last exchange held."""
    together = shipped()
    for _ in range(rounds):
        sent = []
        for algo in algos:
            algo.train(ExchangeObject(weights={key: value.numpy() for key, value in together.items()}))
            sent.append(algo.get_weights())
        ends = [{key: torch.as_tensor(value).clone() for key, value in one.weights.items()} for one in sent]
        together = {key: sum(end[key] for end in ends) / len(ends) for key in together}
    return together, ends, sent[-1]


def distance(a, b):
    return sum((a[key].float() - b[key].float()).square().sum().item() for key in b) ** 0.5


@pytest.fixture(scope="module")
def alone(sites, tmp_path_factory):
    """One site that trains by itself in rounds."""
    folder = tmp_path_factory.mktemp("alone")
    place = job(sites[:1], folder)
    return place, averaged([client(place, "site-1", folder)])


@pytest.fixture(scope="module")
def both(sites, tmp_path_factory):
    """Two sites by FedAvg."""
    folder = tmp_path_factory.mktemp("both")
    place = job(sites, folder)
    return place, averaged([client(place, name, folder) for name in ("site-1", "site-2")])


def test_one_site_is_centralised_training_to_the_bit(alone, tmp_path):
    place, (together, _, _) = alone
    root = place / "app_site-1" / "config" / PARENT
    told = json.loads((place / "app_site-1" / "config" / "config_fed_client.json").read_text())
    settings = told["components"][0]["args"]["train_kwargs"]
    settings |= {"weights": str(find(PARENT).weights), "output_dir": str(tmp_path)}
    (root / "configs" / "train.yaml").write_text((root / "configs" / "train.json").read_text())  # JSON is YAML
    with quiet_monai():
        parser = parse(Bundle(root), ["train"], settings)
        parser.get_parsed_content("run")
    central = parser.get_parsed_content("network").state_dict()
    assert all(torch.equal(central[key], together[key]) for key in together)
    assert distance(central, shipped()) > 0.01


def test_two_sites_learn_from_both(alone, both):
    (_, (one, _, _)), (_, (together, ends, _)) = alone, both
    assert distance(*ends) > 0.001 and distance(together, one) > 0.001
    assert distance(together, ends[0]) == pytest.approx(distance(*ends) / 2, rel=1e-3)  # the mean of both


def test_what_a_site_sends_are_weights_alone(both):
    _, (_, _, sent) = both
    assert sent.weights.keys() == shipped().keys()
    assert all(value.shape == shipped()[key].shape for key, value in sent.weights.items())
    told = {key: value for key, value in sent.statistics.items() if not isinstance(value, (int, float))}
    assert "miller" not in str(told) and "jones" not in str(told)


def test_fedprox_keeps_sites_near_what_they_were_sent(sites, both, tmp_path):
    place = job(sites, tmp_path, mu=50.0)
    _, ends, _ = averaged([client(place, name, tmp_path) for name in ("site-1", "site-2")])
    _, (_, plain, _) = both
    assert distance(*ends) < 0.9 * distance(*plain)


def test_a_job_holds_the_bundle_and_no_scan(both, sites):
    place, _ = both
    names = {str(path.relative_to(place)) for path in place.rglob("*") if path.is_file()}
    assert not [name for name in names if name.endswith((".nii.gz", ".nii", ".dcm", ".png")) and "/docs/" not in name]
    assert json.loads((place / "meta.json").read_text())["deploy_map"] == {
        f"app_{party}": [party] for party in ("server", "site-1", "site-2")
    }
    for k, folder in enumerate(sites):
        told = json.loads((place / f"app_site-{k + 1}" / "config" / "config_fed_client.json").read_text())
        settings = told["components"][0]["args"]["train_kwargs"]
        assert (settings["seed"], settings["epochs"], settings["steps_per_epoch"], settings["crop"]) == (k, ROUNDS, 3, 32)
        lists = json.loads((place.parent / f"site-{k + 1}_work" / "data" / "datalist.json").read_text())
        assert settings["dataset_dir"] == str(place.parent / f"site-{k + 1}_work" / "data")
        assert {entry["image"] for part in lists.values() for entry in part} == {str(path) for path in folder.iterdir()}


def test_the_global_model_becomes_a_bundle(both, tmp_path, monkeypatch):
    """As NVFLARE's persistor writes it: a dictionary with "model"."""
    monkeypatch.setattr("diffzoo.zoo.finetune.make.WIDE", (48, 40, 3))
    place, (together, _, _) = both
    torch.save({"model": together, "train_conf": {"train": {"model": "score_mri"}}}, tmp_path / "FL_global_model.pt")
    said, options = [], {"weights": str(tmp_path / "FL_global_model.pt"), "steps": 0}
    listing = place.parent / "site-1_work" / "data"
    root = finetune(PARENT, listing, tmp_path / "ours", options, CROP, device="cpu", say=said.append)
    assert any("nothing trains" in line for line in said) and [line for line in said if "warning" in line] == []
    made = load_file(root / "models" / "model.safetensors")
    assert all(torch.equal(made[key], together[key].half()) for key in made if made[key].is_floating_point())
    card, metadata = ((root / part).read_text() for part in ("docs/README.md", "configs/metadata.json"))
    assert "trained elsewhere" in card and "--weights WEIGHTS" in card and str(tmp_path) not in card + metadata
    assert json.loads(metadata)["parent"]["name"] == PARENT and not (root / "docs" / "loss.png").exists()
    mean = json.loads((root / "docs" / "results.json").read_text())["evaluations"]["validation"]["mean"]
    assert mean["fine_tuned"] != mean["parent"]


@pytest.mark.parametrize("name", BUNDLES)
def test_every_bundle_takes_the_proximal_term(name):
    parent = yaml.safe_load(find(name).config("train").read_text())
    content = federated(parent, 0.1)
    assert content["train"]["callbacks"]["more"][-1] == "@proximal"
    assert federated(parent, 0) == parent and "proximal" not in parent


@pytest.mark.parametrize("task_name", OF_TASK)
def test_a_site_trains_a_bundle_of_every_task(task_name, tmp_path):
    """One round of one step of FedProx: the site gets weights, moves them and sends back the same tensors, all finite."""
    name = OF_TASK[task_name]
    subject = Subject(find(name).root, tmp_path / "scans")
    known = find(name).parameters(["train"]).keys() - OF_TERMS
    settings = [f"{key}={json.dumps(value)}" for key, value in subject.short_training.items() if key in known]
    terms = Terms(1, 1, mu=0.1, batch_size=2, device="cpu")
    folder = scans(subject, PEOPLE.get(task_name, 3))
    if find(name).metadata["valid_range"].get("modality") == "CT":  # a name with T1 in it would be of another modality
        for path in folder.iterdir():
            path.rename(path.with_name(path.name.replace("_t1", "_ct")))
    place = federate(name, [folder], tmp_path / "together", terms, settings)
    train = place / "app_site-1" / "config" / name / "configs" / "train.json"
    lists = {key: value for key, value in subject.short_training.items() if isinstance(value, list)}  # which no option sets
    train.write_text(json.dumps(json.loads(train.read_text()) | lists))
    weights = {key: value.float().numpy() for key, value in load_file(find(name).weights).items()}
    algo = client(place, "site-1", tmp_path)
    algo.train(ExchangeObject(weights=weights))
    sent = algo.get_weights().weights
    assert sent.keys() == weights.keys()
    assert all(isinstance(value, torch.Tensor) for value in sent.values())  # NVFLARE's executor detaches each
    assert all(torch.isfinite(value).all() for value in sent.values())
    moved = [key for key, value in sent.items() if not torch.equal(value.cpu(), torch.as_tensor(weights[key]))]
    assert moved, "nothing moved"
    [file] = (place / "app_site-1").parent.parent.rglob("app_site-1/config/*/models/model.safetensors")
    own = load_file(file)  # what a site keeps is the whole network: the parts that it does not train are the parent's
    still = own.keys() & weights.keys() - set(moved)
    assert still or "part" not in json.loads(train.read_text())
    assert all(torch.equal(own[key].float(), torch.as_tensor(weights[key])) for key in still)


@pytest.mark.parametrize("name", [name for name in BUNDLES if "sample" in find(name).metadata])
def test_a_site_with_simulated_volumes_has_those_that_the_bundle_takes(name, tmp_path):
    data = simulate(kind_of(find(name)), tmp_path / "site", cases=3)
    place = federate(name, [data], tmp_path / "together", Terms(**TERMS))
    assert (place / "app_site-1" / "config" / "config_fed_client.json").is_file()


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"terms": {"rounds": 0}}, "--rounds 0: give 1 to"),
        ({"terms": {"mu": -1.0}}, "--mu -1: give 0 to"),
        ({"terms": {"learning_rate": float("nan")}}, "--learning-rate nan"),
        ({"data": []}, "no site: give --data"),
        ({"data": ["nowhere"]}, "nowhere: no such file or folder"),
        ({"settings": ["crops=3"]}, "unknown parameter"),
        ({"settings": ["learning_rate=3"]}, "give --learning-rate instead"),
        ({"name": "score_mra"}, "did you mean score_mri"),
    ],
)
def test_a_job_that_cannot_be_is_refused_and_leaves_nothing(given, told, sites, tmp_path):
    with pytest.raises(InputError, match=told):
        federate(
            given.get("name", PARENT),
            given.get("data", sites),
            tmp_path / "together",
            Terms(**TERMS | given.get("terms", {})),
            given.get("settings", CROP),
        )
    assert not list(tmp_path.iterdir())


def test_an_output_that_is_there_stays(sites, tmp_path):
    (tmp_path / "together").mkdir()
    with pytest.raises(InputError, match="is there already"):
        job(sites, tmp_path)
    assert (tmp_path / "together").is_dir()
