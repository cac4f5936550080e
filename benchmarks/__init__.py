"""Scripts that measure the performance of dlbs and pytorch_benchmarks."""
