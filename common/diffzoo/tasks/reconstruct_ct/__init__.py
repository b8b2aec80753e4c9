"""Reconstruction of CT images from a limited arc of projections."""
