"""Linear forward models with exact adjoints, sampling masks and coil sensitivity maps; they need torch alone."""
