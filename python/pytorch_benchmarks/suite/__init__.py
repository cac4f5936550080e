"""Models that are written as packages of a suite: a directory with a class `Model(BenchmarkModel)`."""
