"""The weight files of a new bundle for a task: short trainings on simulated volumes, and what is made without training."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import yaml

from diffzoo.errors import InputError
from diffzoo.zoo.bundle import Bundle


def weight_files(root: Path, without: Sequence[str] = ()) -> list[str]:
    """Names X of the files models/X.safetensors of a bundle, "model" first; none that holds a word of `without`."""
    names = (path.stem for path in sorted((root / "models").glob("*.safetensors")))
    names = [name for name in names if not any(word in name for word in without)]
    return sorted(names, key=lambda name: name != "model")


def configs_of(bundle: Bundle, name: str) -> list[str]:
    """The configs whose training makes models/NAME.safetensors: train, with train_NAME laid over it for another than "model"."""
    return ["train"] if name == "model" else ["train", f"train_{name}"]


def stages_of(bundle: Bundle) -> list[list[str]]:
    """The trainings that make models/model.safetensors in turn, each its configs: train.yaml, then overlays that set `part`."""
    overlays = sorted((bundle.root / "configs").glob("train_*.yaml"), key=lambda path: (path.stem.count("_"), path.stem))
    return [["train"], *(["train", path.stem] for path in overlays if "part" in yaml.safe_load(path.read_text(encoding="utf-8")))]


def makeable(bundle: Bundle, without: Sequence[str] = ()) -> None:
    """InputError where one of `weight_files` is neither trained by a config of its own nor made by its task."""
    makers = {**bundle.task.makers(False), **bundle.task.makers(True)}
    for name in weight_files(bundle.root, without):
        if name not in makers and not all(
            (bundle.root / "configs" / f"{stem}.yaml").is_file() for stem in configs_of(bundle, name)
        ):
            raise InputError(f"{bundle.name} has no train_{name}.yaml for models/{name}.safetensors: it cannot be a pattern")


def parsed(bundle: Bundle) -> Callable[[Sequence[str], Mapping], object]:
    """parsed(configs, settings) -> the parser of a bundle's configs, from which a task takes what it needs."""
    from diffzoo.zoo.session import parse

    return lambda configs, settings: parse(bundle, configs, settings)


def trained(
    bundle: Bundle,
    data: Path,
    output: Path,
    configs: Sequence[str] = ("train",),
    settings: Mapping | None = None,
    say: Callable[[str], None] | None = None,
) -> None:
    """Runs a training of a bundle on the CPU on a folder with a datalist; weights and log go to the folder `output`.

    say: hears of steps and time left as it goes.
    """
    from diffzoo.zoo.session import parse, unwrapped

    places = {"dataset_dir": str(data), "output_dir": str(output), "device_name": "cpu"}
    with unwrapped():
        parser = parse(bundle, configs, places | dict(settings or {}))
        if say is not None:
            from diffzoo.zoo.progress import Steps

            Steps(say).attach(parser.get_parsed_content("train::trainer"))
        parser.get_parsed_content("run")
