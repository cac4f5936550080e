"""Plots of results, drawn by matplotlib without a screen."""
