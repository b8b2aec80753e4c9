"""The parts of a model card that follow from metadata: the header for model hubs, summary, scope, bias, citation. Light."""

import re
from collections.abc import Mapping

import yaml

from diffzoo.tasks.task import task_of

HEADER = re.compile(r"\A---\n(.*?)\n---\n+", re.DOTALL)
SUMMARY = ("What it does", "Result", "Weakest point")
REQUIRED = ("license", "library_name", "tags")  # of a header
LONGEST_OPEN = 8  # lines of tables that stand open; longer ones fold
DEFAULTS = {  # of a bundle whose author has not told
    "out_of_scope": "Diagnosis, treatment and any decision about a patient; whatever lies outside the limits below.",
    "bias": "Who the people are, beyond what Data tells, is not known; no figure is given by age, sex or origin.",
}

SECTIONS = """## Intended use
{intended_use}

## Out-of-scope use
<!-- scope -->
{scope}
<!-- /scope -->

## Bias and limits
<!-- bias -->
{bias}
<!-- /bias -->

{limits}

## References
{references}

## Citation
<!-- citation -->
{citation}
<!-- /citation -->

## Licence
Code {code}; weights {terms}; data as in data_license.txt.
"""  # of every card that is made, to be formatted


def header(metadata: Mapping) -> str:
    """The YAML header that model hubs read, with its rules of hyphens: licence of the weights, library, tags, data, metrics."""
    licence = metadata["licenses"]["weights"]
    known = re.fullmatch(r"[A-Za-z0-9.-]+", licence) and not licence.startswith("LicenseRef")
    fields = {"license": licence.lower()} if known else {"license": "other", "license_name": licence}
    task = task_of(metadata["kind"])
    modality = metadata.get("valid_range", {}).get("modality")
    tags = ["medical", "diffusion", "monai", "diffzoo", metadata["kind"].replace("_", "-")]
    fields |= {"library_name": "monai", "pipeline_tag": task.pipeline_tag}
    fields |= {"tags": [*tags, *([modality.lower()] if isinstance(modality, str) else [])]}
    fields |= {"datasets": datasets(metadata), "metrics": metrics(metadata)}
    text = yaml.safe_dump({key: value for key, value in fields.items() if value}, sort_keys=False, allow_unicode=True)
    return f"---\n{text}---\n\n"


def datasets(metadata: Mapping) -> list[str]:
    """Short names of the public sources of the training data, each once: of a repository its name, of a package that of it."""
    names = []
    for source in metadata["training_data"]["sources"]:
        words = re.sub(r"^(Debian package|PyPI) (\S+).*", r"\2", source["source"].split(",")[0])
        if not words.startswith(("this repository", "not published")):
            names.append(re.sub(r"[^\w.-]+", "-", words.rstrip("/").rpartition("/")[2]))
    return list(dict.fromkeys(names))


def metrics(metadata: Mapping) -> list[str]:
    """Names of the figures of the first method that eval_metrics tells."""
    first = next(iter(metadata["eval_metrics"]["values"].values()), {})
    return list(first) if isinstance(first, Mapping) else list(metadata["eval_metrics"]["values"])


def with_header(text: str, metadata: Mapping) -> str:
    """A card with the header of its metadata in place of the one it had, if any."""
    return header(metadata) + HEADER.sub("", text)


def header_of(text: str) -> dict:
    """What the header of a card tells; empty where there is none or where it is no YAML mapping."""
    match = HEADER.match(text)
    try:
        fields = yaml.safe_load(match[1]) if match else {}
    except yaml.YAMLError:
        return {}
    return fields if isinstance(fields, dict) else {}


def parts(metadata: Mapping) -> dict[str, str]:
    """Texts of the card by the mark between which they stand."""
    return {
        "summary": summary(metadata),
        "scope": metadata.get("out_of_scope", DEFAULTS["out_of_scope"]),
        "bias": metadata.get("bias", DEFAULTS["bias"]),
        "citation": citation(metadata),
    }


def summary(metadata: Mapping) -> str:
    """Three lines: what it does, what it reached on how many people, and its weakest point."""
    words_of = (metadata["description"], f"{metadata['headline']}; {people(metadata)}.", weakest_point(metadata))
    return "\n".join(f"- **{what}.** {words}" for what, words in zip(SUMMARY, words_of, strict=True))


def people(metadata: Mapping) -> str:
    """On how many people the headline was measured, in words."""
    n = metadata.get("test_people")
    if n is None:
        return "how many people were measured is not told"
    return "measured on no person" if n == 0 else f"measured on {n} {'person' if n == 1 else 'people'}"


def weakest_point(metadata: Mapping) -> str:
    """What a reader must know first, told by the author, else the first sentence of the limits."""
    return metadata.get("weakest_point") or re.split(r"(?<=\.)\s", metadata["limits"])[0]


def in_short(metadata: Mapping, what: str) -> str:
    """What a bundle takes ("input") or gives ("output") in a few words; by default the beginning of the long text."""
    long = metadata["accepts" if what == "input" else "gives"]
    return metadata.get("in_short", {}).get(what) or re.split(r"[;(]", long)[0].strip()


def citation(metadata: Mapping) -> str:
    """What to cite: the method, by its first reference, and the bundle with its version."""
    bundle = (
        f"diffzoo contributors. {metadata['name']} {metadata['version']} of diffzoo, a clinical model zoo of diffusion models."
    )
    return f"The method:\n> {metadata['references'][0]}\n\nThis bundle and its weights:\n> {bundle}"


def folded(text: str, title: str = "All tables") -> str:
    """Markdown tables, folded where they are long."""
    if len(text.splitlines()) <= LONGEST_OPEN:
        return text
    return f"<details>\n<summary>{title}</summary>\n\n{text}\n\n</details>"


def replaced(text: str, mark: str, content: str) -> str | None:
    """A document with other text between `<!-- mark -->` and `<!-- /mark -->`; None where it has no such marks."""
    pattern = re.compile(rf"(<!-- {mark} -->\n).*?(<!-- /{mark} -->)", re.DOTALL)
    return pattern.sub(lambda m: f"{m[1]}{content}\n{m[2]}", text) if pattern.search(text) else None
