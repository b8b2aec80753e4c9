"""Writes docs/api.md from the docstrings of the package, by griffe2md, which reads sources and imports nothing.

python tools/write_api.py [--output docs/api.md]
"""

import argparse
import re
import sys
from collections.abc import Sequence
from pathlib import Path

from diffzoo.imaging.io.files import write_bytes

ROOT = Path(__file__).resolve().parents[1]
TITLE = """# The functions

Made from the docstrings by `make docs`. What a person calls comes first, then what configs are made of, then the mathematics.

"""
MODULES = (
    *("diffzoo", "diffzoo.zoo.model", "diffzoo.zoo.bundle", "diffzoo.components", "diffzoo.spaces"),
    *("diffzoo.diffusion.schedule", "diffzoo.diffusion.precond", "diffzoo.diffusion.denoiser", "diffzoo.diffusion.samplers"),
    *("diffzoo.diffusion.deterministic", "diffzoo.diffusion.stochastic"),
    *("diffzoo.diffusion.guidance", "diffzoo.diffusion.posterior", "diffzoo.diffusion.noise", "diffzoo.operators.base"),
    *("diffzoo.operators.fourier", "diffzoo.operators.masks", "diffzoo.operators.coils", "diffzoo.operators.radon"),
)
CONFIG = {
    "members_order": "source",
    "show_submodules": False,
    "filters": ["!^_"],
    "show_signature_annotations": False,
}  # the generator lends one to what has none


def api() -> str:
    """The page."""
    from griffe import GriffeLoader
    from griffe2md import default_config, render_object_docs

    loader = GriffeLoader(search_paths=[str(ROOT / "common")])
    package = loader.load("diffzoo")
    config = {**default_config, **CONFIG, "heading_level": 2}
    modules = [package if name == "diffzoo" else package[name.removeprefix("diffzoo.")] for name in MODULES]
    for module in modules:
        for name in [name for name, member in module.members.items() if member.is_alias]:
            del module.members[name]  # what is imported is told where it is from
    texts = [render_object_docs(module, config).strip() for module in modules]
    return TITLE + linked("\n\n".join("\n".join(map(str.rstrip, text.splitlines())) for text in texts)) + "\n"


def linked(text: str) -> str:
    """The same with links to headings as repository hosts name these, without links to what has none."""
    known = set(re.findall(r"^#+ `([\w.]+)`$", text, re.MULTILINE))

    def anchor(match: re.Match) -> str:
        words, target = match[1], match[2]
        return f"[{words}](#{target.replace('.', '').lower()})" if target in known else words

    return re.sub(r"\[([^\]\n]+)\]\(#([\w.]+)\)", anchor, text)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, default=ROOT / "docs" / "api.md")
    options = parser.parse_args(arguments)
    try:
        write_bytes(options.output, api().encode())
    except ModuleNotFoundError as error:
        print(f"error: {error.name} is missing: pip install griffe2md", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
