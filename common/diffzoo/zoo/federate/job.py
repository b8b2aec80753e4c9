"""A job folder for NVFLARE: FedAvg or FedProx of a bundle among sites, through MONAI's MonaiAlgo."""

import copy
import math
import shutil
import tempfile
import zipfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import yaml

from diffzoo.errors import InputError
from diffzoo.imaging.io.files import write_json
from diffzoo.zoo.archive import MANIFEST
from diffzoo.zoo.bundle import Bundle
from diffzoo.zoo.federate.part import filters
from diffzoo.zoo.finetune.choices import METHODS
from diffzoo.zoo.finetune.request import Request, checked_parent, checked_settings
from diffzoo.zoo.finetune.split import split
from diffzoo.zoo.finetune.words import seen_before
from diffzoo.zoo.finetune.work import look
from diffzoo.zoo.pack import MODEL, pack

TRAIN = "configs/train.json"  # what MonaiAlgo trains by, and evaluates by: validate::evaluator
FILTERS = "configs/filters.json"  # of a bundle whose train.yaml trains a part of its network
JOB, GLOBAL = "job", "FL_global_model.pt"
COMMON = "nvflare.app_common"
RANGES = {"rounds": (1, 10_000), "steps": (1, 1_000_000), "mu": (0, 1000), "learning_rate": (1e-9, 10)}
RANGES |= {"batch_size": (1, 4096), "seed": (0, 2**31 - 1)}
Say = Callable[[str], None]


@dataclass(frozen=True)
class Terms:
    """What the sites agree on. mu: of the proximal term, 0 for plain averaging. Raises InputError for values out of range."""

    rounds: int = 10
    steps: int = 50
    mu: float = 0.0
    learning_rate: float | None = None
    batch_size: int | None = None
    seed: int = 0
    device: str = "auto"

    def __post_init__(self) -> None:
        for name, (low, high) in RANGES.items():
            value = getattr(self, name)
            if value is not None and not (math.isfinite(value) and low <= value <= high):
                raise InputError(f"--{name.replace('_', '-')} {value:g}: give {low:g} to {high:g}")


def federate(
    name: str,
    data: Sequence[str | Path],
    output: str | Path,
    terms: Terms | None = None,
    settings: list[str] | None = None,
    pattern: str | None = None,
    trust: bool = False,
    say: Say = lambda line: None,
) -> Path:
    """Writes OUTPUT/job for sites site-1, site-2, ... in the order of their data, and returns it.

    Beside it OUTPUT/site-1_work and so on keep what is of a site alone: a look at its scans, and data/datalist.json, split by
    subject. The job holds the bundle and paths of these folders, no scan. settings: "key=value" parameters of train.yaml.
    Raises InputError, with nothing written, for what does not fit.
    """
    terms, output = terms or Terms(), Path(output).absolute()
    parent = checked_parent(name, trust)
    content = federated(yaml.safe_load(parent.config("train").read_text(encoding="utf-8")), terms.mu)
    values = checked_settings(parent, settings) | _values(terms) | _start(parent, content, terms)
    if not data:
        raise InputError("no site: give --data once for each")
    if output.exists():
        raise InputError(f"{output} is there already: choose another folder with -o")
    try:
        output.mkdir(parents=True)
        parties = {"server": server(parent.name, terms.rounds, len(data))}
        for k, folder in enumerate(data):
            request = Request(parent, Path(folder), output / f"site-{k + 1}", terms.device, trust)
            say(f"site-{k + 1}:")
            own = {"dataset_dir": str(_lists(request, pattern, terms.seed, say)), "seed": terms.seed + k}
            parties[request.place.name] = site(parent.name, _metric(content), values | own, "part" in content)
        _write(output / JOB, parent, content, parties)
    except BaseException as error:
        shutil.rmtree(output, ignore_errors=True)
        if isinstance(error, OSError) and not isinstance(error, InputError):
            raise InputError(f"{output} cannot be written ({error.strerror or error}): choose another folder") from error
        raise
    say(_next(parent, output, len(data)))
    return output / JOB


def federated(parent: Mapping, mu: float) -> dict:
    """The content of a train.yaml with the proximal term of FedProx among its handlers; the same content where mu is 0."""
    content = copy.deepcopy(dict(parent))
    if not mu:
        return content
    content["train"]["callbacks"]["more"] = [*content["train"]["callbacks"].get("more", []), "@proximal"]
    return content | {"mu": mu, "proximal": {"_target_": "diffzoo.training.proximal.Proximal", "mu": "@mu"}}


