"""The measured script, an ordinary program: `python main.py` runs it too."""

import argparse
import time

import voir
from giving import give


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--batch-size", type=int, default=64)
    options = parser.parse_args()
    # Each iteration of this loop is a batch; voir measures instances per second.
    for step in voir.iterate("train", range(100_000), report_batch=True, batch_size=options.batch_size):
        time.sleep(0.01)  # replace this with your work
        give(loss=1 / (step + 1))


if __name__ == "__main__":
    main()
