"""Benchmark models with ONNX Runtime: those of pytorch_benchmarks, exported, or any ONNX file. Never imports dlbs."""
