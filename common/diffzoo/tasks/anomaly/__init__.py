"""Anomaly detection: what a prior of healthy anatomy would change in a brain MR."""
