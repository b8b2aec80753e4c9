"""Measures a bundle of counterfactuals beyond what `evaluate` does, into bundles/NAME/docs/results.json as "counterfactuals".

python tools/measure_counterfactuals.py cdpm --data FOLDER [--every 2]

- Round trip: PSNR in the brain without guidance, at the default level and at half of the paper's chain, there in finer steps too.
- Healthy slices: the mean of their map against its mean inside lesions, simulated and real; with another label as the target,
  where the network takes labels.
- Slices: AUROC of telling those with a lesion from those without, by the classifier where there is one, by the map and by
  brightness (the 99th percentile of each in the brain of a slice); and how many are called healthy once they are decoded.
"""

import argparse
import copy
import json
from dataclasses import replace
from pathlib import Path

import torch

from data_folder import data_folder, datalist, recipe_of
from figures import rounded, store, stored

ROOT = Path(__file__).resolve().parents[1]
HALF = {"cdpm": 0.5, "diffusion_anomaly": 1.0}  # of the paper's unit of intensity, in ours
LEAST, SURE, TOP = 3, 0.9, 0.99
LESIONS = {"lesions": "10", "lesion_turns": 2}


class Stack:
    """A loaded head or a piece of one with its conditions: image [1, 1, H, W, D], brain and mask likewise, every n-th slice."""

    def __init__(self, item: dict, every: int = 1, key: str = "image") -> None:
        rows = slice(None, None, every)
        cut = {name: torch.as_tensor(item[name]).as_subclass(torch.Tensor)[..., rows][None] for name in ("image", "brain")}
        self.image = cut["image"]
        if key != "image":
            self.image = torch.as_tensor(item[key]).as_subclass(torch.Tensor)[..., rows].reshape(self.image.shape).float()
        self.brain = cut["brain"].bool()
        mask = torch.as_tensor(item["mask"]).as_subclass(torch.Tensor)[..., rows][None].bool() if "mask" in item else None
        self.mask = mask if mask is not None and key == "image" else torch.zeros_like(self.brain)
        self.given = {"vector": torch.as_tensor(item["vector"])[rows][None], "slice_index": item["slice_index"][rows][None]}
        self.edits: dict[tuple, torch.Tensor] = {}  # what became of it, by session and target
        self.group = str(item.get("group", item.get("case")))

    @property
    def label(self) -> torch.Tensor:
        """[D]: 1 with a lesion, 0 without, -1 for fewer voxels than count."""
        area = self.mask[0, 0].flatten(0, 1).sum(0)
        return torch.where(area == 0, 0, torch.where(area < LEAST, -1, 1))

    def edges(self, volume: torch.Tensor) -> torch.Tensor:
        """The 99th percentile [D] of a volume [H, W, D] in the brain of each slice."""
        inside = self.brain[0, 0]
        return torch.stack([volume[..., k][inside[..., k]].quantile(TOP) for k in range(volume.shape[-1])])


def main() -> None:
    from diffzoo.zoo.session import Session

    options = _options()
    bundle = ROOT / "bundles" / options.name
    recipe = recipe_of(options.name)
    lists = datalist(data_folder(options.data), recipe)
    session = Session(str(bundle), ("inference", "evaluate"), LESIONS, device="cpu")
    load = session.get("preprocessing")
    named = lambda part: [{"case": Path(e["image"]).name.split(".")[0], **e} for e in lists[part]]  # noqa: E731
    healthy = Stack(load(named("healthy")[0]), options.every)
    patients = [Stack(load(case), options.every) for case in named("sclerosis")]
    loaded = [load(case) for case in session.expanded(named("test"))]
    pairs = [(Stack(item), Stack(item, key="clean")) for item in loaded]
    figures = stored(bundle)["counterfactuals"]["figures"] if options.only else {}
    figures["round_trip"] = round_trip(bundle, [healthy, *(pair[1] for pair in pairs)])
    if not options.only:
        figures |= changes(session, healthy, [pair[0] for pair in pairs], patients)
        figures["slices"] = slices(session, pairs, patients)
    store(bundle, "counterfactuals", [f"every={options.every}"], figures, mean={}, groups={})
    print(json.dumps(rounded(figures), indent=1))


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("name", help="a bundle with tasks.anomaly.counterfactual in its inference.yaml")
    parser.add_argument("--data", help="the data folder (default: DIFFZOO_DATA)")
    parser.add_argument("--only", choices=("round_trip",), help="measure this part anew, and keep the others")
    parser.add_argument("--every", type=int, default=2, help="take every n-th slice of whole heads")
    return parser.parse_args()


