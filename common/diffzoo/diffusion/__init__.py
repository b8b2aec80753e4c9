"""The mathematics of diffusion in one coordinate, x = x0 + sigma n: grids, preconditioners, samplers, guidance, rules."""
