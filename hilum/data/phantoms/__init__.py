"""Synthetic data sets with known truth: one file each, `make(folder, cases, seed, ...)`; same seed, same bytes."""