def server(bundle: str, rounds: int, sites: int) -> dict:
    """The server's config: the mean of the sites' weights, each by its steps, from the shipped weights on."""
    averaging = {"min_clients": sites, "num_rounds": rounds, "wait_time_after_min_received": 0}
    averaging |= {"aggregator_id": "mean", "persistor_id": "model", "shareable_generator_id": "share"}
    files = {"bundle_root": f"config/{bundle}", "config_train_filename": TRAIN, "source_ckpt_filename": MODEL}
    return {
        "format_version": 2,
        "components": [
            _component("model", "monai_nvflare.monai_bundle_persistor.MonaiBundlePersistor", files),
            _component("share", f"{COMMON}.shareablegenerators.full_model_shareable_generator.FullModelShareableGenerator", {}),
            _component(
                "mean",
                f"{COMMON}.aggregators.intime_accumulate_model_aggregator.InTimeAccumulateWeightedAggregator",
                {"expected_data_kind": "WEIGHTS"},
            ),
        ],
        "workflows": [_component("average", f"{COMMON}.workflows.scatter_and_gather.ScatterAndGather", averaging)],
    }


def site(bundle: str, metric: str, settings: Mapping, filtered: bool = False) -> dict:
    """A site's config: MonaiAlgo on its own data, one epoch of the train.yaml a round, told the metric of each global model.

    filtered: the weights that travel pass `FILTERS`.
    """
    algo = {"bundle_root": f"config/{bundle}", "local_epochs": 1, "send_weight_diff": False}
    algo |= {"config_train_filename": TRAIN, "config_evaluate_filename": TRAIN}
    algo |= {"config_filters_filename": FILTERS} if filtered else {}
    algo |= {"train_kwargs": dict(settings), "eval_kwargs": dict(settings)}
    executor = {"path": "monai_nvflare.client_algo_executor.ClientAlgoExecutor"}
    executor |= {"args": {"client_algo_id": "algo", "key_metric": metric}}
    return {
        "format_version": 2,
        "executors": [{"tasks": ["train", "submit_model", "validate"], "executor": executor}],
        "components": [_component("algo", "monai.fl.client.MonaiAlgo", algo)],
    }


def _component(name: str, path: str, args: Mapping) -> dict:
    return {"id": name, "path": path, "args": dict(args)}


def _rate(content: Mapping, terms: Terms) -> float:
    return terms.learning_rate or float(f"{METHODS['full'] * content['learning_rate']:.6g}")


def _metric(content: Mapping) -> str:
    """The name of what the bundle validates first, which NVFLARE reports of each global model."""
    return next(iter(content["validate"]["metrics"]))


def _values(terms: Terms) -> dict:
    """Parameters of train.yaml at every site. Without an average over steps the weights that a site keeps are those it sends."""
    values = {"epochs": terms.rounds, "steps_per_epoch": terms.steps, "device_name": terms.device}
    values |= {"resume": False, "ema_decay": 0.0}
    return values | ({} if terms.batch_size is None else {"batch_size": terms.batch_size})


def _start(parent: Bundle, content: Mapping, terms: Terms) -> dict:
    """The learning rate and, where a site trains a part alone, the shipped weights: its own file is of the whole."""
    file = parent.weights.relative_to(parent.root).as_posix()
    rate = {"learning_rate": _rate(content, terms)}
    return rate | ({"weights": f"$@bundle_root + '/{file}'"} if "part" in content else {})


def _lists(request: Request, pattern: str | None, seed: int, say: Say) -> Path:
    """Looks at the scans of a site and writes its lists; their folder."""
    seen = look(request, pattern, say)
    scans = [item.scan for item in seen.good]
    least = request.parent.task.least_subjects([scan.image for scan in scans])
    lists = split(scans, seed, least, seen_before(request.parent, scans))
    say(", ".join(f"{len(scans)} {part}" for part, scans in lists.items()))
    place = request.work / "data"
    write_json(place / "datalist.json", {part: [scan.entry for scan in scans] for part, scans in lists.items()})
    return place


def _write(folder: Path, parent: Bundle, content: Mapping, parties: Mapping[str, dict]) -> None:
    """An app for each party: its config, and the bundle as it is published, whose train.json is that of the job."""
    with tempfile.TemporaryDirectory() as temporary, zipfile.ZipFile(pack(parent.root, temporary)) as archive:
        for party, config in parties.items():
            place = folder / f"app_{party}" / "config"
            archive.extractall(place)
            write_json(place / parent.name / TRAIN, content)
            if "part" in content:
                write_json(place / parent.name / FILTERS, filters(content["part"]))
            for name in (MANIFEST, "configs/train.yaml"):  # which tell of another train.json
                (place / parent.name / name).unlink()
            write_json(place / f"config_fed_{'server' if party == 'server' else 'client'}.json", config)
    meta = {"name": parent.name, "resource_spec": {}, "min_clients": len(parties) - 1}
    write_json(folder / "meta.json", meta | {"deploy_map": {f"app_{party}": [party] for party in parties}})


def _next(parent: Bundle, output: Path, sites: int) -> str:
    names = ",".join(f"site-{k + 1}" for k in range(sites))
    command = (
        f"diffzoo finetune {parent.name} --data {output / 'site-1_work' / 'data'} -o NEW_BUNDLE --weights {GLOBAL} --steps 0"
    )
    return (
        f"{output / JOB}: `nvflare simulator {output / JOB} -w WORKSPACE -c {names} -t {sites}` runs it on this machine;\n"
        f"then `{command}` measures the global model on the test list of a site and makes a bundle of it"
    )
