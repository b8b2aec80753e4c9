"""NVFLARE 2.7.3: two hospitals train every bundle together for two rounds, through MONAI's MonaiAlgo, in NVFLARE's simulator."""

import json
import math
import re
import shutil

import pytest
import torch
from safetensors.torch import load_file

from diffzoo.zoo.verify import Subject
from diffzoo.zoo.verify.samples import scans

SITES, ROUNDS = ("site-1", "site-2"), 2
TRAIN = (
    "configs/train.json"  # evaluate.yaml is laid over inference.yaml; what MonaiAlgo evaluates is validate::evaluator of train
)


@pytest.fixture(scope="module")
def flare(client):
    return client("nvflare", ["nvflare==2.7.3", "monai-nvflare==0.4.0"])


def component(name: str, path: str, **args) -> dict:
    return {"id": name, "path": path, "args": args}


def server(bundle: str) -> dict:
    """FedAvg from the shipped weights."""
    common = "nvflare.app_common"
    averaging = {"min_clients": len(SITES), "num_rounds": ROUNDS, "wait_time_after_min_received": 0}
    averaging |= {"aggregator_id": "mean", "persistor_id": "model", "shareable_generator_id": "share"}
    return {
        "format_version": 2,
        "components": [
            component(
                "model",
                "monai_nvflare.monai_bundle_persistor.MonaiBundlePersistor",
                bundle_root=f"config/{bundle}",
                config_train_filename=TRAIN,
                source_ckpt_filename="models/model.pt",
            ),
            component("share", f"{common}.shareablegenerators.full_model_shareable_generator.FullModelShareableGenerator"),
            component(
                "mean",
                f"{common}.aggregators.intime_accumulate_model_aggregator.InTimeAccumulateWeightedAggregator",
                expected_data_kind="WEIGHTS",
            ),
        ],
        "workflows": [component("average", f"{common}.workflows.scatter_and_gather.ScatterAndGather", **averaging)],
    }


def hospital(bundle: str, metric: str, settings: dict) -> dict:
    algo = {"bundle_root": f"config/{bundle}", "local_epochs": 1, "send_weight_diff": False}
    algo |= {"config_train_filename": TRAIN, "config_evaluate_filename": TRAIN, "train_kwargs": settings, "eval_kwargs": settings}
    executor = "monai_nvflare.client_algo_executor.ClientAlgoExecutor"
    told = {"client_algo_id": "algo", "key_metric": metric}
    return {
        "format_version": 2,
        "executors": [{"tasks": ["train", "submit_model", "validate"], "executor": {"path": executor, "args": told}}],
        "components": [component("algo", "monai.fl.client.MonaiAlgo", **algo)],
    }


def job(folder, packed, subject):
    """A job with one app a party, each with the bundle; each hospital has scans of its own."""
    settings = dict(subject.short_training) | {"device_name": "cpu", "resume": False, "learning_rate": 0.5, "ema_decay": 0.0}
    metric = next(iter(subject.configs["train"]["validate"]["key_metric"]))
    apps = {"server": server(packed.name)}
    for k, site in enumerate(SITES):
        data = scans(subject, folder / "data" / site, count=1 + k)
        if k:
            for path in data.glob("*0_t1*"):
                path.unlink()  # the other hospital has this one
        apps[site] = hospital(packed.name, metric, settings | {"dataset_dir": str(data)})
    for party, config in apps.items():
        place = folder / "job" / f"app_{party}" / "config"
        shutil.copytree(packed, place / packed.name)
        kind = "server" if party == "server" else "client"
        (place / f"config_fed_{kind}.json").write_text(json.dumps(config))
    parts = {"name": packed.name, "resource_spec": {}, "min_clients": len(SITES)}
    (folder / "job" / "meta.json").write_text(json.dumps(parts | {"deploy_map": {f"app_{party}": [party] for party in apps}}))
    return folder / "job"


def test_two_hospitals_train_for_two_rounds(flare, packed, tmp_path):
    subject = Subject(packed, tmp_path / "work")
    place, work = job(tmp_path, packed, subject), tmp_path / "workspace"
    shipped = torch.load(packed / "models" / "model.pt", weights_only=True)
    flare.run("nvflare", "simulator", place, "-w", work, "-c", ",".join(SITES), "-t", 2, cwd=tmp_path)
    for site in SITES:  # the key metric of the model that each round starts from
        told = re.findall(r"reported key metric \w+: (\S+)", (work / site / "log.txt").read_text())
        assert len(told) == ROUNDS and all(math.isfinite(float(value)) for value in told)
    [path] = work.rglob("FL_global_model.pt")
    together = torch.load(path, weights_only=False)["model"]
    assert together.keys() == shipped.keys()
    assert any(not torch.equal(torch.as_tensor(together[key]), value) for key, value in shipped.items())
    ends = [load_file(next(work.rglob(f"app_{site}/config/{packed.name}/models/model.safetensors"))) for site in SITES]
    assert any(not torch.equal(ends[0][key], ends[1][key]) for key in shipped)
    for key in shipped:  # the global model is the mean of what the hospitals ended with, written in half precision
        mean = sum(end[key].float() for end in ends) / len(ends)
        assert torch.allclose(torch.as_tensor(together[key]).float(), mean, rtol=2e-3, atol=1e-4), key
