"""Fine-tunes score_mri on the spine of one person and tells what is gained there, and what is lost on brains.

python tools/finetune_demo.py --data FOLDER [--minutes 10] [--work runs/finetune_demo] [--only full lora plain head]

Each volume of the spine is cut across its slices into a block to train on, one to choose by and one to test on, with a gap
between them. "full" trains all weights, "lora" adapters and "head" the last layers, held to the parent on the brains that it was
trained on; "plain" trains all weights and holds nothing. A run that was interrupted goes on when the program is started again.
Results are in WORK/results.json: PSNR at 4x on the spine and on brains of the test split, before and after, and the aims met.
"""

import argparse
import json
import math
import shutil
from pathlib import Path

from data_folder import data_folder

PARENT, SPINE = "score_mri", ("t1w", "t2w", "t2s")
BLOCKS = {"training": (0.0, 0.55), "validation": (0.58, 0.73), "test": (0.76, 1.0)}  # of the slices; what is between is left out
BRAINS, BRAIN_SLICES = ("ms_l20_t1", "ms_l20_flair", "ms_cs19_t1", "ms_cs19_t2"), "slices=central:4"
RUNS = {
    "full": {"replay": True},
    "lora": {"replay": True, "method": "lora"},
    "plain": {},
    "head": {"replay": True, "method": "head"},
}
AIMS = {"gain": 1.0, "loss": 0.3, "lora_behind": 0.3, "lora_share": 0.1}  # dB, dB, dB, of the parameters


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", help="the data folder (default: DIFFZOO_DATA)")
    parser.add_argument("--minutes", type=float, default=10, help="of training, each run")
    parser.add_argument("--work", default="runs/finetune_demo")
    parser.add_argument("--only", nargs="*", choices=RUNS, default=["full", "lora", "plain"])
    parser.add_argument("--learning-rate", type=float, help="of every run")
    options = parser.parse_args()
    data, work = data_folder(options.data), Path(options.work).resolve()
    work.mkdir(parents=True, exist_ok=True)
    spine, old, brains = cut(data, work / "spine"), listed(data, "train", work / "old"), listed(data, "test", work / "brains")
    found = {"parent": {"brain": brain_psnr(PARENT, brains, work / "brain_parent")}}
    for name in options.only:
        given = {"minutes": options.minutes, "learning_rate": options.learning_rate}
        found[name] = tuned(name, given, spine, old, brains, work)
        (work / "results.json").write_text(json.dumps(found | {"aims": aims(found)}, indent=1) + "\n")
    for name, one in found.items():
        print(f"{name:8}", "  ".join(f"{key} {value:.3f}" for key, value in one.items()))
    for name, met in aims(found).items():
        print("met   " if met else "MISSED", name)


def cut(data: Path, folder: Path) -> Path:
    """The blocks of each spine volume as NIfTI files, and their datalist."""
    from diffzoo.imaging.files import read_volume, write_json, write_volume
    from diffzoo.imaging.geometry import crop_slices, to_slices

    folder.mkdir(exist_ok=True)
    lists: dict[str, list] = {part: [] for part in BLOCKS}
    for name in SPINE:
        volume = to_slices(read_volume(data / "spine_mr" / f"sct_errsm30_{name}.nii.gz"))
        count = volume.shape[-1]
        for part, (low, high) in BLOCKS.items():
            first = math.ceil(low * count)
            stop = max(first + 1, int(high * count))
            write_volume(folder / f"spine_{name}_{part}.nii.gz", crop_slices(volume, first, stop))
            lists[part].append({"image": f"spine_{name}_{part}.nii.gz", "subject": "errsm30"})
    return write_json(folder / "datalist.json", lists)


def listed(data: Path, part: str, folder: Path) -> Path:
    """The files of a part of the parent's split, of which a test is made of a few."""
    from diffzoo.imaging.files import write_json
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
    return json.loads((folder / "metrics.json").read_text())["mean"]["recon"]["psnr"]


def tuned(name: str, given: dict, spine: Path, old: Path, brains: Path, work: Path) -> dict:
    """Fine-tunes, or goes on with it, and measures: PSNR on the spine before and after, on brains after, share that trained."""
    from diffzoo.zoo.finetune.command import PLAN, finetune

    place, options = work / f"spine_{name}", given | RUNS[name]
    options["replay"] = str(old) if options.get("replay") else None
    if not place.exists():
        resume = (work / f"{place.name}_work" / PLAN).is_file()
        finetune(PARENT, spine, place, options, resume=resume, device="cpu", say=print)
    shutil.copyfile(place / "docs" / "loss.png", work / f"{name}.png")
    mean = json.loads((place / "docs" / "results.json").read_text())["evaluations"]["test"]["mean"]
    done = json.loads((place / "docs" / "finetune.json").read_text())
    brain = brain_psnr(str(place), brains, work / f"brain_{name}")
    figures = {"spine_before": mean["parent"]["psnr"], "spine": mean["recon"]["psnr"], "brain": brain}
    return figures | {"trains": done["trained"] / done["parameters"], "steps": done["outcome"]["last"]["step"]}


def aims(found: dict) -> dict[str, bool]:
    """Whether what was aimed at is reached, of what was run."""
    met = {}
    if "full" in found:
        met["gain on the spine"] = found["full"]["spine"] - found["full"]["spine_before"] >= AIMS["gain"]
        met["loss on brains"] = found["parent"]["brain"] - found["full"]["brain"] <= AIMS["loss"]
    if {"full", "lora"} <= found.keys():
        met["LoRA beside full"] = found["full"]["spine"] - found["lora"]["spine"] <= AIMS["lora_behind"]
        met["LoRA's parameters"] = found["lora"]["trains"] < AIMS["lora_share"]
    return met


if __name__ == "__main__":
    main()
