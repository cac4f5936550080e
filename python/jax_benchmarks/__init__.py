"""Benchmark JAX ports of models of pytorch_benchmarks. Needs no PyTorch, and never imports dlbs."""
