"""Base classes of TorchBench models whose network comes from another package."""
