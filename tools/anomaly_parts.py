"""Heads, parts of a bundle and lesion cases, for the programs that measure one part of an anomaly detector."""

import json
from collections.abc import Iterator
from pathlib import Path

import torch

from data_folder import data_folder, datalist, recipe_of

ROOT = Path(__file__).resolve().parents[1]


def parts(name: str, *configs: str):
    """The parser of a bundle's configs, on the CPU: `.get_parsed_content(key)` gives a part."""
    from monai.bundle import ConfigParser

    bundle, parser = ROOT / "bundles" / name, ConfigParser()
    parser.read_config([str(bundle / "configs" / f"{stem}.yaml") for stem in ("inference", *configs)])
    parser["bundle_root"], parser["device_name"] = str(bundle), "cpu"
    return parser


def healthy_head(name: str, data: str | None) -> dict:
    """The loaded healthy validation scan of the lists that the bundles share."""
    from diffzoo.imaging.heads import LoadHead

    entry = datalist(data_folder(data), recipe_of(name))["healthy"][0]
    return LoadHead()({**entry, "case": "healthy"})


def lesion_cases(name: str, data: str | None) -> Iterator[dict]:
    """The loaded validation cases with synthetic lesions that the bundles share, in the order of the evaluation."""
    from diffzoo.imaging.heads import LoadHead
    from diffzoo.tasks.anomaly.lesion_cases import CachedHead, InsertLesion, with_lesions

    entries = datalist(data_folder(data), recipe_of(name))["validation"]
    load, insert = CachedHead(LoadHead()), InsertLesion()
    listed = [{**entry, "case": Path(entry["image"]).name.split(".")[0]} for entry in entries]
    for case in with_lesions(listed, "6,10,15", turns=2):
        yield insert(load(case))


def slices_of(head: dict) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, list[int]]:
    """Slices [D, 1, H, W], masks of tissue of the same shape, vectors [D, 4] and numbers of a loaded head."""
    image, brain = (head[key].as_tensor().movedim(-1, 0).float() for key in ("image", "brain"))
    return image, brain, torch.as_tensor(head["vector"]).float(), [int(i) for i in head["slice_index"]]


def write(name: str, figures: dict) -> None:
    """Adds figures, with four digits, to docs/checks.json of a bundle, with the hash of its weights."""
    from diffzoo.facts import sha256

    bundle = ROOT / "bundles" / name
    figures = {"weights_sha256": sha256(bundle / "models" / "model.safetensors")} | figures
    rounded = json.loads(json.dumps(figures), parse_float=lambda text: float(f"{float(text):.4g}"))
    (bundle / "docs" / "checks.json").write_text(json.dumps(rounded, indent=1) + "\n", encoding="utf-8")
    print(json.dumps(rounded, indent=1))
