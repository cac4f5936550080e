"""`python dlbs/experimenter.py`: the program `dlbs`, from a checkout that is not installed."""

import os
import sys

if __name__ == "__main__":
    sys.path[0] = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    from dlbs.cli import start

    start()
