"""Puts the measured numbers of docs/results.json where they are quoted: model card, metadata, and the README's table of bundles.

python tools/write_results.py score_mri      # or --all

What metadata.json tells is written into the card with them: the header for model hubs, summary, scope, bias, citation. Nothing
else is replaced than that header, and what stands between marks like `<!-- results -->` and `<!-- /results -->`.
"""

import json
import sys
from pathlib import Path

from data_folder import recipe_of
from diffzoo.zoo import card, tables
from diffzoo.zoo.bundle import Bundle

ROOT = Path(__file__).resolve().parents[1]


def main(name: str) -> None:
    bundle = ROOT / "bundles" / name
    recipe = recipe_of(name)
    entries = json.loads((bundle / "docs" / "results.json").read_text(encoding="utf-8"))["evaluations"]
    described = describe(bundle / "configs" / "metadata.json", recipe, entries[recipe["headline"]])
    write_card(bundle, tables.results_of(entries, recipe, Bundle(bundle).task))
    replace(ROOT / "README.md", "bundles", bundles_table())
    print(described)


def write_card(bundle: Path, results: str) -> None:
    """Writes into a bundle's card what its metadata tells, and its tables, which fold where they are long."""
    path, metadata = bundle / "docs" / "README.md", Bundle(bundle).metadata
    for mark, text in {"results": card.folded(results), **card.parts(metadata)}.items():
        replace(path, mark, text)
    path.write_text(card.with_header(path.read_text(encoding="utf-8"), metadata), encoding="utf-8")


def describe(path: Path, recipe: dict, entry: dict) -> str:
    """Writes headline and eval_metrics into metadata.json and returns the headline."""
    metadata = json.loads(path.read_text(encoding="utf-8"))
    metadata["headline"] = recipe["headline_text"].format(**entry)
    by = recipe.get("evaluations", {}).get(recipe["headline"], {}).get("by")
    words = f"{by} {metadata['name']}" if by else f"tools/train_zoo.py {metadata['name']} --only evaluate"
    metadata["eval_metrics"] = {
        "evaluation": recipe["headline"],
        "command": f"python {words}",
        "values": {m: {k: round(v, 5) for k, v in values.items() if v is not None} for m, values in entry["mean"].items()},
    }
    path.write_text(json.dumps(metadata, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    return metadata["headline"]


def bundles_table() -> str:
    """Markdown: one row a bundle of this checkout, what it gives linked to the page of its task."""
    rows = [["bundle", "takes", "gives", "result on people of the test (n)", "weakest point"], ["---"] * 5]
    for path in sorted((ROOT / "bundles").glob("*/configs/metadata.json")):
        data = json.loads(path.read_text(encoding="utf-8"))
        link = f"[{data['name']}](bundles/{data['name']}/docs/README.md)"
        result = f"{data['headline']} (n = {data['test_people']})" if "test_people" in data else data["headline"]
        output = f"[{card.in_short(data, 'output')}](docs/{data['kind']}.md)"
        rows.append([link, card.in_short(data, "input"), output, result, card.weakest_point(data)])
    return tables.markdown(rows)


def replace(path: Path, mark: str, text: str) -> None:
    """Replaces what stands between the two marks of a document."""
    new = card.replaced(path.read_text(encoding="utf-8"), mark, text)
    if new is None:
        raise SystemExit(f"{path} has no marks <!-- {mark} --> and <!-- /{mark} -->")
    path.write_text(new, encoding="utf-8")


if __name__ == "__main__":
    for each in (
        sorted(p.parents[1].name for p in ROOT.glob("bundles/*/docs/recipe.json")) if "--all" in sys.argv else sys.argv[1:]
    ):
        main(each)
