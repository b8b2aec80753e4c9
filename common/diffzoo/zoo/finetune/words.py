"""What a fine-tuned bundle says of itself: metadata, model card, licences of data. No scan, patient or path is named."""

import copy
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path

from diffzoo.zoo.archive import sha256_of
from diffzoo.zoo.bundle import Bundle
from diffzoo.zoo.finetune.choices import Choices, duration
from diffzoo.zoo.finetune.find import Scan
from diffzoo.zoo.finetune.measure import PARENT, TEST, VALIDATION, within_noise
from diffzoo.zoo.finetune.split import pseudonyms, shared
from diffzoo.zoo.tables import markdown
from diffzoo.zoo.trust import content_hash

ACRONYMS = ("psnr", "ssim", "nmse", "auprc", "auroc", "ncc")
LOCAL = "LicenseRef-Local"
NAMES = {"training": "train", "validation": "val", "test": "test"}
LOCALLY = {"replay": "OLD_DATA", "weights": "WEIGHTS"}  # words for what is local, in commands
EARLIER = "earlier"  # part of the split: what the parent's weights have seen
METHODS = {
    "full": "all weights trained",
    "lora": "low-rank adapters of rank {rank} trained, {share:.1%} as many parameters as the network has, and were folded in",
    "head": "the last layers trained, {share:.1%} of the parameters",
}


@dataclass(frozen=True)
class Story:
    """What was done: parent, name, choices, lists, facts of the data in words, parameters that trained and all, the outcome."""

    parent: Bundle
    name: str
    choices: Choices
    lists: Mapping[str, Sequence[Scan]]
    data: str
    trains: int
    parameters: int
    outcome: Mapping

    @property
    def named(self) -> str:
        """Name and version of the parent."""
        return f"{self.parent.name} {self.parent.metadata['version']}"

    @property
    def how(self) -> str:
        """The training in a sentence."""
        if self.choices.steps == 0:
            return "the weights were trained elsewhere and are taken as they are"
        method = METHODS[self.choices.method].format(rank=self.choices.rank, share=self.trains / self.parameters)
        last, best = self.outcome["last"], self.outcome["best"]
        words = f"{last['step']} steps in {duration(last['seconds'])}, {method}; the weights are those of step {best['step']}"
        replays = {None: "", "samples": "; held to the parent on images that it drew itself"}
        words += replays.get(self.choices.replay, "; held to the parent on old data")
        return words + ("; it began with weights that were trained elsewhere" if self.choices.weights else "")

    @property
    def counts(self) -> str:
        """Scans and subjects of each list in words."""
        each = {part: (len(scans), len({scan.subject for scan in scans})) for part, scans in self.lists.items()}
        return ", ".join(f"{part} {n} scan{'s'[: n != 1]} of {m} subject{'s'[: m != 1]}" for part, (n, m) in each.items())

    @property
    def command(self) -> str:
        """The training in one command, in which words stand for what is local."""
        words = ["diffzoo finetune", self.parent.name, "--data DATALIST -o", self.name]
        for field in fields(Choices):
            value = getattr(self.choices, field.name)
            if value == field.default or field.name == "settings":
                continue
            local = field.name == "weights" or (field.name == "replay" and value != "samples")
            shown = LOCALLY[field.name] if local else f"{value}"
            words.append(f"--{field.name.replace('_', '-')}" + ("" if value is True else f" {shown}"))
        return " ".join(words + [f"--set {key}={value}" for key, value in self.choices.settings.items()])


def split_of(story: Story) -> dict:
    """`training_data.split`: by pseudonym the sha256 of each scan, and what the parent's weights have seen before."""
    names, parts = pseudonyms(story.lists), {}
    for part, scans in story.lists.items():
        people, blocks, known = {}, {}, {}
        for scan in scans:
            digest = digest_of(scan.image)
            label = known.setdefault(str(scan.image), f"{names[scan.subject]}_{len(known) + 1:02}")
            people[label] = digest
            if "slices" in scan.more:
                blocks.setdefault(label, []).append(scan.more["slices"])
        count = {"subjects": len({scan.subject for scan in scans}), "count": len(people), "files": people}
        parts[NAMES[part]] = count | ({"slices": {k: ", ".join(v) for k, v in blocks.items()}} if blocks else {})
    new = {digest for part in parts.values() for digest in part["files"].values()}
    theirs = [story.parent.metadata["training_data"]["split"].get(part) for part in ("train", "val", EARLIER)]
    files = {name: d for part in theirs if part for name, d in part["files"].items() if d not in new}
    if files:
        parts[EARLIER] = {"subjects": sum(part["subjects"] for part in theirs if part), "count": len(files), "files": files}
    return parts


def digest_of(path: Path) -> str:
    """The sha256 of a scan, of a DICOM folder that of its content."""
    return content_hash(path) if path.is_dir() else sha256_of(path)


