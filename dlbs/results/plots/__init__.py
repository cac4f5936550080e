"""Plots of results with matplotlib, without a display."""
