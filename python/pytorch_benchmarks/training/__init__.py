"""Training to an accuracy: what `train.py` consists of, beside what it shares with the benchmarks."""