def edited(session, stack: Stack, target: int | None = None) -> torch.Tensor:
    """Healthy version and map [2, H, W, D] of a stack by the inferer of a session, or with another label as its target."""
    if (id(session), target) not in stack.edits:
        inferer = copy.copy(session.get("inferer"))
        if target is not None:
            inferer.edit = replace(inferer.edit, guidance=replace(inferer.edit.guidance, target=target))
        maps = inferer(stack.image, session.get("network"), brain=stack.brain, **stack.given)[0]
        stack.edits[id(session), target] = maps
    return stack.edits[id(session), target]


def round_trip(bundle: Path, stacks: list[Stack]) -> dict:
    """PSNR (dB, range 1) in the brain: at the default level and at half of the paper's chain, with the default steps, mean over
    stacks; and there with ten steps, each corrected once, of the first stack."""
    from diffzoo.diffusion.schedule import linear_alphas
    from diffzoo.tasks.anomaly.counterfactual import encoding_levels
    from diffzoo.zoo.session import Session

    half = encoding_levels(linear_alphas(), 1000, 0.5, HALF[bundle.name])[0]
    figures = {}
    fine = {"encoding_level": half, "steps": 10, "corrections": 1}
    for name, more in (("default", {}), ("half", {"encoding_level": half}), ("half_fine", fine)):
        session = Session(str(bundle), settings={"guidance": 0.0, **more}, device="cpu")
        errors = [
            (edited(session, stack)[0] - stack.image[0, 0])[stack.brain[0, 0]].pow(2).mean()
            for stack in (stacks[:1] if more is fine else stacks)
        ]
        figures[name] = float(torch.stack([-10 * error.clamp(min=1e-12).log10() for error in errors]).mean())
    return figures | {"half_level": half}


def changes(session, healthy: Stack, simulated: list[Stack], patients: list[Stack]) -> dict:
    """Mean map of a healthy head, and inside lesions."""
    calm = edited(session, healthy)
    figures = {"healthy_map": float(calm[1][healthy.brain[0, 0]].mean())}
    for name, stacks in (("simulated", simulated), ("real", patients)):
        maps = [edited(session, stack)[1][stack.mask[0, 0]].mean() for stack in stacks]
        figures[f"lesion_map_{name}"] = float(torch.stack(maps).mean())
        figures[f"ratio_{name}"] = figures["healthy_map"] / figures[f"lesion_map_{name}"]
    swapped = edited(session, healthy, target=1)
    return figures | {"healthy_map_label_diseased": float(swapped[1][healthy.brain[0, 0]].mean())}


def slices(session, pairs: list[tuple[Stack, Stack]], patients: list[Stack]) -> dict:
    """AUROC of slices by group, and the share of diseased ones that the classifier calls healthy after decoding."""
    figures, decoded = {}, []
    sets = {"simulated, 10 mm": [stack for pair in pairs for stack in pair]} | {
        f"sclerosis, {stack.group}": [stack] for stack in patients
    }
    for name, stacks in sets.items():
        scores: dict[str, list] = {}
        for stack in stacks:
            healthy, score = edited(session, stack)
            scores.setdefault("map", []).append(stack.edges(score))
            scores.setdefault("brightness", []).append(stack.edges(stack.image[0, 0]))
            if "classifier" in session.parser:
                scores.setdefault("classifier", []).append(probability(session, stack, stack.image[0, 0]))
                after = probability(session, stack, healthy)
                decoded.append((1 - after)[stack.label == 1])
        figures[name] = judged(scores, torch.cat([stack.label for stack in stacks]))
    if decoded:
        figures["called healthy after decoding"] = float((torch.cat(decoded) >= SURE).float().mean())
    return figures


def judged(scores: dict[str, list], label: torch.Tensor) -> dict:
    """AUROC of each score, and how many slices of either kind there are."""
    from diffzoo.metrics.detection import auroc

    known = label >= 0
    areas = {key: auroc(torch.cat(parts)[known].numpy(), label[known].numpy() > 0) for key, parts in scores.items()}
    return areas | {"diseased": int((label == 1).sum()), "healthy": int((label == 0).sum())}


def probability(session, stack: Stack, volume: torch.Tensor) -> torch.Tensor:
    """p(diseased) [D] of the slices of a volume [H, W, D]."""
    from diffzoo.tasks.anomaly.slice_labels import disease_probability

    parts = (volume[None].movedim(-1, 0), stack.given["vector"][0].float(), stack.brain[0].movedim(-1, 0).float())
    index = stack.given["slice_index"][0].tolist()
    return disease_probability(session.get("classifier"), session.get("precond"), *parts, index)


if __name__ == "__main__":
    main()
