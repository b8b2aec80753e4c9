"""Reconstruction of MR images from undersampled k-space."""
