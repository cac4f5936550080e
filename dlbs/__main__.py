"""The entry point `python -m dlbs`."""

from dlbs.cli import start

if __name__ == "__main__":
    start()
