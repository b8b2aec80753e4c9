"""Checks of the configs at work in MONAI's own workflows: properties, a run, one step of training, an evaluation."""

import json
import math

import numpy as np
import torch
from safetensors.torch import load_file

from diffzoo.imaging.io.cases import cases_at
from diffzoo.zoo.session import Session
from diffzoo.zoo.verify.check import Broken, refuse
from diffzoo.zoo.verify.documents import leaves
from diffzoo.zoo.verify.runs import outputs, read
from diffzoo.zoo.verify.samples import case_count, file_name, geometries, inputs, labelled, scans, write_sample
from diffzoo.zoo.verify.subject import Subject

TRAINING_RATE = 0.5  # so high that one step of the warm-up shows in half precision
MOVED = 0.9  # share of tensors that a step moves: some biases have no gradient
RUNS = ("files", "scan", "metadata", "weights", "references", "targets")


def workflow(subject: Subject, kind: str, configs: list[str], **overrides):
    """Some configs of a bundle as MONAI's own programs take them, on the CPU."""
    from monai.bundle import ConfigWorkflow

    files = [str(subject.bundle.config(name)) for name in configs]
    settings = {"bundle_root": str(subject.root), "device_name": "cpu"} | overrides
    flow = ConfigWorkflow(files, workflow_type=kind, logging_file=False, **settings)
    flow.initialize()
    return flow


def inference_properties(subject: Subject) -> str:
    """Inference, its overlays and evaluation have what programs of MONAI ask for (InferProperties)."""
    from monai.inferers import Inferer

    subject.after(*RUNS)
    cases, output = scans(subject), subject.folder("properties")
    count = case_count(subject, cases)
    for configs in subject.inference_sets:
        name = "+".join(configs)
        flow = workflow(subject, "inference", configs, dataset_dir=str(cases), output_dir=str(output))
        refuse([f"{name}: {wrong}" for wrong in flow.check_properties()], "give it the ids of MONAI's InferProperties")
        if not (flow.preprocessing and flow.postprocessing and flow.handlers):
            raise Broken(f"{name} lacks preprocessing, postprocessing or handlers", "add them")
        if not isinstance(flow.inferer, Inferer) or not isinstance(flow.network_def, torch.nn.Module):
            raise Broken(f"{name}: inferer or network_def is of another kind", "an Inferer of MONAI, and a plain nn.Module")
        if len(flow.dataset_data) != count:
            raise Broken(f"{name} finds {len(flow.dataset_data)} of {count} cases", "mend dataset::data")
    return ", ".join("+".join(configs) for configs in subject.inference_sets)


def training_properties(subject: Subject) -> str:
    """Training, and each overlay of it, has what programs of MONAI ask for (TrainProperties)."""
    subject.after(*RUNS)
    cases = scans(subject)
    for configs in subject.training_sets:
        output = subject.folder("_".join(["properties", *configs]))
        flow = workflow(subject, "train", configs, dataset_dir=str(cases), output_dir=str(output), **subject.short_training)
        refuse([f"{'+'.join(configs)}: {w}" for w in flow.check_properties()], "give it the ids of MONAI's TrainProperties")
        if not isinstance(flow.network_def, torch.nn.Module) or flow.evaluator is None:
            raise Broken(f"{'+'.join(configs)} has no plain network_def, or no validate::evaluator", "add it")
    return ", ".join("+".join(configs) for configs in subject.training_sets)


def pipeline(subject: Subject) -> str:
    """The names that inferer_data_format describes are those that transforms make and the inferer takes."""
    subject.after("inference properties")
    described = subject.metadata["inferer_data_format"]
    session = Session(subject.bundle, settings=subject.short(["inference"]), device="cpu")
    path = subject.folder("pipeline") / file_name(subject, "scan")
    write_sample(path, subject, geometries(subject)["plain"])
    [case] = session.expanded(cases_at(inputs(subject, path)))
    item = session.get("preprocessing")(case)
    names, taken = set(described["inputs"]), {"image", *session.get("inferer").conditions}
    refuse([f"{n} is described or taken, not both" for n in sorted(names ^ taken)], "mend inferer_data_format in metadata.json")
    refuse([f"{n} is not made by preprocessing" for n in sorted(names - set(item))], "name it as the transforms do")
    if next(iter(described["inputs"])) != "image" or list(described["outputs"]) != ["pred"]:
        raise Broken("inferer_data_format does not begin with image, or has other outputs than pred", "programs ask for these")
    return ", ".join(described["inputs"])


