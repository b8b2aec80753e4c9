"""Deformable registration of two scans."""
