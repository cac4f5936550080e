"""Measurements of models and harness on a GPU, as ratios of two sides that alternate in one process."""
