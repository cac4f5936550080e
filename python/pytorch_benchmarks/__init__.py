"""Benchmarks of PyTorch models. Standalone: needs torch, and never imports dlbs.

python benchmarks.py --model alexnet
"""
