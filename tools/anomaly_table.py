"""Compares the bundles of anomaly detection on the lists that they share: docs/anomaly.md and docs/anomaly.png.

python tools/anomaly_table.py [--data FOLDER]

The table is made from docs/results.json of each bundle whose recipe names the shared lists. With --data one test case is sent
through all of them for the picture; without it the picture stays as it is.
"""

import argparse
import json
from pathlib import Path

from anomaly_parts import ROOT, parts
from data_folder import BUNDLES, data_folder, datalist, recipe_of
from write_results import replace

SIZES = ("3 mm", "6 mm", "10 mm", "15 mm")
CONTRASTS = ("T1", "T2", "FLAIR")
CASE = 15  # of the shared test cases: the one in the picture
PAGE, PICTURE = ROOT / "docs" / "anomaly.md", ROOT / "docs" / "anomaly.png"
BASELINES = ("brightness", "mean_distance")
BESIDE = {"anoddpm": ("pddpm", "whole")}  # a bundle that another one measures beside itself, and by which name


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", help="the data folder, for the picture")
    options = parser.parse_args()
    results = measured()
    replace(PAGE, "table", table(results))
    replace(PAGE, "people", people(results))
    if options.data:
        PICTURE.write_bytes(picture([*results, *_beside(results)], options.data))


def measured() -> dict[str, dict]:
    """Evaluations of each bundle with the shared lists, by its name."""
    recipes = {
        path.parents[1].name: json.loads(path.read_text(encoding="utf-8")) for path in sorted(BUNDLES.glob("*/docs/recipe.json"))
    }
    names = [name for name, recipe in recipes.items() if recipe.get("lists_of") == "anomaly"]
    files = {name: ROOT / "bundles" / name / "docs" / "results.json" for name in names}
    read = {name: json.loads(path.read_text(encoding="utf-8"))["evaluations"] for name, path in files.items() if path.is_file()}
    return {name: evaluations for name, evaluations in read.items() if "family_lesions" in evaluations}


def table(results: dict[str, dict]) -> str:
    """Markdown: a row a method, AUPRC by size of a synthetic lesion and by contrast of the real ones, cost, false positives."""
    from diffzoo.zoo.tables import markdown

    head = ["method", *(f"{size} lesion" for size in SIZES), *(f"MS in {name}" for name in CONTRASTS)]
    rows = [[*head, "marked of a healthy scan", "network calls a slice"], ["---", *["---:"] * (len(head) + 1)]]
    for name, entries in results.items():
        rate = f"{100 * entries['family_healthy']['healthy']['fpr']['mean']:.1f} %"
        link = f"[{name}](../bundles/{name}/docs/README.md)"
        rows.append([link, *_cells(entries, "anomaly_map"), rate, f"{entries['family_lesions']['network_calls']:g}"])
    for name, (host, method) in _beside(results).items():
        rows.append([f"[{name}](../bundles/{name}/docs/README.md), measured by {host}", *_cells(results[host], method), "", "12"])
    first = next(iter(results), None)
    for method in BASELINES if first else ():
        title = recipe_of(first)["methods"][method]
        rows.append([title, *_cells(results[first], method), "", "0"])
    return markdown(rows)


def _beside(results: dict[str, dict]) -> dict[str, tuple[str, str]]:
    """Bundles without the shared lists of their own, with who measures them."""
    return {name: by for name, by in BESIDE.items() if name not in results and by[0] in results}


def _cells(entries: dict, method: str) -> list[str]:
    lesions, people = (entries[key]["groups"] for key in ("family_lesions", "family_sclerosis"))
    values = [lesions[size]["methods"][method]["auprc"]["mean"] for size in SIZES]
    values += [people[name]["methods"][method]["auprc"]["mean"] for name in CONTRASTS]
    return [f"{value:.2f}" for value in values]


def people(results: dict[str, dict]) -> str:
    """Markdown: a row a person of the test, the mean AUPRC of each bundle over 10 and 15 mm."""
    from diffzoo.zoo.tables import markdown

    persons = sorted({person for entries in results.values() for person in entries["family_lesions"]["subjects"]["10 mm"]})
    methods = {name: (name, "anomaly_map") for name in results} | _beside(results)
    rows = [["person", *methods], ["---", *["---:"] * len(methods)]]
    for person in persons:
        cells = []
        for host, method in methods.values():
            values = [results[host]["family_lesions"]["subjects"][size][person][method] for size in ("10 mm", "15 mm")]
            cells.append(f"{sum(values) / len(values):.2f}")
        rows.append([person, *cells])
    return markdown(rows)


def picture(names: list[str], data: str) -> bytes:
    """A PNG: the middle slice of one test case, and for each bundle its healthy version and its map."""
    from diffzoo.imaging.heads import LoadHead
    from diffzoo.tasks.anomaly.lesion_cases import InsertLesion, with_lesions

    entries = datalist(data_folder(data), recipe_of(names[0]))["test"]
    listed = [{**entry, "case": Path(entry["image"]).name.split(".")[0]} for entry in entries]
    case = with_lesions(listed, "3,6,10,15", turns=1)[CASE]
    item = InsertLesion()(LoadHead()(case))
    middle = item["image"].shape[-1] // 2
    panels = {"scan": item["image"][0, ..., middle], "lesion": item["mask"][0, ..., middle].float()}
    for name in names:
        healthy, score = _found(name, item)
        panels |= {f"{name}: healthy version": healthy[..., middle], f"{name}: map": score[..., middle]}
    return _drawn({label: panel.numpy() for label, panel in panels.items()}, case["case"])


def _found(name: str, item: dict):
    """Healthy version and map [H, W, D] of a loaded case by one bundle."""
    import torch

    config = parts(name)
    inferer = config.get_parsed_content("inferer")
    given = {key: torch.as_tensor(item[key])[None] for key in inferer.conditions}
    pred = inferer(item["image"].as_tensor()[None], config.get_parsed_content("network"), **given)
    return pred[0]


def _drawn(panels: dict, title: str) -> bytes:
    """Panels in two rows, as a PNG; maps from 0 to their own 99.5th percentile."""
    import io

    import numpy as np
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    columns = len(panels) // 2
    figure = Figure(figsize=(2.1 * columns, 5.2), dpi=100, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(2, columns)
    for k, (label, panel) in enumerate(panels.items()):
        place = axes[k % 2, k // 2]
        top = max(float(np.percentile(panel, 99.5)), 1e-6) if "map" in label else 1.2
        place.imshow(np.rot90(panel), cmap="magma" if "map" in label else "gray", vmin=0, vmax=top)
        place.set_title(label, fontsize=8)
        place.axis("off")
    figure.suptitle(title, fontsize=8)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png")
    return buffer.getvalue()


if __name__ == "__main__":
    main()
