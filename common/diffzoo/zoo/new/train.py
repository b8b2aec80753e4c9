"""The weight files of a new bundle for a task: short trainings on simulated volumes, and what is made without training."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import yaml

from diffzoo.errors import InputError
from diffzoo.zoo.bundle import Bundle

TEMPLATE_MM = 4.0
STYLES, ROWS = 4, 64  # scans and codes; conditions


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
    return [["train"], *(["train", path.stem] for path in overlays if "part" in yaml.safe_load(path.read_text()))]


def makeable(bundle: Bundle, without: Sequence[str] = ()) -> None:
    """InputError where one of `weight_files` is neither trained by a config of its own nor made by one of MAKERS."""
    for name in weight_files(bundle.root, without):
        if name not in MAKERS and not all(
            (bundle.root / "configs" / f"{stem}.yaml").is_file() for stem in configs_of(bundle, name)
        ):
            raise InputError(f"{bundle.name} has no train_{name}.yaml for models/{name}.safetensors: it cannot be a pattern")


def trained(bundle: Bundle, data: Path, made: Path, configs: Sequence[str] = ("train",), settings: Mapping | None = None) -> None:
    """Runs a training of a bundle on the CPU on a folder with a datalist; weights and log go to the folder `made`."""
    from diffzoo.zoo.session import parse, unwrapped

    places = {"dataset_dir": str(data), "output_dir": str(made), "device_name": "cpu"}
    with unwrapped():
        parser = parse(bundle, configs, places | dict(settings or {}))
        parser.get_parsed_content("run")


def mean_heads(bundle: Bundle, data: Path, target: Path) -> None:
    """Writes the mean head of each contrast of the training list, as an evaluation compares with."""
    from safetensors.torch import save_file

    from diffzoo.imaging.atlas import build
    from diffzoo.imaging.heads import LoadHead
    from diffzoo.training.datalist import entries

    save_file(build(entries(str(data), "training"), LoadHead()), target, metadata={"format": "pt"})


def plain_template(bundle: Bundle, data: Path, target: Path) -> None:
    """Writes a simulated brain and its tissues, as priors that tell the tissues of simulated ones."""
    import numpy as np
    import torch
    from safetensors.torch import save_file

    from diffzoo.imaging.phantoms.volumes import sample

    shape, affine = (48, 54, 42), np.diag([TEMPLATE_MM] * 3 + [1.0])
    affine[:3, 3] = -TEMPLATE_MM * (np.array(shape) - 1) / 2
    head, labels = (sample(kind, shape, affine) for kind in ("head", "labels"))
    maps = np.stack([head / head.max(), labels == 2, labels == 3]).astype(np.float32)
    save_file({"maps": torch.from_numpy(maps).half(), "affine": torch.from_numpy(affine).half()}, target)


def small_prior(bundle: Bundle, data: Path, target: Path) -> None:
    """Writes style codes, by the generator that was just trained, and conditions of the training list."""
    from safetensors.torch import save_file

    from diffzoo.training.datalist import entries
    from diffzoo.training.prior import condition_rows, style_codes
    from diffzoo.zoo.session import parse, unwrapped

    with unwrapped():
        parser = parse(bundle, ["train"], {"device_name": "cpu", "weights": str(bundle.weights)})
        network, load = (parser.get_parsed_content(name) for name in ("network", "load"))
        listed = entries(str(data), "training")[:STYLES]
        found = style_codes(network.generator, listed, load, load.load.field, STYLES)
        found["conditions"] = condition_rows(listed, load, load.load.field, ROWS)
        save_file(found, target)


BEFORE, AFTER = {"template": plain_template}, {"atlas": mean_heads, "prior": small_prior}  # of the trainings
MAKERS = BEFORE | AFTER
