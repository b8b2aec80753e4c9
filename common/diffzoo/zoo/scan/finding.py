"""What the scan says: one line about one place."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Finding:
    """One thing found in a bundle: the file (relative to its root), the place in it (config id, section), rule, and remedy.

    severity: "refuse" for what the scan cannot prove harmless, "note" for what is merely not part of a bundle.
    """

    file: str
    where: str
    rule: str
    what: str
    remedy: str
    severity: str = "refuse"

    def __str__(self) -> str:
        place = f"{self.file}, {self.where}" if self.where else self.file
        return f"{place}: {self.what}; {self.remedy}"


def shown(value: object, width: int = 60) -> str:
    """A foreign value for a one-line message: quoted, in plain ASCII without control characters, clipped."""
    text = value if isinstance(value, str) else repr(value)
    clipped = text if len(text) <= width else f"{text[:width]}..."
    return ascii(clipped)
