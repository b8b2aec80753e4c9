"""Whether an image fits the data that it was reconstructed from. Light: no torch here."""

from collections.abc import Mapping

MOST = 0.3  # residual |A x - y| / |y|; evaluations of the zoo stay below 0.03


def misfit(case: Mapping) -> list[str]:
    """A text where the record of a case tells of a residual that is too large, or of none that is a number."""
    residual = case.get("data_residual", 0.0)
    return [] if residual <= MOST else [f"the image does not fit the measured data: {residual:.0%} of them are left over"]
