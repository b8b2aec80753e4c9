"""A new bundle to start from, and simulated volumes to try it on. Light: torch comes when something is made."""

from .make import new
from .words import split_of

__all__ = ["new", "split_of"]