def seen_before(parent: Bundle, scans: Sequence[Scan]) -> set[str]:
    """Subjects of which the parent was trained on, or chosen by, one of these very files."""
    split = parent.metadata["training_data"]["split"]
    known = {digest for part in ("train", "val", EARLIER) for digest in split.get(part, {"files": {}})["files"].values()}
    return {scan.subject for scan in scans if digest_of(scan.image) in known}


def metadata_for(story: Story, weights: str) -> dict:
    """metadata.json before anything was measured."""
    theirs = story.parent.metadata
    metadata = copy.deepcopy(theirs)
    plain = re.sub(r"^Fine-tuned from \S+ \S+: ", "", metadata["description"])
    flattered = shared(story.lists)
    limits = f"Fine-tuned on few local data ({story.counts}): what it makes of other data was not measured. "
    limits += f"{len(flattered)} of its subjects are in more than one list, which flatters the figures. " if flattered else ""
    source = {"what": f"local data: {story.data}", "source": "not published", "license": LOCAL}
    sources = [origin for origin in metadata["training_data"]["sources"] if origin["license"] != LOCAL]
    licence = metadata["licenses"]["data"]
    metadata |= {
        "name": story.name,
        "version": "0.1.0",
        "changelog": {"0.1.0": f"fine-tuned from {story.named}: {story.how}"},
        "parent": {"name": theirs["name"], "version": theirs["version"], "weights_sha256": theirs["weights_sha256"]},
        "description": f"Fine-tuned from {story.named}: {plain}",
        "headline": "not measured yet",
        "test_people": len({scan.subject for scan in story.lists.get("test") or story.lists["validation"]}),
        "weakest_point": f"Few local data ({story.counts}); what it makes of other data was not measured.",
        "limits": f"{limits}Of {story.named} is told: {theirs['limits']}",
        "weights_sha256": weights,
        "licenses": metadata["licenses"] | {"data": licence if LOCAL in licence.split() else f"{licence} AND {LOCAL}"},
        "data_source": f"Local data, not published, and those of {story.named}.",
        "training_data": {
            "summary": f"{story.counts}; {story.data}. The weights began as those of {story.named}.",
            "sources": [*sources, source],
            "split": split_of(story),
        },
        "eval_metrics": {"command": story.command, "values": {}},
    }
    return metadata


def figures(results: Mapping, name: str) -> dict:
    """headline and eval_metrics: of the test list where it was measured, else of the validation."""
    evaluation = TEST if TEST in results else VALIDATION
    entry = results[evaluation]
    mean = {method: {key: round(value, 5) for key, value in values.items()} for method, values in entry["mean"].items()}
    own, key = next(iter(mean)), next(iter(next(iter(mean.values()))))
    digits, unit = (1, " dB") if key.endswith("psnr") else (3, "")
    gain = entry["mean"][own][key] - entry["mean"][PARENT][key]
    figure = f"{titled(key)} {entry['mean'][own][key]:.{digits}f}{unit}, {gain:+.{digits}f}{unit}"
    noise = within_noise(entry.get("change", {}).get(key))
    count = f"{entry['slices']} test slices" if "slices" in entry else f"{evaluation} list"
    count += f"; {noise}" if noise else ""
    settings = "".join(f" --set {pair}" for pair in entry["settings"])
    return {
        "headline": f"{figure} over its parent ({count})",
        "eval_metrics": {
            "evaluation": evaluation,
            "command": f"diffzoo evaluate {name} --data DATALIST -o out{settings}",
            "values": mean,
        },
    }


def titled(key: str) -> str:
    """The name of a figure for people: "denoising PSNR" of "denoising_psnr"."""
    return " ".join(word.upper() if word in ACRONYMS else word for word in key.split("_"))


def table(results: Mapping, parent: str) -> str:
    """Markdown: a row each figure of each evaluation, before and after, whether the change is noise, and what others reach."""
    others = list(dict.fromkeys(m for entry in results.values() for m in list(entry["mean"])[2:]))
    rows = [["measurement", "figure", parent, "fine-tuned", "change (95 % interval)", *(m.replace("_", " ") for m in others)]]
    rows.append(["---", "---", *["---:"] * (3 + len(others))])
    for entry in results.values():
        mean = entry["mean"]
        own = next(iter(mean))
        for key, value in mean[own].items():
            if (before := mean[PARENT].get(key)) is not None:
                cells = [f"{mean[m][key]:.4g}" if key in mean.get(m, {}) else "" for m in others]
                change = f"{value - before:+.3g}{_interval(entry.get('change', {}).get(key))}"
                rows.append([entry["what"], titled(key), f"{before:.4g}", f"{value:.4g}", change, *cells])
    return markdown(rows)


def _interval(change: Mapping | None) -> str:
    """The interval of a change over cases, and whether it is noise."""
    if change is None:
        return ""
    noise = within_noise(change)
    if change["low"] is None:
        return f", {noise}"
    return f" ({change['low']:+.3g} to {change['high']:+.3g}{', ' * bool(noise)}{noise})"
