"""What reconstructions from any kind of measurement share: inferer, solver, report, table and classical baselines."""
