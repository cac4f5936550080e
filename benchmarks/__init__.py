"""Scripts that measure dlbs and pytorch_benchmarks."""
