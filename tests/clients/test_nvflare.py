"""NVFLARE 2.7.3 runs the jobs of `diffzoo federate` in its simulator: sites train every bundle together by MONAI's MonaiAlgo."""

import json
import math
import re

import pytest
import torch
import yaml
from safetensors.torch import load_file

from diffzoo.zoo.bundle import Bundle, find
from diffzoo.zoo.federate.job import Terms, federate
from diffzoo.zoo.finetune.train import load_report
from diffzoo.zoo.new.make import kind_of
from diffzoo.zoo.new.simulate import simulate
from diffzoo.zoo.session import parse, quiet_monai
from diffzoo.zoo.verify import Subject

ROUNDS, RATE = 2, 0.002
WHOLE = "score_mri"  # what does not depend on the bundle is tried on this one
OPTIONS = ("epochs", "steps_per_epoch", "batch_size")  # of `diffzoo federate`, not to be set


@pytest.fixture(scope="module")
def flare(client):
    return client("nvflare", ["nvflare==2.7.3", "monai-nvflare==0.4.0"])


@pytest.fixture(scope="session")
def together(tmp_path_factory):
    """together(bundle, folder, sites, mu) -> the job: each site has simulated volumes of its own, with their lists."""
    made = {}

    def job(bundle, folder, sites=2, mu=0.0):
        told = find(bundle)
        if bundle not in made:
            place, kind = tmp_path_factory.mktemp(bundle), kind_of(told)
            cases = 6 if kind == "pair" else 3  # the least: reading a head can be costly
            made[bundle] = [simulate(kind, place / str(k), cases, seed=k) for k in range(2)]
        short = {k: v for k, v in Subject(told.root, folder / "look").short_training.items() if k not in OPTIONS}
        terms = Terms(ROUNDS, steps=2, mu=mu, learning_rate=RATE, batch_size=2, device="cpu")
        place = federate(bundle, made[bundle][:sites], folder / "together", terms)
        for path in place.rglob("config_fed_client.json"):  # --set is for scalars, and some of these are lists
            config = json.loads(path.read_text())
            for settings in ("train_kwargs", "eval_kwargs"):
                config["components"][0]["args"][settings] |= short
            path.write_text(json.dumps(config))
        return place

    return job


def run(flare, job, sites, folder, bundle=WHOLE):
    """The global model after the rounds, and the folder of the simulator."""
    names = [f"site-{k + 1}" for k in range(sites)]
    work = folder / "workspace"
    flare.run("nvflare", "simulator", job, "-w", work, "-c", ",".join(names), "-t", sites, cwd=folder)
    for name in names:  # the key metric of the model that each round starts from
        told = re.findall(r"reported key metric \w+: (\S+)", (work / name / "log.txt").read_text())
        assert len(told) == ROUNDS, (work / name / "log_error.txt").read_text()[-3000:]  # the simulator ends with 0 all the same
        assert all(math.isfinite(float(value)) for value in told)
    [path] = work.rglob("FL_global_model.pt")
    fits, matched, total = load_report(find(bundle), str(path))  # as `diffzoo finetune --weights` reads it
    assert matched == total
    return fits, work


def ends_of(work, bundle, sites=2):
    """The weights with which each site ended."""
    places = (work.rglob(f"app_site-{k + 1}/config/{bundle}/models/model.safetensors") for k in range(sites))
    return [load_file(next(place)) for place in places]


def apart(a, b):
    return sum((a[key].float() - b[key].float()).square().sum().item() for key in b) ** 0.5


def test_two_sites_train_every_bundle_by_averaging(shipped, flare, together, tmp_path):
    model, work = run(flare, together(shipped, tmp_path), 2, tmp_path, shipped)
    parent = load_file(find(shipped).weights)
    assert model.keys() == parent.keys() and apart(model, parent) > 0.001
    ends = ends_of(work, shipped)
    assert apart(*ends) > 0.001
    for key in parent:  # the global model is the mean of what the sites ended with, written in half precision
        mean = sum(end[key].float() for end in ends) / len(ends)
        assert torch.allclose(model[key].float(), mean, rtol=2e-3, atol=1e-4), key


def test_sites_that_train_by_fedprox_end_nearer_to_each_other(flare, together, tmp_path):
    apart_by = {}
    for mu in (0.0, 50.0):
        folder = tmp_path / f"{mu:g}"
        folder.mkdir()
        _, work = run(flare, together(WHOLE, folder, mu=mu), 2, folder)
        apart_by[mu] = apart(*ends_of(work, WHOLE))
    assert apart_by[50.0] < 0.95 * apart_by[0.0]


def test_one_site_is_centralised_training(flare, together, tmp_path):
    """The same train.json for as many epochs, by itself and not in rounds."""
    job = together(WHOLE, tmp_path, sites=1)
    model, _ = run(flare, job, 1, tmp_path)
    place = job / "app_site-1" / "config"
    [algo] = json.loads((place / "config_fed_client.json").read_text())["components"]
    content = json.loads((place / WHOLE / "configs" / "train.json").read_text())
    (place / WHOLE / "configs" / "train.yaml").write_text(yaml.safe_dump(content, sort_keys=False))
    settings = algo["args"]["train_kwargs"] | {"weights": str(find(WHOLE).weights), "output_dir": str(tmp_path / "central")}
    with quiet_monai():
        parser = parse(Bundle(place / WHOLE), ["train"], settings)
        parser.get_parsed_content("run")
    central = parser.get_parsed_content("network").state_dict()
    moved = apart(central, load_file(find(WHOLE).weights))
    assert moved > 0.001 and apart(model, central) < 1e-3 * moved
