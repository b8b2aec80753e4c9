"""Draws docs/preview.png of bundles anew, each as its recipe tells under "preview"; then the gallery of the README.

python tools/make_previews.py [NAME ...] [--data FOLDER] [--work runs/previews]

"evaluate" holds entries of a list whose truth is known, "run" files, both relative to the data folder; without either the bundle
draws from nothing. "settings" are parameters.
"""

import argparse
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

import make_gallery
from data_folder import BUNDLES, data_folder, datalist, recipe_of, simulated_folder
from diffzoo.errors import InputError
from diffzoo.imaging.io.files import write_json
from diffzoo.training.datalist import placed
from diffzoo.zoo.work import evaluate_cases, run_cases


def draw(name: str, data: str | None, work: Path) -> Path:
    """Draws the preview of a bundle in a folder and returns it; InputError, or SystemExit, for what the data folder lacks."""
    plan, out, root = recipe_of(name).get("preview"), work / name, str(BUNDLES / name)
    if plan is None:
        raise InputError(f"docs/recipe.json of {name} tells no preview: add one, as another bundle has it")
    settings, shared = plan.get("settings", []), {"overwrite": True, "say": print}
    if "evaluate" in plan:
        write_json(work / f"{name}.json", _listed(name, plan["evaluate"], data))
        evaluate_cases(root, work / f"{name}.json", "test", out, settings, **shared)
    else:
        files = [data_folder(data) / file for file in plan.get("run", [])]
        run_cases(root, files, out, settings, **shared)
    return out / "preview.png"


def _listed(name: str, entries: Sequence[dict], data: str | None) -> dict:
    """A datalist of these entries, from the data folder or from the volumes that the recipe simulates."""
    if "simulate" in recipe_of(name):
        return {"test": [placed(simulated_folder(name), entry) for entry in entries]}
    return datalist(data_folder(data), {"lists": {"test": entries}})


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME", help="bundles; all by default")
    parser.add_argument("--data", help="the data folder; else DIFFZOO_DATA")
    parser.add_argument("--work", type=Path, default=Path("runs/previews"))
    options = parser.parse_args(arguments)
    known = [path.parents[1].name for path in sorted(BUNDLES.glob("*/docs/recipe.json"))]
    names = options.names or [name for name in known if "preview" in recipe_of(name)]
    try:
        for name in names:
            shutil.copyfile(draw(name, options.data, options.work), BUNDLES / name / "docs" / "preview.png")
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    make_gallery.main([])
    return 0


if __name__ == "__main__":
    sys.exit(main())
