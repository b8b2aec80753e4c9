"""A simulated scan for the tests: that of `diffzoo verify`."""

from diffzoo.imaging.phantoms.volumes import slab as anatomy

__all__ = ["anatomy"]
