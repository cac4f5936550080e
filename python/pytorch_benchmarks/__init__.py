"""Benchmarks of PyTorch models. Stands alone: needs torch, and never imports dlbs.

python benchmarks.py --model alexnet
"""
