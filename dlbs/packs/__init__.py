"""Packs: benchmarks, models, architectures and containers that are added without changing the code."""
