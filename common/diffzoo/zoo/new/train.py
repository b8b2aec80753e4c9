"""The weight files of a new bundle for a task: short trainings on simulated volumes, and what is made without training."""

from collections.abc import Sequence
from pathlib import Path

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


def makeable(bundle: Bundle, without: Sequence[str] = ()) -> None:
    """InputError where one of `weight_files` is neither trained by a config of its own nor a mean head."""
    for name in weight_files(bundle.root, without):
        if name != "atlas" and not all((bundle.root / "configs" / f"{stem}.yaml").is_file() for stem in configs_of(bundle, name)):
            raise InputError(f"{bundle.name} has no train_{name}.yaml for models/{name}.safetensors: it cannot be a pattern")


def trained(bundle: Bundle, data: Path, made: Path, configs: Sequence[str] = ("train",)) -> None:
    """Runs a training of a bundle on the CPU on a folder with a datalist; weights and log go to the folder `made`."""
    from diffzoo.zoo.session import parse, unwrapped

    with unwrapped():
        parser = parse(bundle, configs, {"dataset_dir": str(data), "output_dir": str(made), "device_name": "cpu"})
        parser.get_parsed_content("run")


def mean_heads(data: Path, target: Path) -> None:
    """Writes the mean head of each contrast of the training list, as an evaluation compares with."""
    from safetensors.torch import save_file

    from diffzoo.imaging.atlas import build
    from diffzoo.imaging.heads import LoadHead
    from diffzoo.training.datalist import entries

    save_file(build(entries(str(data), "training"), LoadHead()), target, metadata={"format": "pt"})
