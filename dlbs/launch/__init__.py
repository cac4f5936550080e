"""Launching resolved experiments: launcher scripts, containers, images."""
