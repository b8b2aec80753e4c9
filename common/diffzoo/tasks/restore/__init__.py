"""Cleaner and finer images from noisy and coarse ones."""
