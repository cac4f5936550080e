"""Measurements, and their reports in the log."""
