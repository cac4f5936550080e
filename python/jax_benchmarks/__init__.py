"""Benchmark models in plain JAX that are the same as those of pytorch_benchmarks. Needs no PyTorch, and never imports dlbs."""
