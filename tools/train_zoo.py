"""Makes the weight file of a bundle again from its train.yaml, and the measurements that its card quotes.

python tools/train_zoo.py score_mri --data FOLDER [--minutes 60] [--work runs/score_mri] [--only train|evaluate]

The recipe, bundles/NAME/docs/recipe.json, names files of the data folder's manifest, each checked by its sha256, or what to
simulate; one that names neither takes the lists of the datalist.json in FOLDER. The run resumes when it is started again. Weights
go to bundles/NAME/models, measurements to bundles/NAME/docs/results.json.
"""

import argparse
import json
import logging
import re
import shutil
import sys
from collections.abc import Sequence
from fnmatch import fnmatch
from pathlib import Path

from data_folder import data_folder, datalist, of_data_folder, recipe_of, simulated_folder

ROOT = Path(__file__).resolve().parents[1]


def main() -> None:
    options = _options()
    bundle, work = ROOT / "bundles" / options.name, Path(options.work or ROOT / "runs" / options.name)
    recipe, lists = plan_of(bundle, options.data, record=options.only != "evaluate")
    work.mkdir(parents=True, exist_ok=True)
    (work / "datalist.json").write_text(json.dumps(lists, indent=1), encoding="utf-8")
    print(f"{options.name}: " + ", ".join(f"{len(files)} {part}" for part, files in lists.items()), flush=True)
    if options.only != "evaluate":
        train(bundle, work, options.minutes, recipe)
    if options.only != "train":
        measure(bundle, work, recipe, options.evaluations)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("name", help="a bundle with a recipe beside its card")
    parser.add_argument("--data", help="the data folder (default: DIFFZOO_DATA), or a folder with a datalist.json")
    parser.add_argument("--work", help="folder for checkpoint, log and evaluations (default: runs/NAME)")
    parser.add_argument("--minutes", type=float, default=0, help="time limit of this part of the training")
    parser.add_argument("--only", choices=("train", "evaluate"))
    parser.add_argument("--evaluations", nargs="*", help="of the recipe, by name (default: all that are not up to date)")
    return parser.parse_args()


