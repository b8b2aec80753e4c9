"""Ways to break a copy of a bundle, each with the check that must see it; nothing of the bundle is run to see these."""

import json
import pickle
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image
from safetensors.torch import load_file, save_file

CARD, METADATA, INFERENCE = "docs/README.md", "configs/metadata.json", "configs/inference.yaml"


def write(name: str, content: bytes | str) -> Callable[[Path], None]:
    data = content.encode() if isinstance(content, str) else content
    return lambda root: (root / name).write_bytes(data)


def swap(name: str, old: str, new: str) -> Callable[[Path], None]:
    def change(root: Path) -> None:
        text = (root / name).read_text()
        assert old in text, f"{name} does not hold {old!r}"
        (root / name).write_text(text.replace(old, new))

    return change


def tell(*place: str, value: object) -> Callable[[Path], None]:
    """Sets a value in metadata.json; None takes it out."""

    def change(root: Path) -> None:
        whole = inner = json.loads((root / METADATA).read_text())
        for key in place[:-1]:
            inner = inner[key]
        inner[place[-1]] = value
        if value is None:
            del inner[place[-1]]
        (root / METADATA).write_text(json.dumps(whole))

    return change


def flip_a_byte(root: Path) -> None:
    path = root / "models" / "model.safetensors"
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)


def save_in_full_precision(root: Path) -> None:
    path = root / "models" / "model.safetensors"
    some = dict(list(load_file(path).items())[:3])
    save_file({key: value.float() for key, value in some.items()}, path)
    from diffzoo.facts import sha256

    tell("weights_sha256", value=sha256(path))(root)


def measure_with_other_weights(root: Path) -> None:
    path = root / "docs" / "results.json"
    told = json.loads(path.read_text())
    told["evaluations"]["test_8x"]["weights_sha256"] = "0" * 64
    path.write_text(json.dumps(told))


def picture(width: int, height: int, noisy: bool) -> Callable[[Path], None]:
    pixels = np.random.default_rng(0).integers(0, 255, (height, width)) if noisy else np.zeros((height, width))
    return lambda root: Image.fromarray(pixels.astype(np.uint8)).save(root / "docs" / "preview.png")


def drop_section(title: str) -> Callable[[Path], None]:
    def change(root: Path) -> None:
        text = (root / CARD).read_text()
        (root / CARD).write_text(re.sub(rf"^## {title}\n.*?(?=^## |\Z)", "", text, flags=re.MULTILINE | re.DOTALL))

    return change


