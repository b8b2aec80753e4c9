"""The audit of a generator: what its samples copy from the people it was trained on, and how far they are from real. Light."""
