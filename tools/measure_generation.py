"""Measures what a generator of labelled brain images is worth, and adds it to bundles/NAME/docs/results.json as "generation".

python tools/measure_generation.py brainspade --data FOLDER [--work runs/NAME/generation] [--draws 240] [--steps 450] [--seeds 3]

- Maps that are drawn: whether the lesion flag is obeyed both ways, and the volume of each label beside that of real maps.
- Segmentation networks trained on real pairs, on drawn ones alone and on both, by several seeds, and tested on people of the test
  split; those of real pairs also label the painted images again.
- A Frechet distance with the features of the package, beside real from real and an untrained generator.
- Memorisation: nearest neighbours of painted images among training images, and membership in the training of the maps.
- Style: two styles on one map, and the contrast of a style image against that of what is painted in it.
"""

import argparse
import json
from pathlib import Path

import numpy as np
import torch

import segmentation
from data_folder import data_folder, datalist, recipe_of

ROOT = Path(__file__).resolve().parents[1]
TISSUES = {"csf": 1, "grey": 2, "white": 3}
BATCH, FLAGGED = 8, 0.5


def main() -> None:
    from diffzoo.facts import sha256
    from diffzoo.zoo.session import Session

    options = _options()
    bundle = ROOT / "bundles" / options.name
    weights = sha256(bundle / "models" / "model.safetensors")  # trials of other weights are none of these
    work = Path(options.work or ROOT / "runs" / options.name / "generation") / weights[:8]
    work.mkdir(parents=True, exist_ok=True)
    lists = datalist(data_folder(options.data), recipe_of(options.name))
    session = Session(str(bundle), device="cpu")
    pairs = Pairs(session, lists, options.draws)
    figures = {"maps": pairs.compare(pairs.asked, pairs.drawn)}
    figures["published"] = pairs.compare(
        *pairs.draws(options.draws // 4, Session(str(bundle), ("inference", "published"), device="cpu").get("draw"))
    )
    figures["segmentation"] = experiment(pairs, options.steps, options.seeds, work)
    figures["style"] = pairs.style()
    figures["distance"] = pairs.distance()
    figures["memorisation"] = pairs.memorised(work / "pairs.png")
    for name, part in figures.items():
        print(name, json.dumps(part, default=float)[:600], flush=True)
    write(bundle, figures | {"weights_sha256": weights}, options, work)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("name", help="a bundle that draws and paints, with a recipe beside its card")
    parser.add_argument("--data", help="the data folder (default: DIFFZOO_DATA)")
    parser.add_argument("--work", help="folder for what is made (default: runs/NAME/generation)")
    parser.add_argument("--draws", type=int, default=240, help="maps to draw, half of them with a lesion")
    parser.add_argument("--steps", type=int, default=450, help="of each segmentation network")
    parser.add_argument("--seeds", type=int, default=3, help="of those networks")
    return parser.parse_args()


class Pairs:
    """Real slices and maps of the recipe's lists, and drawn ones of the bundle at work."""

    def __init__(self, session, lists: dict, draws: int) -> None:
        from diffzoo.tasks.generate.dataset import TissueMaps, TissueSlices
        from diffzoo.tasks.generate.drawing import codes_of

        self.network, self.draw, self.tissues = session.get("network").eval(), session.get("draw"), session.get("tissues")
        self.real = TissueSlices(lists["training"], self.tissues, batch_size=BATCH)
        self.validation = TissueSlices(lists["validation"], self.tissues, batch_size=BATCH, augment=False)
        self.maps = TissueMaps(lists["maps_training"], self.tissues, batch_size=64, batches=8, augment=False, seed=3)
        self.others = TissueMaps(lists["maps_validation"], self.tissues, batch_size=64, batches=3, augment=False, seed=3)
        self.people = {part: [entry["subject"] for entry in lists[part]] for part in ("training", "validation")}
        self.test = [self._volume(entry) for entry in lists["test"]]
        self.prior = session.get("prior")
        self.codes = {name: codes_of(self.prior, name) for name in ("t1", "t2", "flair")}
        self.asked, self.drawn = self.draws(draws, self.draw)
        self.painted = {name: self._painted(self.network.generator, codes) for name, codes in self.codes.items()}

    def _volume(self, entry: dict) -> dict:
        """A test image: slices [N, 1, H, W], their labels [N, H, W]."""
        volume = self.tissues(entry)
        image, maps = (torch.as_tensor(volume[key]).as_subclass(torch.Tensor).movedim(-1, 0) for key in ("image", "label"))
        kept = maps[:, 0].flatten(1).amin(1) < FLAGGED
        return {"case": Path(entry["image"]).name.split(".")[0], "image": image[kept], "label": maps[kept].argmax(1)}

    def draws(self, count: int, draw) -> tuple[torch.Tensor, torch.Tensor]:
        """Conditions and maps [count, 5, H, W]: places of real slices with brain, a lesion in every second."""
        from diffzoo.tasks.generate.drawing import CONDITIONS, asked

        values = torch.cat([asked(self.prior[CONDITIONS], 1, k, float(k % 2)) for k in range(count)])
        chunks = torch.arange(count).split(24)
        parts = [draw(self.network, values[seeds], seeds.tolist()) for seeds in chunks]
        return values, torch.cat(parts)

    def _painted(self, generator, codes: torch.Tensor) -> torch.Tensor:
        from diffzoo.tasks.generate.inferer import paint

        styles = codes[torch.arange(len(self.drawn)) % len(codes)]
        return paint(generator, self.drawn, styles)

    def compare(self, asked: torch.Tensor, drawn: torch.Tensor) -> dict:
        """Shares of maps with a lesion voxel, of those asked to have one and of those asked not to; and `volumes`."""
        shown = drawn[:, -1].flatten(1).amax(1) > FLAGGED
        flag = asked[:, 0] > 0.5
        figures = {"lesion_when_asked": float(shown[flag].float().mean()), "lesion_when_not": float(shown[~flag].float().mean())}
        return figures | {"drawn": len(drawn)} | self.volumes(drawn)

    def volumes(self, drawn: torch.Tensor) -> dict:
        """Mean volume of each tissue in drawn maps over that in real ones of the same places, lesion or not."""
        real = torch.cat([self.maps[k]["image"] for k in range(len(self.maps))]).float()
        place = torch.cat([self.maps[k]["position"] for k in range(len(self.maps))])
        real = real[(place >= 0.2) & (place <= 0.8)]
        return {f"{name}_volume": float(drawn[:, k].mean() / real[:, k].mean()) for name, k in TISSUES.items()}

    def real_batch(self, seed: int):
        """step -> a batch of real pairs."""

        def batch(step: int) -> tuple[torch.Tensor, torch.Tensor]:
            self.real.epoch = 1 + 1000 * seed + step // len(self.real)
            pair = self.real[step % len(self.real)]
            return pair["image"], pair["label"]

        return batch

    def drawn_batch(self, seed: int):
        """step -> a batch of drawn pairs, changed as real ones are."""
        from diffzoo.tasks.generate.dataset import changed

        images = torch.cat(list(self.painted.values()))
        maps = self.drawn.repeat(len(self.painted), 1, 1, 1)

        def batch(step: int) -> tuple[torch.Tensor, torch.Tensor]:
            generator = torch.Generator().manual_seed(1_000_000 * (seed + 1) + step)
            at = torch.randint(len(images), (BATCH,), generator=generator)
            stacked = changed(torch.cat([images[at], maps[at]], 1), generator)
            return stacked[:, :1], stacked[:, 1:]

        return batch

    def style(self) -> dict:
        """Two styles on one map: likeness of the edges; and contrast of tissues in a held-out image against its copy's."""
        from skimage.metrics import structural_similarity

        first, second = (torch.cat([self.painted[name][:48]]).numpy()[:, 0] for name in ("t1", "flair"))
        edges = [structural_similarity(*(_slope(x) for x in pair), data_range=1.0) for pair in zip(first, second, strict=True)]
        shades = [self._contrast(self.validation[k]) for k in range(6)]
        real, painted = (np.concatenate([f[i] for f in shades]) for i in (0, 1))
        return {"edges_ssim": float(np.mean(edges)), "contrast_r": float(np.corrcoef(real, painted)[0, 1])}

    @torch.no_grad()
    def _contrast(self, batch: dict) -> tuple[np.ndarray, np.ndarray]:
        """Mean shade of each tissue in the style image's neighbour, and in what is painted on its map in that style."""
        generator, maps = self.network.generator, batch["label"]
        painted = generator(maps, generator.encode(batch["style"])[0])
        weights = maps[:, 1:4]
        shades = [(x * weights).flatten(2).sum(2) / weights.flatten(2).sum(2).clamp(min=1) for x in (batch["image"], painted)]
        big = (weights.flatten(2).sum(2) > 20).all(1)
        return tuple(shade[big].flatten().numpy() for shade in shades)

    def _slices(self, which: str) -> tuple[torch.Tensor, list[str]]:
        """Real slices as they are, and whose."""
        images = self.real if which == "training" else self.validation
        kept = ~images.simulated[images.volume]
        names = [self.people[which][int(k)] for k in images.volume[kept]]
        return images.slices[kept][:, :1].float(), names

    def distance(self) -> dict:
        """Frechet distance of painted images from real ones."""
        import copy

        from diffzoo.metrics.features import features
        from diffzoo.metrics.frechet import compare

        real, whose = self._slices("training")
        raw = copy.deepcopy(self.network.generator)
        torch.manual_seed(0)
        for module in raw.modules():
            if hasattr(module, "reset_parameters"):
                module.reset_parameters()
        images = {"fake": self.painted, "null": {name: self._painted(raw, codes) for name, codes in self.codes.items()}}
        sets = {key: features(torch.cat(list(value.values()))).numpy() for key, value in images.items()}
        return compare(features(real).numpy(), sets["fake"], sets["null"], whose, shrinkage=0.1)

    def memorised(self, picture: Path) -> dict:
        """Copies among painted images, and how well the diffusion network tells the maps that it learned from."""
        from diffzoo.diffusion.denoiser import Denoiser
        from diffzoo.metrics.membership import attack, scores
        from diffzoo.metrics.memorisation import audit, worst_pairs
        from diffzoo.training.latents import Latents, label_conditions

        train, whose = self._slices("training")
        validation, _ = self._slices("validation")
        samples = torch.cat([images[k::3] for k, images in enumerate(self.painted.values())])
        conditions, denoiser = [], Denoiser(self.network, self.draw.precond)
        for maps in (self.maps, self.others):
            latents = Latents(self.network, maps, label_conditions, batch_size=150, batches=1)[0]
            conditions.append(scores(denoiser, latents["image"], {"tokens": latents["tokens"]}))
        result = audit(train, samples, validation, whose, membership=attack(*conditions), steps=400)
        worst_pairs(picture, result, samples, train)
        return {key: value for key, value in result.facts().items() if key != "nearest_pairs"}


def experiment(pairs: Pairs, steps: int, seeds: int, work: Path) -> dict:
    """Dice of networks by what they learned from, [seed], on each test image; and of real ones on what is painted."""
    figures: dict = {}
    for kind in ("real", "drawn", "both"):
        for seed in range(seeds):
            path = work / f"segmentation_{kind}_{seed}.json"
            if not path.is_file():
                path.write_text(json.dumps(_trial(pairs, kind, seed, steps)), encoding="utf-8")
            for name, entry in json.loads(path.read_text(encoding="utf-8")).items():
                for label, value in entry.items():
                    figures.setdefault(kind, {}).setdefault(name, {}).setdefault(label, []).append(value)
    return figures


def _trial(pairs: Pairs, kind: str, seed: int, steps: int) -> dict:
    """Dice by test image of one network; "again" of what is painted, "mean" over test images."""
    real, drawn = pairs.real_batch(seed), pairs.drawn_batch(seed)
    either = {"real": real, "drawn": drawn, "both": lambda step: (real, drawn)[step % 2](step)}[kind]
    network = segmentation.trained(either, steps, seed)
    dice_of = {t["case"]: segmentation.dice(segmentation.labelled(network, t["image"]), t["label"]) for t in pairs.test}
    dice_of["mean"] = _means(list(dice_of.values()))
    again = {k: segmentation.dice(segmentation.labelled(network, x), pairs.drawn.argmax(1)) for k, x in pairs.painted.items()}
    dice_of |= {f"again_{name}": value for name, value in again.items()} | {"again": _means(list(again.values()))}
    print(
        kind,
        seed,
        {k: round(v, 3) for k, v in dice_of["mean"].items()},
        "again",
        round(dice_of["again"]["tissue"], 3),
        flush=True,
    )
    return dice_of


def _means(rows: list[dict]) -> dict:
    names = {name: None for row in rows for name in row}
    return {name: float(np.mean([row[name] for row in rows if name in row])) for name in names}


def _slope(plane: np.ndarray) -> np.ndarray:
    """Strength of the gradient, in units of its 99th percentile."""
    size = np.hypot(*np.gradient(plane))
    return (size / max(np.percentile(size, 99), 1e-6)).clip(0, 1)


def write(bundle: Path, figures: dict, options: argparse.Namespace, work: Path) -> None:
    """Puts what was found into docs/results.json, and the picture of the nearest pairs beside it."""
    import shutil

    from diffzoo.zoo.tables import results_text

    path = bundle / "docs" / "results.json"
    entries = json.loads(path.read_text(encoding="utf-8"))["evaluations"] if path.is_file() else {}
    mean = {
        f"trained_on_{kind}": {key: float(np.mean(value)) for key, value in figures["segmentation"][kind]["mean"].items()}
        for kind in figures["segmentation"]
    }
    mean |= {"maps": figures["maps"], "published": figures["published"]}
    again = {key: entry["tissue"] for key, entry in figures["segmentation"]["real"].items() if key.startswith("again")}
    mean["painted"] = {key: float(np.mean(values)) for key, values in again.items()} | figures["style"]
    table = {
        "what": "Generation: maps, segmentation, distance, memorisation",
        "settings": [f"draws={options.draws}", f"steps={options.steps}", f"seeds={options.seeds}"],
        "weights_sha256": figures["weights_sha256"],
        "mean": mean,
        **{key: figures[key] for key in ("distance", "memorisation", "segmentation")},
        "cases": {},
    }
    table = json.loads(json.dumps(table, default=float))
    path.write_text(results_text(entries | {"generation": table}), encoding="utf-8")
    shutil.copyfile(work / "pairs.png", bundle / "docs" / "pairs.png")


if __name__ == "__main__":
    main()
