"""A bundle in words, for `diffzoo info`."""

from diffzoo.zoo.bundle import Bundle
from diffzoo.zoo.card import people, weakest_point
from diffzoo.zoo.scan import scan
from diffzoo.zoo.trust import LEVELS, level_of


def describe(bundle: Bundle) -> str:
    """Some screens of text from metadata.json and the comments of inference.yaml."""
    data = bundle.metadata
    lines = [f"{bundle.name} {data['version']}: {data['description']}", ""]
    lines += [f"use     {data['intended_use']}", f"limits  {data['limits']}"]
    lines += [f"input   {data['accepts']}", f"output  {data['gives']}", f"result  {data['headline']}; {people(data)}"]
    lines += [f"weak    {weakest_point(data)}", ""]
    lines.append("parameters (--set key=value):")
    parameters = bundle.parameters()
    width = max(len(name) for name in parameters)
    for p in parameters.values():
        lines.append(f"  {p.name:<{width}}  {_shown(p.default):<14} {p.help}{f' [{p.words}]' if p.words else ''}".rstrip())
    lines += ["", "licences: " + ", ".join(f"{what} {spdx}" for what, spdx in data["licenses"].items())]
    lines += ["references: " + "; ".join(data["references"])]
    overlays = sorted(p.stem for p in (bundle.root / "configs").glob("*.yaml"))
    refused = [finding for finding in scan(bundle.root) if finding.severity == "refuse"]
    level = level_of(bundle.root)
    lines.append(f"trust: refused by the scan: {refused[0]}" if refused else f"trust: {level}, {LEVELS[level]}")
    lines += [f"configs: {', '.join(overlays)}; weights sha256 {data['weights_sha256'][:16]}", str(bundle.root)]
    return "\n".join(lines)


def _shown(value) -> str:
    return "none" if value is None else str(value).lower() if isinstance(value, bool) else str(value)