def stock_run(subject: Subject) -> str:
    """`monai.bundle run` of inference.yaml writes the same voxels as `diffzoo run`."""
    subject.after("inference properties")
    settings, place = subject.short(["inference"]), subject.folder("stock_run")
    path = subject.folder("stock_case") / file_name(subject, "scan")
    write_sample(path, subject, geometries(subject)["plain"])
    quiet = {"inferer::progress": None}
    source = path if len(inputs(subject, path)) == 1 else path.parent
    flow = workflow(subject, "inference", ["inference"], dataset_dir=str(source), output_dir=str(place), **settings, **quiet)
    flow.run()
    [ours] = outputs(subject, "stock_ours", [path], settings)
    for name, volume in ours.items():
        [stock] = place.glob(f"*scan*_{name}")
        if not np.array_equal(read(stock).array, volume.array):
            raise Broken(f"{name} differs between monai.bundle run and diffzoo run", "leave nothing to the command line alone")
    return f"{len(ours)} outputs, equal to the bit"


def training_step(subject: Subject) -> str:
    """One step from the shipped weights moves them and writes a file of the same tensors, all finite (fine-tuning starts so)."""
    subject.after("training properties", "strict weights")
    cases = scans(subject)
    for configs in subject.training_sets:
        output = subject.folder("_".join(["step", *configs]))
        weights = subject.weights_of(configs)
        shipped, start = load_file(weights), {"weights": str(weights), "learning_rate": TRAINING_RATE}
        places = {"dataset_dir": str(cases), "output_dir": str(output)}
        flow = workflow(subject, "train", configs, **subject.short_training | start | places)
        flow.run()
        _check_step(flow, shipped, load_file(output / "model.safetensors"), "+".join(configs))
    return f"{len(subject.training_sets)} trainings"


def _check_step(flow, shipped: dict, written: dict, name: str) -> None:
    if written.keys() != shipped.keys() or not all(torch.isfinite(value).all() for value in written.values()):
        raise Broken(f"{name} writes other tensors than it started from, or such that are not finite", "look at its handlers")
    trained = flow.parser.get_parsed_content("network").state_dict()
    places = {value.data_ptr() for value in flow.trainer.network.state_dict().values()}  # it may train a part of the network
    mine = [key for key, value in trained.items() if value.data_ptr() in places]
    moved = [key for key in mine if not torch.equal(trained[key].cpu(), shipped[key].to(trained[key].dtype))]
    same = all(torch.equal(written[key], shipped[key]) for key in shipped)
    if same or len(moved) <= MOVED * len(mine):
        raise Broken(f"{name} moves {len(moved)} of {len(mine)} tensors in one step", "look at optimizer and network")
    if flow.trainer.state.iteration != 1 or not math.isfinite(flow.trainer.state.output["loss"]):
        raise Broken(
            f"{name} makes {flow.trainer.state.iteration} steps, or a loss that is not finite", "look at epochs and loss"
        )


def training_from_nothing(subject: Subject) -> str:
    """One step from random weights gives a finite loss."""
    subject.after("training properties")
    cases, output = scans(subject), subject.folder("nothing")
    flow = workflow(subject, "train", ["train"], dataset_dir=str(cases), output_dir=str(output), **subject.short_training)
    flow.run()
    loss = flow.trainer.state.output["loss"]
    if not math.isfinite(loss):
        raise Broken(f"the loss of the first step is {loss}", "look at the loss and the preconditioner")
    return f"loss {loss:.3g}"


def evaluation(subject: Subject) -> str:
    """An evaluation of a simulated scan gives finite figures of the bundle and of each method that it is compared with."""
    subject.after("inference properties")
    configs, place = ["inference", "evaluate"], subject.folder("evaluation")
    session = Session(subject.bundle, configs, subject.short(configs), "cpu", place)
    outcome = session.run([labelled(subject.folder("evaluation_case"), subject)])
    if outcome.failures or not (place / "metrics.json").is_file():
        what = f"evaluation fails: {outcome.failures[0][1]}" if outcome.failures else "evaluation writes no metrics.json"
        raise Broken(what, "look at evaluate.yaml")
    mean = json.loads((place / "metrics.json").read_text(encoding="utf-8")).get("mean", {})
    figures = {" ".join(keys): value for keys, value in leaves(mean)}
    refuse([f"{name} is {v}" for name, v in figures.items() if not math.isfinite(v)], "look at the metrics of evaluate.yaml")
    if not figures:
        raise Broken("metrics.json holds no figures under mean", "write a mean of each method")
    return f"{len(figures)} figures of {', '.join(mean)}"
