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
PLAIN = {"window": 1, "smoothing": 0.8}  # the score without what was tuned
PAGE, PICTURE = ROOT / "docs" / "anomaly.md", ROOT / "docs" / "anomaly.png"
BASELINES = ("brightness", "mean_distance")
TWINS = {"gaussian": "anoddpm", "autoencoder": "banoddpm"}  # networks to compare with, by the bundle that measures them


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", help="the data folder, for the picture")
    options = parser.parse_args()
    results = measured()
    replace(PAGE, "table", table(results))
    replace(PAGE, "people", people(results))
    replace(PAGE, "tuning", tuning(list(results)))
    if options.data:
        PICTURE.write_bytes(picture(list(results), options.data))


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
    for method, host in TWINS.items():
        if host in results:
            rows.append([f"{recipe_of(host)['methods'][method]} (of {host})", *_cells(results[host], method), "", ""])
    first = next(iter(results), None)
    for method in BASELINES if first else ():
        title = recipe_of(first)["methods"][method]
        rows.append([title, *_cells(results[first], method), "", "0"])
    return markdown(rows)


def tuning(names: list[str]) -> str:
    """Markdown: a row a bundle, what `tools/tune_anomaly.py` chose and from what, and its mean AUPRC on validation."""
    from diffzoo.zoo.tables import markdown

    head = ["method", "level", "median, voxels", "smoothing, voxels", "threshold", "AUPRC on validation"]
    head += ["without median, smoothing 0.8", "best of any smoothing"]
    rows = [head, ["---", "---", *["---:"] * 6]]
    for name in names:
        path = ROOT / "bundles" / name / "docs" / "tuning.json"
        if not path.is_file():
            continue
        content = json.loads(path.read_text(encoding="utf-8"))
        setting, grid = content["setting"], recipe_of(name)["levels"]
        level = ", ".join(f"{key} {setting[key]:g} of {', '.join(f'{v:g}' for v in values)}" for key, values in grid.items())
        levels = {key: setting[key] for key in grid}
        own, plain = (_auprc(content["rows"], values) for values in (setting, {**levels, **PLAIN}))
        best = max(content["rows"], key=lambda row: row["auprc"])
        cells = [f"{setting[key]:g}" for key in ("window", "smoothing", "threshold")]
        rows.append([name, level, *cells, f"{own:.2f}", f"{plain:.2f}", f"{best['auprc']:.2f} ({best['smoothing']:g})"])
    return markdown(rows)


def _auprc(rows: list[dict], values: dict) -> float:
    """AUPRC of the row of these settings."""
    return next(row["auprc"] for row in rows if all(values[key] == row[key] for key in row if key != "auprc"))


def _cells(entries: dict, method: str) -> list[str]:
    lesions, people = (entries[key]["groups"] for key in ("family_lesions", "family_sclerosis"))
    values = [lesions[size]["methods"][method]["auprc"]["mean"] for size in SIZES]
    values += [people[name]["methods"][method]["auprc"]["mean"] for name in CONTRASTS]
    return [f"{value:.2f}" for value in values]


def people(results: dict[str, dict]) -> str:
    """Markdown: a row a person of the test, the mean AUPRC of each bundle over 10 and 15 mm."""
    from diffzoo.zoo.tables import markdown

    persons = sorted({person for entries in results.values() for person in entries["family_lesions"]["subjects"]["10 mm"]})
    rows = [["person", *results], ["---", *["---:"] * len(results)]]
    for person in persons:
        cells = []
        for entries in results.values():
            values = [entries["family_lesions"]["subjects"][size][person]["anomaly_map"] for size in ("10 mm", "15 mm")]
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
        healthy, score = _value(name, item)
        panels |= {f"{name}: healthy version": healthy[..., middle], f"{name}: map": score[..., middle]}
    return _drawn({label: panel.numpy() for label, panel in panels.items()}, case["case"])


def _value(name: str, item: dict):
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
