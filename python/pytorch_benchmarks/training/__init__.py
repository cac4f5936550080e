"""Training to an accuracy: the parts of `train.py` that benchmarks do not share."""
