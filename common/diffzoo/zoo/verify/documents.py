"""Checks of a bundle's documents: licences, model card, picture, and numbers that are those of the stored measurements."""

import re
import shlex
from collections.abc import Iterator, Mapping
from itertools import combinations, pairwise

from diffzoo.errors import InputError
from diffzoo.zoo.archive import sha256_of
from diffzoo.zoo.card import REQUIRED, SUMMARY, header_of
from diffzoo.zoo.metadata import identifiers
from diffzoo.zoo.verify.check import Broken, refuse
from diffzoo.zoo.verify.files import MODEL
from diffzoo.zoo.verify.subject import Subject

# words by which the text of a licence is known
TEXTS = {
    "Apache-2.0": ("Apache License", "Version 2.0"),
    "MIT": ("Permission is hereby granted, free of charge",),
    "BSD-3-Clause": ("Redistribution and use in source and binary forms", "Neither the name"),
    "BSD-2-Clause": ("Redistribution and use in source and binary forms",),
    "MPL-2.0": ("Mozilla Public License", "2.0"),
}
SECTIONS = (
    "intended use",
    "out-of-scope use",
    "bias and limits",
    "data",
    "training",
    "results",
    "references",
    "citation",
    "licence",
)
CLOSE, SHARE = 1e-4, 1e-5  # metadata rounds to five decimals, results to six digits
SIDES = (200, 4000)  # pixels of the preview


def licences(subject: Subject) -> str:
    """LICENSE holds the licence of the code, and data_license.txt tells each licence of the data."""
    subject.after("files")
    licences_of, sources = subject.metadata["licenses"], subject.metadata["training_data"]["sources"]
    text = (subject.root / "LICENSE").read_text(encoding="utf-8")
    for identifier in identifiers(licences_of["code"]):
        if identifier not in TEXTS:
            raise Broken(f"the text of {identifier} is not known here", f"choose one of {', '.join(TEXTS)} for the configs")
        if not all(words.lower() in text.lower() for words in TEXTS[identifier]):
            raise Broken(
                f"LICENSE is not the text of {identifier}, which metadata tells", "put that text there, or tell another licence"
            )
    data = (subject.root / "docs" / "data_license.txt").read_text(encoding="utf-8")
    names = {
        identifier
        for licence in (licences_of["data"], *(source["license"] for source in sources))
        for identifier in identifiers(licence)
    }
    refuse(
        [f"docs/data_license.txt does not tell of {n}" for n in sorted(names) if n not in data],
        "tell what it covers, and whose it is",
    )
    return f"code {licences_of['code']}, weights {licences_of['weights']}, data {licences_of['data']}"


def card(subject: Subject) -> str:
    """The model card has header, summary and sections, shows the commands, and every file that it links to is there."""
    subject.after("files")
    text = (subject.root / "docs" / "README.md").read_text(encoding="utf-8")
    problems = [f"no section on {s}" for s in SECTIONS if not re.search(rf"^#+ (.*\b)?{s}", text, re.IGNORECASE | re.MULTILINE)]
    fields = header_of(text)
    problems += [f"its header does not tell {key}" for key in REQUIRED if not fields.get(key)]
    problems += [f"no summary that tells {words}" for words in SUMMARY if f"- **{words}.**" not in text]
    lines = _commands(text)
    for words in (f"diffzoo run {subject.root.name} ", f"diffzoo evaluate {subject.root.name} ", "python -m monai.bundle run "):
        if not any(line.startswith(words) for line in lines):
            problems.append(f"no line `{words}...`")
    links = re.findall(r"\]\(([^)#\s]+)\)", text)
    problems += [f"{a} is not there" for a in links if "://" not in a and not (subject.root / "docs" / a).is_file()]
    refuse(
        [f"docs/README.md: {problem}" for problem in problems],
        "write it; the card of another bundle shows the form, tools/write_results.py fills in marks",
    )
    return f"{len(SECTIONS)} sections, {len(lines)} commands"


def commands(subject: Subject) -> str:
    """What the model card tells to type is taken: configs and parameters with their values."""
    subject.after("files", "scan", "metadata", "card")
    problems, count = [], 0
    for line in _commands((subject.root / "docs" / "README.md").read_text(encoding="utf-8")):
        words = shlex.split(line)
        if words[:2] not in (["diffzoo", "run"], ["diffzoo", "evaluate"]) or words[2] != subject.root.name:
            continue
        count += 1
        given = {flag: [b for a, b in pairwise(words) if a == flag] for flag in ("--set", "--config")}
        try:
            configs = ["inference", *given["--config"], *(["evaluate"] if words[1] == "evaluate" else [])]
            subject.bundle.settings(given["--set"], configs)
        except InputError as error:
            problems.append(f"`{line}`: {error}")
    refuse(problems, "mend the command in docs/README.md")
    return f"{count} commands of this bundle"


