"""Benchmark models with ONNX Runtime: exported from pytorch_benchmarks, or any ONNX file. Never imports dlbs."""
