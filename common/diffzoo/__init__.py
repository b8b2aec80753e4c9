"""diffzoo: a clinical model zoo of diffusion models."""

from importlib.metadata import PackageNotFoundError, version

try:
    __version__ = version("diffzoo")
except PackageNotFoundError:  # run from the source tree
    __version__ = "0"


def load(name: str):
    """A bundle ready to work: `.run(inputs, output)`, `.evaluate(data, output)`, `.predict(array, spacing=...)` (`zoo.model`)."""
    from diffzoo.zoo.model import Model

    return Model(name)