def _commands(text: str) -> list[str]:
    """Command lines in the code blocks of a Markdown text."""
    blocks = re.findall(r"^```[a-z]*\n(.*?)^```", text, re.DOTALL | re.MULTILINE)
    lines = [line.strip().lstrip("$ ") for block in blocks for line in block.replace("\\\n", " ").splitlines()]
    return [line for line in lines if re.match(r"(diffzoo|python3?) ", line)]


def preview(subject: Subject) -> str:
    """The pictures can be read, and preview.png has a size that fits a screen and shows something."""
    from PIL import Image

    subject.after("files")
    for path in sorted((subject.root / "docs").glob("*.png")):
        with Image.open(path) as image:
            image.load()
            size, extremes = image.size, image.convert("L").getextrema()
        if extremes[0] == extremes[1]:
            raise Broken(f"docs/{path.name} is of one colour", "put there what a run writes as preview.png")
        if path.name == "preview.png" and not all(SIDES[0] <= side <= SIDES[1] for side in size):
            raise Broken(f"docs/preview.png has {size[0]} x {size[1]} pixels", f"{SIDES[0]} to {SIDES[1]} on each side")
        if path.name == "preview.png":
            shown = size
    return f"{shown[0]} x {shown[1]} pixels"


def results(subject: Subject) -> str:
    """The figures of metadata are those of docs/results.json, which were measured with these weights, and have a command."""
    subject.after("files", "weights")
    quoted, measured = subject.metadata["eval_metrics"], subject.results_file
    if not quoted["values"] or subject.root.name not in quoted["command"]:
        raise Broken("eval_metrics has no values, or a command that does not name the bundle", "evaluate it, and write both")
    shipped = {sha256_of(path) for path in (subject.root / MODEL).parent.glob("*.safetensors")}  # an overlay may name its own
    others = [name for name, evaluation in measured.items() if evaluation["weights_sha256"] not in shipped]
    refuse([f"docs/results.json: {name} was measured with other weights" for name in others], "measure again with these weights")
    if quoted.get("evaluation") not in measured:
        raise Broken(f"docs/results.json has no evaluation {quoted.get('evaluation')!r}", f"name one of {', '.join(measured)}")
    entry = measured[quoted["evaluation"]]
    entry = entry.get("mean", entry)
    figures = [(place, value, _at(entry, place)) for place, value in leaves(quoted["values"])]
    wrong = [
        f"{' '.join(place)} is {value:g}, measured {value_measured}"
        for place, value, value_measured in figures
        if not _equal(value, value_measured)
    ]
    refuse(wrong, f"run `{quoted['command']}`, and write what it measures")
    return f"{len(figures)} figures of {quoted['evaluation']}, {len(measured)} evaluations"


def headline(subject: Subject) -> str:
    """Each measured number of the headline is a figure of the evaluation that metadata names, or the gain between two."""
    subject.after("results")
    text = subject.metadata["headline"]
    if not re.search(r"\d", text):
        raise Broken("the headline holds no number", "say there what was measured")
    entry = subject.results_file[subject.metadata["eval_metrics"]["evaluation"]]
    figures = [value for place, value in leaves({k: v for k, v in entry.items() if k != "cases"})]
    figures += _gains(entry.get("mean", entry))
    numbers = re.findall(r"\d+\.\d+", text)
    unknown = [word for word in numbers if not any(_shown(value, word) for value in figures)]
    refuse([f"the headline tells {word}, which was not measured" for word in unknown], "write measured numbers there")
    return f"{len(numbers)} numbers"


def _gains(mean: Mapping) -> Iterator[float]:
    """Differences of one metric between two methods."""
    methods = [values for values in mean.values() if isinstance(values, Mapping)]
    for first, second in combinations(methods, 2):
        yield from (first[key] - second[key] for key in first if key in second and isinstance(first[key], float))


def _shown(value: float, word: str) -> bool:
    """Whether a value, or a hundred times it, rounds to a word such as "8.2", whatever its sign."""
    decimals = len(word.partition(".")[2])
    return any(f"{abs(scale * value):.{decimals}f}" == word for scale in (1, 100))


def leaves(values: Mapping, place: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], float]]:
    """The numbers of nested mappings, each with the keys that lead to it."""
    for key, value in values.items():
        if isinstance(value, Mapping):
            yield from leaves(value, (*place, key))
        elif isinstance(value, int | float):
            yield (*place, key), value


def _at(values: object, place: tuple[str, ...]) -> object:
    for key in place:
        values = values.get(key) if isinstance(values, Mapping) else None
    return values


def _equal(quoted: float, measured: object) -> bool:
    return isinstance(measured, int | float) and abs(quoted - measured) <= max(CLOSE, SHARE * abs(measured))
