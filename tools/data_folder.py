"""The data folder: its manifest, checks, and the file lists that a recipe takes from it."""

import csv
import fnmatch
import hashlib
import json
import os
from pathlib import Path

from diffzoo.training.datalist import PARTS, entries, named, placed

BUNDLES, LISTS = Path(__file__).resolve().parents[1] / "bundles", Path(__file__).parent / "lists"


def data_folder(option: str | None) -> Path:
    """The folder named by an option, else by DIFFZOO_DATA; exits with a line that says so when there is none."""
    name = option or os.environ.get("DIFFZOO_DATA")
    if not name:
        raise SystemExit("no data folder: give --data FOLDER or set DIFFZOO_DATA (tools/fetch_data.py lists the sources)")
    folder = Path(name).resolve()
    if not (folder / "manifest.csv").is_file():
        raise SystemExit(f"{folder} has no manifest.csv; see tools/fetch_data.py")
    return folder


def manifest(folder: Path) -> list[dict[str, str]]:
    """Rows of manifest.csv: file, sha256, modality, subject, split."""
    with open(folder / "manifest.csv", newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def sha256(path: Path) -> str:
    """Hexadecimal sha256 of a file."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def select(folder: Path, recipe: dict) -> dict[str, list[dict[str, str]]]:
    """Manifest rows of a recipe by split: {"train": [...], "val": [...], "test": [...]}; other rows are left out."""
    chosen: dict[str, list] = {"train": [], "val": [], "test": []}
    for row in manifest(folder):
        taken = any(fnmatch.fnmatch(row["file"], p) for p in recipe["include"])
        if taken and not any(fnmatch.fnmatch(row["file"], p) for p in recipe["exclude"]):
            chosen[row["split"]].append(row)
    return chosen


def datalist(folder: Path, recipe: dict) -> dict:
    """A MONAI datalist (training, validation, test, and more parts) with absolute paths, each file checked.

    A recipe says which files of the manifest's split it takes, or names the entries of each part under "lists" itself.
    """
    if "lists" in recipe:
        return _named(folder, recipe["lists"])
    rows = select(folder, recipe)
    _check(folder, {row["file"]: row["sha256"] for part in rows.values() for row in part})

    subjects = {row["file"]: row["subject"] for row in manifest(folder)}

    def entry(name: str) -> dict[str, str]:
        return {"image": str(folder / name)} | ({"subject": subjects[name]} if name in subjects else {})

    names = {"training": "train", "validation": "val", "test": "test"}
    lists = {part: [entry(row["file"]) for row in rows[split]] for part, split in names.items()}
    return lists | {name: [entry(f) for f in files] for name, files in recipe.get("extra_test", {}).items()}


def simulated_folder(name: str) -> Path:
    """The folder of simulated volumes that a recipe asks for under "simulate" (kind and cases); made in runs where it is not."""
    from diffzoo.zoo.new.simulate import simulate

    plan, folder = recipe_of(name)["simulate"], BUNDLES.parent / "runs" / "simulated" / name
    if not (folder / "datalist.json").is_file():
        simulate(plan["kind"], folder, plan["cases"])
    return folder


def lists_of(name: str, data: str | None) -> dict:
    """The lists of a bundle's recipe: from the data folder, or from simulated volumes."""
    recipe = recipe_of(name)
    if "simulate" in recipe:
        folder = Path(data) if data else simulated_folder(name)
        return {part: entries(str(folder), part) for part in PARTS}
    return datalist(data_folder(data), recipe)


def _check(folder: Path, expected: dict[str, str]) -> None:
    for file, known in expected.items():
        if sha256(folder / file) != known:
            raise SystemExit(f"{file} differs from the manifest: its sha256 does not match")


def _named(folder: Path, lists: dict[str, list[dict]]) -> dict:
    known = {row["file"]: row["sha256"] for row in manifest(folder)}
    _check(folder, {file: known[file] for entries in lists.values() for entry in entries for file in named(entry)})
    return {part: [placed(folder, entry) for entry in entries] for part, entries in lists.items()}


def recipe_of(bundle: str) -> dict:
    """docs/recipe.json of a bundle: which lists it takes, and what is measured; exits with a line where there is none.

    "lists_of": NAME lays the recipe over tools/lists/NAME.json, whose lists and evaluations bundles of one kind share.
    """
    path = BUNDLES / bundle / "docs" / "recipe.json"
    if not path.is_file():
        known = ", ".join(sorted(p.parents[1].name for p in BUNDLES.glob("*/docs/recipe.json")))
        raise SystemExit(f"no recipe for {bundle!r}; known: {known}")
    recipe = json.loads(path.read_text(encoding="utf-8"))
    if "lists_of" not in recipe:
        return recipe
    shared = json.loads((LISTS / f"{recipe['lists_of']}.json").read_text(encoding="utf-8"))
    merged = {key: shared[key] | recipe.get(key, {}) for key in ("lists", "evaluations")}
    return recipe | merged


def of_data_folder(recipe: dict) -> bool:
    """Whether a recipe names files of the data folder's manifest; else its lists are those of a datalist.json at hand."""
    return any(key in recipe for key in ("lists", "include"))
