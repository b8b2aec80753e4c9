"""Fine-tunes anoddpm on a clinic that it never saw, and tells of its false alarms in other people from there.

python tools/finetune_site.py --data FOLDER [--minutes 10] [--work runs/finetune_site] [--learning-rate 0.0002]

The clinic's scans have slices of 3 mm: three people to learn from, one to choose by, two of the test split to test on. They have
multiple sclerosis and no masks: whatever is marked in them counts as a false alarm, their own lesions too. The parent is held to
the T1, T2 and FLAIR that it was trained on, and lesions of another patient of the test split, whose masks are known, tell what is
lost. An interrupted run goes on when the program is started again. Results are in WORK/results.json: the share of voxels of each
test scan that is marked at the bundle's threshold, and AUPRC of the lesions with masks.
"""

import argparse
import json
from pathlib import Path

from data_folder import data_folder

PARENT, ROOM, OLD = "anoddpm", "brain_mr/ms_native", "brain_mr/ms_mni"
SITE = {
    "training": [(person, contrast) for person in ("ms_l01", "ms_l03", "ms_l12") for contrast in ("t1", "flair")],
    "validation": [("ms_l19", "t1"), ("ms_l19", "flair")],
    "test": [("ms_l20", "t1"), ("ms_l20", "flair"), ("ms_l09", "flair")],
}
REPLAYED = [("ms_cs07", contrast) for contrast in ("t1", "t2", "flair")]
MASKED = [("ms_cs19", contrast) for contrast in ("t1", "t2", "flair")]
OPTIONS = {"batch_size": 8, "replay_weight": 0.25}
ALARMS, FOUND = "false alarms at the site", "AUPRC of lesions with masks"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", help="the data folder (default: DIFFZOO_DATA)")
    parser.add_argument("--minutes", type=float, default=10, help="of training")
    parser.add_argument("--work", default="runs/finetune_site")
    parser.add_argument("--learning-rate", type=float, default=0.0002)
    options = parser.parse_args()
    data, work = data_folder(options.data), Path(options.work).resolve()
    work.mkdir(parents=True, exist_ok=True)
    lists = listed(data)
    given = OPTIONS | {"minutes": options.minutes, "learning_rate": options.learning_rate}
    stages = {"before": judged(PARENT, lists["judged"], work / "before")}
    stages["after"] = judged(str(fine_tuned(lists, work, given)), lists["judged"], work / "after")
    (work / "results.json").write_text(json.dumps(stages | {"aims": aims(stages)}, indent=1) + "\n", encoding="utf-8")
    for what, before in stages["before"].items():
        print(f"{what:40} {before:.4f} -> {stages['after'][what]:.4f}")
    for name, met in aims(stages).items():
        print("met   " if met else "MISSED", name)


def listed(data: Path) -> dict[str, list[dict]]:
    """Entries of each use: those of the site, "replay" of old data, and "judged", the test of both."""

    def entry(room: str, person: str, contrast: str, **more) -> dict:
        return {"image": str(data / room / f"{person}_{contrast}.nii.gz"), "modality": contrast, "subject": person} | more

    def masked(person: str, contrast: str) -> dict:
        return entry(OLD, person, contrast, mask=str(data / OLD / f"{person}_lesion.nii.gz"))

    lists = {part: [entry(ROOM, *names) for names in rows] for part, rows in SITE.items()}
    lists["replay"] = [masked(*names) for names in REPLAYED]
    lists["judged"] = [names | {"normal": True} for names in lists["test"]] + [masked(*names) for names in MASKED]
    return lists


def fine_tuned(lists: dict, work: Path, options: dict) -> Path:
    """The new bundle, made or gone on with."""
    from diffzoo.imaging.io.files import write_json
    from diffzoo.zoo.finetune.command import finetune
    from diffzoo.zoo.finetune.request import PLAN

    place = work / "anoddpm_site"
    old = write_json(work / "old.json", {"training": lists["replay"]})
    if not place.exists():
        resume = (work / f"{place.name}_work" / PLAN).is_file()
        listing = write_json(work / "datalist.json", {part: lists[part] for part in SITE})
        finetune(PARENT, listing, place, options | {"replay": str(old)}, resume=resume, device="cpu", say=print)
    return place


def judged(bundle: str, tests: list[dict], folder: Path) -> dict[str, float]:
    """The share of each test scan of the site that is marked, and their mean; mean AUPRC of the lesions that are known."""
    from diffzoo.imaging.io.files import write_json
    from diffzoo.zoo.work import evaluate_cases

    folder.mkdir(exist_ok=True)
    if not (folder / "metrics.json").is_file():
        listing = write_json(folder.with_suffix(".json"), {"test": tests})
        evaluate_cases(bundle, listing, "test", folder, [], device="cpu", overwrite=True, say=print)
    return figures(json.loads((folder / "metrics.json").read_text(encoding="utf-8"))["cases"])


def figures(cases: list[dict]) -> dict[str, float]:
    """What is told of evaluated cases."""
    healthy = {case["case"]: case["fpr"] for case in cases if "metrics" not in case}
    lesions = [case["metrics"]["anomaly_map"]["auprc"] for case in cases if "metrics" in case]
    means = {ALARMS: sum(healthy.values()) / len(healthy), FOUND: sum(lesions) / len(lesions)}
    return means | {f"{ALARMS}, {name}": value for name, value in healthy.items()}


def aims(stages: dict) -> dict[str, bool]:
    """Which aims are met."""
    return {f"fewer {ALARMS}": stages["after"][ALARMS] < stages["before"][ALARMS]}


if __name__ == "__main__":
    main()
