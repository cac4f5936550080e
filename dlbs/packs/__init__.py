"""Packs: benchmarks, models and containers that are added from outside, without touching this code."""
