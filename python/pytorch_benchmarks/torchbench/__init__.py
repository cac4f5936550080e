"""Models written for TorchBench: a directory with a class `Model(BenchmarkModel)`."""
