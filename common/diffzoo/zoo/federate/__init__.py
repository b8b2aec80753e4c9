"""Federated fine-tuning: one bundle, several sites, and scans that stay where they are. Light."""
