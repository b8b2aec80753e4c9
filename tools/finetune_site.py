"""Fine-tunes anoddpm on a scanner that it never saw, and tells of its false alarms on other slices of a healthy head from there.

python tools/finetune_site.py --data FOLDER [--minutes 10] [--work runs/finetune_site] [--learning-rate 0.0001]

One healthy head of another site is cut across its axial slices into blocks to learn from, to choose by and to test on, with gaps
of 5 mm or more between them; label files mark what each use leaves out. The parent is held to the T1, T2 and FLAIR that it was
trained on, and lesions of a patient of the test split tell what is lost. An interrupted run goes on when the program is started
again. Results are in WORK/results.json: the share of voxels of the test block that are marked at the bundle's threshold, and
AUPRC of the patient's lesions.
"""

import argparse
import json
from pathlib import Path

from data_folder import data_folder

PARENT, SITE, ROOM = "anoddpm", "brain_mr/single/studyforrest02_t1.nii.gz", "brain_mr/ms_mni"
BLOCKS = {  # of the brain's height, about 140 mm
    "training": ((0.0, 0.14), (0.3, 0.41), (0.57, 0.66), (0.82, 1.0)),
    "validation": ((0.71, 0.77),),
    "test": ((0.19, 0.25), (0.46, 0.52)),
}
OLD, LOST = "ms_cs07", "ms_cs19"
CONTRASTS = ("t1", "t2", "flair")
OPTIONS = {"batch_size": 8, "replay_weight": 0.25}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", help="the data folder (default: DIFFZOO_DATA)")
    parser.add_argument("--minutes", type=float, default=10, help="of training")
    parser.add_argument("--work", default="runs/finetune_site")
    parser.add_argument("--learning-rate", type=float, default=0.0001)
    options = parser.parse_args()
    data, work = data_folder(options.data), Path(options.work).resolve()
    work.mkdir(parents=True, exist_ok=True)
    lists = blocks(data / SITE, work)
    tests = {"test": [lists["test"][0] | {"case": "site"}, scan(data / ROOM, LOST, "t1")]}
    found = {"before": judged(PARENT, tests, work / "before")}
    given = OPTIONS | {"minutes": options.minutes, "learning_rate": options.learning_rate}
    found["after"] = judged(str(fine_tuned(data, lists, work, given)), tests, work / "after")
    (work / "results.json").write_text(json.dumps(found, indent=1) + "\n")
    for what, before in found["before"].items():
        print(f"{what:40} {before:.4f} -> {found['after'][what]:.4f}")
    fewer = found["after"]["false alarms at the site"] < found["before"]["false alarms at the site"]
    print("met   " if fewer else "MISSED", "fewer false alarms at the site")


def blocks(scan: Path, work: Path) -> dict[str, list[dict]]:
    """An entry for each use of a head, whose "mask" leaves out all slices but its blocks, by height in the brain."""
    import numpy as np
    import torch

    from diffzoo.imaging.files import read_volume, write_volume
    from diffzoo.imaging.heads import LoadHead

    brain = LoadHead()({"image": str(scan), "case": "site"})["brain"]
    rows, grid = np.flatnonzero(brain[0].numpy().any((0, 1))), brain.affine.numpy()
    low, high = (grid[2, 2] * rows[k] + grid[2, 3] for k in (0, -1))
    volume = read_volume(scan)
    places = np.indices(volume.shape[1:], dtype=np.float32)
    height = np.tensordot(volume.affine.numpy()[2, :3], places, 1) + float(volume.affine[2, 3])
    share, lists = (height - low) / (high - low), {}
    for part, spans in BLOCKS.items():
        used = np.logical_or.reduce([(share >= a) & (share <= b) for a, b in spans])
        volume[0] = torch.from_numpy(~used)
        mask = write_volume(work / f"not_for_{part}.nii.gz", volume)
        lists[part] = [{"image": str(scan), "mask": str(mask), "modality": "t1", "subject": "site"}]
    return lists


def fine_tuned(data: Path, lists: dict, work: Path, options: dict) -> Path:
    """The new bundle, made or gone on with."""
    from diffzoo.imaging.files import write_json
    from diffzoo.zoo.finetune.command import PLAN, finetune

    place = work / "anoddpm_site"
    old = write_json(work / "old.json", {"training": [scan(data / ROOM, OLD, contrast) for contrast in CONTRASTS]})
    if not place.exists():
        resume = (work / f"{place.name}_work" / PLAN).is_file()
        listing = write_json(work / "datalist.json", lists)
        finetune(PARENT, listing, place, options | {"replay": str(old)}, resume=resume, device="cpu", say=print)
    return place


def scan(room: Path, subject: str, contrast: str) -> dict:
    """An entry of a list."""
    image, lesion = (str(room / f"{subject}_{what}.nii.gz") for what in (contrast, "lesion"))
    return {"image": image, "mask": lesion, "modality": contrast, "subject": subject}


def judged(bundle: str, tests: dict, folder: Path) -> dict[str, float]:
    """Share of the test block that is marked, and AUPRC of the patient's lesions."""
    from diffzoo.imaging.files import write_json
    from diffzoo.zoo.work import evaluate_cases

    folder.mkdir(exist_ok=True)
    if not (folder / "metrics.json").is_file():
        listing = write_json(folder.with_suffix(".json"), tests)
        evaluate_cases(bundle, listing, "test", folder, [], device="cpu", overwrite=True, say=print)
    site, patient = json.loads((folder / "metrics.json").read_text())["cases"]
    return {"false alarms at the site": site["fpr"], "AUPRC of lesions in T1": patient["metrics"]["anomaly_map"]["auprc"]}


if __name__ == "__main__":
    main()
