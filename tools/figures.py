"""Figures that a tool measures, beside the evaluations of a bundle in its docs/results.json."""

import json
from pathlib import Path

from data_folder import recipe_of


def store(bundle: Path, key: str, settings: list[str], figures: dict, weights: str = "model", **more) -> None:
    """Writes figures into docs/results.json under a key of the recipe's evaluations, with the hash of that weight file."""
    from diffzoo.facts import sha256
    from diffzoo.zoo.tables import results_text

    order = recipe_of(bundle.name)["evaluations"]
    entry = {"what": order[key]["what"], "settings": settings, **more, "figures": rounded(figures)}
    results = stored(bundle)  # read as late as this: others may have written
    results[key] = entry | {"weights_sha256": sha256(bundle / "models" / f"{weights}.safetensors")}
    text = results_text({name: results[name] for name in order if name in results})
    (bundle / "docs" / "results.json").write_text(text, encoding="utf-8")


def stored(bundle: Path) -> dict[str, dict]:
    """The entries of docs/results.json by key."""
    path = bundle / "docs" / "results.json"
    return json.loads(path.read_text(encoding="utf-8"))["evaluations"] if path.is_file() else {}


def rounded(value):
    """Numbers with four digits, in dicts too."""
    if isinstance(value, dict):
        return {key: rounded(item) for key, item in value.items()}
    return float(f"{value:.4g}") if isinstance(value, float) else value