MIT = "Permission is hereby granted, free of charge, to any person"
HOOK = "handlers: ['@report']\n"
# what is broken: the check that must tell of it, a word of what it tells, and how to break it
DEFECTS: dict[str, tuple[str, str, Callable[[Path], object]]] = {
    "no training config": ("files", "train.yaml", lambda root: (root / "configs" / "train.yaml").unlink()),
    "empty data licence": ("files", "data_license.txt", write("docs/data_license.txt", "")),
    "no weights": ("files", "model.safetensors", lambda root: (root / "models" / "model.safetensors").unlink()),
    "a program": ("files", "helper.py", write("docs/helper.py", "print(1)")),
    "a pickle": ("files", "model.pt", write("models/model.pt", pickle.dumps({"a": 1}))),
    "a link": ("files", "link", lambda root: (root / "docs" / "more.txt").symlink_to("README.md")),
    "a picture that is text": ("files", "preview.png", write("docs/preview.png", "not a picture")),
    "a twin": ("files", "inference.json", write("configs/inference.json", "{}")),
    "a name that not every system reads": ("files", "name", write("docs/a b.txt", "a")),
    "a large document": ("sizes", "notes.txt", write("docs/notes.txt", "a" * (2**20 + 1))),
    "a command as target": ("scan", "os.system", swap(INFERENCE, "diffzoo.components.device", "os.system")),
    "an import": ("scan", "configs/inference.yaml", swap(INFERENCE, HOOK, "handlers: $__import__('os').getcwd()\n")),
    "a target that is not there": ("scan", "samplers.namd", swap(INFERENCE, "samplers.named,", "samplers.namd,")),
    "code in logging.conf": ("scan", "logging.conf", swap("configs/logging.conf", "(sys.stdout,)", "(open('a', 'w'),)")),
    "a path outside": ("scan", "weights", swap(INFERENCE, "$@bundle_root + '/models/model.safetensors'", "../other.safetensors")),
    "a config that is no YAML": ("scan", "published.yaml", write("configs/published.yaml", "a: [")),
    "metadata that are no JSON": ("metadata", "metadata.json", write(METADATA, "{")),
    "no intended use": ("metadata", "intended_use", tell("intended_use", value=None)),
    "an unknown licence": ("metadata", "Free-1.0", tell("licenses", "weights", value="Free-1.0")),
    "a source without a licence": ("metadata", "license", tell("training_data", "sources", value=[{"what": "a", "source": "b"}])),
    "no semantic version": ("metadata", "version", tell("version", value="0.1")),
    "a version that the changelog lacks": ("metadata", "changelog", tell("changelog", value={"0.0.1": "first"})),
    "0.9.0 after 0.10.0": ("metadata", "0.10.0", tell("changelog", value={"0.1.0": "a", "0.9.0": "b", "0.10.0": "c"})),
    "a wrong count of files": ("metadata", "count", tell("training_data", "split", "train", "count", value=1)),
    "a personal path in metadata": ("metadata", "one machine", tell("limits", value="data lie in /home/anna/data")),
    "another name": ("name", "another", tell("name", value="another")),
    "a flipped bit in the weights": ("weights", "sha256", flip_a_byte),
    "another hash in metadata": ("weights", "sha256", tell("weights_sha256", value="0" * 64)),
    "weights in full precision": ("weights", "F32", save_in_full_precision),
    "weights that metadata do not tell of": (
        "weights",
        "twin.safetensors",
        lambda root: save_file({}, root / "models/twin.safetensors"),
    ),
    "an open end": ("placeholders", "TODO", swap(CARD, "## Bias and limits", "TODO write this\n\n## Bias and limits")),
    "a personal path": (
        "personal paths",
        "/home/anna",
        swap(CARD, "## Bias and limits", "See /home/anna/data.\n\n## Bias and limits"),
    ),
    "the text of another licence": ("licences", "Apache-2.0", write("LICENSE", MIT)),
    "a licence of data untold": ("licences", "PDDL-1.0", swap("docs/data_license.txt", "PDDL-1.0", "public domain")),
    "no section on limits": ("card", "limits", drop_section("Bias and limits")),
    "no header for hubs": ("card", "license", swap(CARD, "license: cc-by-4.0\n", "")),
    "no section on what it is not for": ("card", "out-of-scope", drop_section("Out-of-scope use")),
    "no summary": ("card", "Weakest point", swap(CARD, "**Weakest point.** ", "**Strongest point.** ")),
    "no command to evaluate": ("card", "diffzoo evaluate", swap(CARD, "diffzoo evaluate score_mri", "diffzoo eval score_mri")),
    "a dead link": ("card", "gone.png", swap(CARD, "(preview.png)", "(gone.png)")),
    "a misspelt parameter in the card": ("commands", "aceleration", swap(CARD, "--set acceleration=8", "--set aceleration=8")),
    "a misspelt overlay in the card": ("commands", "publisht", swap(CARD, "--config published", "--config publisht")),
    "a preview of one colour": ("preview", "colour", picture(600, 300, noisy=False)),
    "a tiny preview": ("preview", "20 x 10", picture(20, 10, noisy=True)),
    "a figure that was not measured": ("results", "recon psnr", tell("eval_metrics", "values", "recon", "psnr", value=36.0)),
    "a figure of an unknown method": ("results", "magic", tell("eval_metrics", "values", "magic", value={"psnr": 50.0})),
    "an evaluation that is not there": ("results", "test_5x", tell("eval_metrics", "evaluation", value="test_5x")),
    "no figures": ("results", "no values", tell("eval_metrics", "values", value={})),
    "results of other weights": ("results", "test_8x", measure_with_other_weights),
    "a better headline": ("headline", "96.3", tell("headline", value="4.0x: PSNR 96.3 dB")),
    "a headline without a number": ("headline", "no number", tell("headline", value="much better than zero filling")),
    "a foreign package": ("dependencies", "leftpad", tell("required_packages_version", "leftpad", value="1.0")),
    "a package of tomorrow": ("dependencies", "99.0", tell("required_packages_version", "nibabel", value="99.0")),
    "no header": ("headers", "evaluate.yaml", swap("configs/evaluate.yaml", "# Laid", "\n# Laid")),
    "no result in a header": ("headers", "inference.yaml", swap(INFERENCE, "# Measured: 37.9 dB", "# Good\na_: none # 37.9 dB")),
    "a parameter without a comment": (
        "parameters",
        "momentum",
        swap(INFERENCE, "momentum: 0.7                # of", "momentum: 0.5\n# of"),
    ),
    "a mode": ("targets", "_mode_", swap(INFERENCE, "samplers.named, name", "samplers.named, _mode_: default, name")),
    "a condition": ("expressions", "if", swap("configs/train.yaml", "$@epochs * @steps_per_epoch", "$@epochs if @resume else 2")),
    "a reference to nothing": ("references", "@sigma_maxi", swap(INFERENCE, "high: '@sigma_max'", "high: '@sigma_maxi'")),
    "a misspelt key in an overlay": ("overlays", "sigma_maks", swap("configs/published.yaml", "sigma_max:", "sigma_maks:")),
}
