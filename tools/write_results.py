"""Puts the measured numbers of docs/results.json where they are quoted: model card, metadata, and the README's table of bundles.

python tools/write_results.py score_mri

Text between `<!-- results -->` and `<!-- /results -->` (`<!-- bundles -->` in the README) is replaced, nothing else.
"""

import json
import re
import sys
from pathlib import Path

from data_folder import recipe_of
from diffzoo.zoo import tables
from diffzoo.zoo.bundle import Bundle

ROOT = Path(__file__).resolve().parents[1]


def main(name: str) -> None:
    bundle = ROOT / "bundles" / name
    recipe = recipe_of(name)
    found = json.loads((bundle / "docs" / "results.json").read_text())["evaluations"]
    replace(bundle / "docs" / "README.md", "results", tables.results_of(found, recipe, Bundle(bundle).task))
    described = describe(bundle / "configs" / "metadata.json", recipe, found[recipe["headline"]])
    replace(ROOT / "README.md", "bundles", bundles_table())
    print(described)


def describe(path: Path, recipe: dict, entry: dict) -> str:
    """Writes headline and eval_metrics into metadata.json and returns the headline."""
    metadata = json.loads(path.read_text())
    metadata["headline"] = recipe["headline_text"].format(**entry)
    by = recipe.get("evaluations", {}).get(recipe["headline"], {}).get("by")
    words = f"{by} {metadata['name']}" if by else f"tools/train_zoo.py {metadata['name']} --only evaluate"
    metadata["eval_metrics"] = {
        "evaluation": recipe["headline"],
        "command": f"python {words}",
        "values": {m: {k: round(v, 5) for k, v in values.items() if v is not None} for m, values in entry["mean"].items()},
    }
    path.write_text(json.dumps(metadata, indent=2, ensure_ascii=False) + "\n")
    return metadata["headline"]


def bundles_table() -> str:
    """Markdown: one row a bundle of this checkout."""
    rows = [["bundle", "task", "measured", "weights"], ["---"] * 4]
    for path in sorted((ROOT / "bundles").glob("*/configs/metadata.json")):
        data = json.loads(path.read_text())
        size = sum(file.stat().st_size for file in (path.parents[1] / "models").glob("*.safetensors")) / 2**20
        rows.append(
            [f"[{data['name']}](bundles/{data['name']}/docs/README.md)", data["task"], data["headline"], f"{size:.1f} MiB"]
        )
    return tables.markdown(rows)


def replace(path: Path, mark: str, text: str) -> None:
    """Replaces what stands between the two marks of a document."""
    pattern = re.compile(rf"(<!-- {mark} -->\n).*?(<!-- /{mark} -->)", re.DOTALL)
    old = path.read_text()
    if not pattern.search(old):
        raise SystemExit(f"{path} has no marks <!-- {mark} --> and <!-- /{mark} -->")
    path.write_text(pattern.sub(lambda m: m[1] + text + "\n" + m[2], old))


if __name__ == "__main__":
    main(sys.argv[1])