def plan_of(bundle: Path, data: str | None, record: bool) -> tuple[dict, dict]:
    """Recipe and lists; record: write files and hashes of the lists of a datalist.json into the bundle's metadata."""
    recipe, path = recipe_of(bundle.name), bundle / "configs" / "metadata.json"
    if of_data_folder(recipe):
        return recipe, datalist(data_folder(data), recipe)
    from diffzoo.training.datalist import PARTS, entries
    from diffzoo.zoo.new import split_of

    if "simulate" in recipe and not data:
        data = str(simulated_folder(bundle.name))
    if not data or not (Path(data) / "datalist.json").is_file():
        raise SystemExit(f"{bundle.name} names no files of the data folder: give --data FOLDER, with a datalist.json in it")
    lists = {part: entries(data, part) for part in PARTS}
    if record:
        metadata = json.loads(path.read_text(encoding="utf-8"))
        metadata["training_data"]["split"] = split_of(lists, data)
        path.write_text(json.dumps(metadata, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    return recipe, lists


def train(bundle: Path, work: Path, minutes: float, recipe: dict) -> None:
    """Runs train.yaml on the work folder, and train_X.yaml laid over it where the bundle has one; then `install`.

    "stages" of the recipe: they train parts of one network in turn, so each writes models/model.safetensors, from which the next
    one starts. "start": the weight file of another bundle, NAME/models/X.safetensors, that train.yaml begins with.
    """
    from monai.bundle import ConfigWorkflow

    logging.basicConfig(level=logging.INFO, stream=sys.stdout, format="%(message)s")
    for overlay in ("", *twins(bundle)):
        start = {"weights": str(ROOT / "bundles" / recipe["start"])} if "start" in recipe and not overlay else {}
        files = [bundle / "configs" / "train.yaml"] + [bundle / "configs" / f"train_{overlay}.yaml"] * bool(overlay)
        workflow = ConfigWorkflow(
            config_file=[str(path) for path in files],
            workflow_type="train",
            bundle_root=str(bundle),
            dataset_dir=str(listed(work, overlay)),
            output_dir=str(trained(work, overlay)),
            minutes=minutes,
            **start,
        )
        workflow.initialize()
        workflow.run()
        workflow.finalize()
        install(bundle, work, [overlay], recipe.get("stages", False))


def listed(work: Path, overlay: str) -> Path:
    """The folder with the datalist of a training: that of the recipe's lists, or, for an overlay X_..., of its lists X_training
    and X_validation where it has them."""
    lists, own = json.loads((work / "datalist.json").read_text(encoding="utf-8")), overlay.partition("_")[0]
    if not own or f"{own}_training" not in lists:
        return work
    (work / own).mkdir(exist_ok=True)
    parts = {part: lists[f"{own}_{part}"] for part in ("training", "validation")}
    (work / own / "datalist.json").write_text(json.dumps(parts, indent=1), encoding="utf-8")
    return work / own


def twins(bundle: Path) -> list[str]:
    """Names X of the overlays train_X.yaml: each makes models/X.safetensors: other weights, or a network to compare with.

    X_Y comes after X and Y, from whose weights it may start.
    """
    names = (path.stem.removeprefix("train_") for path in (bundle / "configs").glob("train_*.yaml"))
    return sorted(names, key=lambda name: (name.count("_"), name))


def trained(work: Path, overlay: str) -> Path:
    """Where a training leaves its files."""
    return work / (f"train_{overlay}" if overlay else "train")


def install(bundle: Path, work: Path, overlays: Sequence[str], stages: bool = False) -> None:
    """Copies trained weights and logs into the bundle and writes the hashes of all into its metadata."""
    (bundle / "models").mkdir(exist_ok=True)
    for overlay in overlays:
        folder, ending = trained(work, overlay), f"_{overlay}" if overlay else ""
        name = "model" if stages or not overlay else overlay
        shutil.copyfile(folder / "model.safetensors", bundle / "models" / f"{name}.safetensors")
        shutil.copyfile(folder / "train_log.jsonl", bundle / "docs" / f"train_log{ending}.jsonl")
    write_hashes(bundle)


def write_hashes(bundle: Path) -> None:
    """Writes the hash of each file of models/ into the metadata."""
    from diffzoo.facts import sha256

    path = bundle / "configs" / "metadata.json"
    metadata = json.loads(path.read_text(encoding="utf-8"))
    metadata["weights_sha256"] = sha256(bundle / "models" / "model.safetensors")
    others = sorted(p for p in (bundle / "models").glob("*.safetensors") if p.stem != "model")
    if others:
        metadata["files_sha256"] = {f"models/{p.name}": sha256(p) for p in others}
    path.write_text(json.dumps(metadata, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def measure(bundle: Path, work: Path, recipe: dict, chosen: list[str] | None = None) -> None:
    """Runs the recipe's evaluations and writes what the card quotes, with the command of each, to docs/results.json."""
    from diffzoo.facts import sha256
    from diffzoo.zoo.bundle import Bundle
    from diffzoo.zoo.tables import entry_of, results_text

    lists = json.loads((work / "datalist.json").read_text(encoding="utf-8"))
    for name in chosen or recipe["evaluations"]:
        plan, results = recipe["evaluations"][name], _results(bundle)
        weights = sha256(weights_of(bundle, plan.get("config")))
        if "by" in plan:
            print(f"{name}: python {plan['by']} {bundle.name} --data FOLDER measures it")
            continue
        if not chosen and _current(results.get(name), plan, weights):
            continue
        (work / f"{name}.json").write_text(json.dumps({"test": _chosen(lists[plan["part"]], plan)}), encoding="utf-8")
        print(f"== {name}", flush=True)
        metrics = _evaluated(bundle, work, name, plan)
        measured = entry_of(plan, metrics, weights, Bundle(bundle).task)
        results = _results(bundle) | {name: measured}  # read again: another process may have written
        ordered = {key: results[key] for key in recipe["evaluations"] if key in results}
        (bundle / "docs" / "results.json").write_text(results_text(ordered), encoding="utf-8")


def _evaluated(bundle: Path, work: Path, name: str, plan: dict) -> dict:
    """The metrics of a plan; of a plan with "seeds" the means over so many seeds of masks and noise."""
    from diffzoo.zoo.bundle import Bundle
    from diffzoo.zoo.work import evaluate_cases

    def run(folder: str, *more: str) -> dict:
        settings = [*plan["settings"], *more]
        return evaluate_cases(
            str(bundle), work / f"{name}.json", "test", work / folder, settings, plan.get("config"), "cpu", True, say=print
        )

    count = plan.get("seeds", 1)
    return run(name) if count == 1 else Bundle(bundle).task.merged([run(f"{name}_{k}", f"seed={k}") for k in range(count)])


def _chosen(entries: list[dict], plan: dict) -> list[dict]:
    """The entries whose file names fit one of the plan's patterns; all where it has none."""
    return [e for e in entries if any(fnmatch(Path(e["image"]).name, pattern) for pattern in plan.get("only", ["*"]))]


def _results(bundle: Path) -> dict:
    path = bundle / "docs" / "results.json"
    return json.loads(path.read_text(encoding="utf-8"))["evaluations"] if path.is_file() else {}


def weights_of(bundle: Path, config: str | None = None) -> Path:
    """The weight file of an evaluation: that of an overlay which names its own, else models/model.safetensors."""
    import yaml

    content = yaml.safe_load((bundle / "configs" / f"{config}.yaml").read_text(encoding="utf-8")) if config else {}
    return bundle / "models" / (re.search(r"[\w.]+\.safetensors", content.get("weights", "")) or ["model.safetensors"])[0]


def _current(result: dict | None, plan: dict, weights: str) -> bool:
    return bool(result) and result["weights_sha256"] == weights and result["settings"] == plan["settings"]


if __name__ == "__main__":
    main()
