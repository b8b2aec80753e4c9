"""Fine-tunes score_mri on the spine of one person and tells what is gained there, and what is lost on brains.

python tools/finetune_demo.py --data FOLDER [--minutes 10] [--scans t2w] [--work runs/finetune_demo] [--only full lora plain head]

Each volume of the spine is cut across its slices into blocks to train on, one to choose by and one to test on, with gaps between
them: 3 slices of the T2w one or more. The other two scans can be named too: one is a crop 42 pixels wide, of which 4x leaves ten
lines. "full" trains all weights, "lora" adapters and "head" the last layers, held to the parent on the brains that it was trained
on; "plain" trains all weights and holds nothing. A run that was interrupted goes on when the program is started again.
Results are in WORK/results.json: PSNR at 4x on the spine and on brains of the test split, before and after, and the aims met.
"""

import argparse
import json
import math
import shutil
from pathlib import Path

from data_folder import data_folder

PARENT, SCANS = "score_mri", ("t2w", "t1w", "t2s")
BLOCKS = (  # of the slices; what is between is left out
    ("training", 0.0, 0.25),
    ("validation", 0.29, 0.37),
    ("test", 0.42, 0.63),
    ("training", 0.69, 1.0),
)
BRAINS, BRAIN_SLICES = ("ms_l20_t1", "ms_l20_flair", "ms_cs19_t1", "ms_cs19_t2"), "slices=central:4"
HELD = {"replay": True, "replay_weight": 0.25}
RUNS = {
    "full": {"learning_rate": 0.001} | HELD,
    "lora": {"learning_rate": 0.006, "batch_size": 8, "method": "lora"} | HELD,
    "plain": {"learning_rate": 0.001},
    "head": {"learning_rate": 0.003, "method": "head"} | HELD,
}
SETTINGS = ["crop=48"]  # of train.yaml: the spine's slices are small
AIMS = {"gain": 1.0, "loss": 0.3, "lora_behind": 0.3, "lora_share": 0.1}  # dB, dB, dB, of the parameters


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", help="the data folder (default: DIFFZOO_DATA)")
    parser.add_argument("--minutes", type=float, default=10, help="of training, each run")
    parser.add_argument("--work", default="runs/finetune_demo")
    parser.add_argument("--only", nargs="*", choices=RUNS, default=["full", "lora", "plain"])
    parser.add_argument("--scans", nargs="*", choices=SCANS, default=["t2w"])
    options = parser.parse_args()
    data, work = data_folder(options.data), Path(options.work).resolve()
    work.mkdir(parents=True, exist_ok=True)
    spine = cut(data, options.scans, work / "spine")
    old, brains = listed(data, "train", work / "old"), listed(data, "test", work / "brains")
    figures = {"parent": {"brain": brain_psnr(PARENT, brains, work / "brain_parent")}}
    for name in options.only:
        figures[name] = tuned(name, options.minutes, spine, old, brains, work)
        (work / "results.json").write_text(json.dumps(figures | {"aims": aims(figures)}, indent=1) + "\n", encoding="utf-8")
    for name, values in figures.items():
        print(f"{name:8}", "  ".join(f"{key} {value:.3f}" for key, value in values.items()))
    for name, met in aims(figures).items():
        print("met   " if met else "MISSED", name)


def cut(data: Path, scans: list[str], folder: Path) -> Path:
    """The blocks of volumes of the spine as NIfTI files, and their datalist."""
    from diffzoo.imaging.geometry import crop_slices, to_slices
    from diffzoo.imaging.io.files import read_volume, write_json, write_volume

    folder.mkdir(exist_ok=True)
    lists: dict[str, list] = {part: [] for part, *_ in BLOCKS}
    for name in scans:
        volume = to_slices(read_volume(data / "spine_mr" / f"sct_errsm30_{name}.nii.gz"))
        count = volume.shape[-1]
        for number, (part, low, high) in enumerate(BLOCKS):
            first = math.ceil(low * count)
            stop = max(first + 1, int(high * count))
            file = f"spine_{name}_{part}_{number}.nii.gz"
            write_volume(folder / file, crop_slices(volume, first, stop))
            lists[part].append({"image": file, "subject": "errsm30"})
    return write_json(folder / "datalist.json", lists)


def listed(data: Path, part: str, folder: Path) -> Path:
    """The files of a part of the parent's split, of which a test is made of a few."""
    from diffzoo.imaging.io.files import write_json
    from diffzoo.zoo.bundle import find

    files = find(PARENT).metadata["training_data"]["split"][part]["files"]
    chosen = [file for file in files if part == "train" or Path(file).name.removesuffix(".nii.gz") in BRAINS]
    entries = [{"image": str(data / file)} for file in chosen]
    return write_json(folder / "datalist.json", {"training" if part == "train" else part: entries})


def brain_psnr(bundle: str, brains: Path, folder: Path) -> float:
    """The bundle's PSNR on the brains at 4x, dB; kept once it was measured."""
    from diffzoo.zoo.work import evaluate_cases

    if not (folder / "metrics.json").is_file():
        evaluate_cases(bundle, brains, "test", folder, [BRAIN_SLICES], device="cpu", overwrite=True, say=print)
    return json.loads((folder / "metrics.json").read_text(encoding="utf-8"))["mean"]["recon"]["psnr"]


def tuned(name: str, minutes: float, spine: Path, old: Path, brains: Path, work: Path) -> dict:
    """Fine-tunes, or goes on with it, and measures: PSNR on the spine before and after, on brains after, share that trained."""
    from diffzoo.zoo.finetune.command import finetune
    from diffzoo.zoo.finetune.request import PLAN

    place, options = work / f"spine_{name}", RUNS[name] | {"minutes": minutes}
    options["replay"] = str(old) if options.get("replay") else None
    if not place.exists():
        resume = (work / f"{place.name}_work" / PLAN).is_file()
        finetune(PARENT, spine, place, options, SETTINGS, resume=resume, device="cpu", say=print)
    shutil.copyfile(place / "docs" / "loss.png", work / f"{name}.png")
    mean = json.loads((place / "docs" / "results.json").read_text(encoding="utf-8"))["evaluations"]["test"]["mean"]
    done = json.loads((place / "docs" / "finetune.json").read_text(encoding="utf-8"))
    brain = brain_psnr(str(place), brains, work / f"brain_{name}")
    figures = {"spine_before": mean["parent"]["psnr"], "spine": mean["recon"]["psnr"], "brain": brain}
    return figures | {"trains": done["trained"] / done["parameters"], "steps": done["outcome"]["last"]["step"]}


def aims(figures: dict) -> dict[str, bool]:
    """Whether what was aimed at is reached, of what was run."""
    met = {}
    if "full" in figures:
        met["gain on the spine"] = figures["full"]["spine"] - figures["full"]["spine_before"] >= AIMS["gain"]
        met["loss on brains"] = figures["parent"]["brain"] - figures["full"]["brain"] <= AIMS["loss"]
    if {"full", "lora"} <= figures.keys():
        met["LoRA beside full"] = figures["full"]["spine"] - figures["lora"]["spine"] <= AIMS["lora_behind"]
        met["LoRA's parameters"] = figures["lora"]["trains"] < AIMS["lora_share"]
    return met


if __name__ == "__main__":
    main()
