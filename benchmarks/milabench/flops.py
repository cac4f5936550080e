"""Multiply matrices, and report the floating-point operations per second."""

import argparse
import time

import torch
from giving import give


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--size", type=int, default=512)
    parser.add_argument("--seconds", type=float, default=0.25, help="of a measurement")
    options = parser.parse_args()
    torch.manual_seed(0)
    size = options.size
    left, right, product = torch.randn(size, size), torch.randn(size, size), torch.empty(size, size)
    torch.mm(left, right, out=product)
    while True:  # the voirfile ends it
        count, start = 0, time.perf_counter()
        while (seconds := time.perf_counter() - start) < options.seconds:
            torch.mm(left, right, out=product)
            count += 1
        give(task="train", rate=2e-12 * size**3 * count / seconds, units="Tflops")


if __name__ == "__main__":
    main()
