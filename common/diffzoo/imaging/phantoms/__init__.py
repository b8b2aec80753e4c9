"""Simulated 2D CT slices of chest, abdomen, head and luggage in Hounsfield units, to widen a small training set."""

from diffzoo.imaging.phantoms.slices import KINDS, cormack_to_hu, phantom

__all__ = ["KINDS", "cormack_to_hu", "phantom"]
