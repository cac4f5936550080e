"""Download and create the data of main.py, so that it needs no network. Runs once, in the pack's environment. Delete it if unused."""

import os
from pathlib import Path

if __name__ == "__main__":
    # Put data here, and weights into $XDG_CACHE_HOME, the default of frameworks.
    data = Path(os.environ["DLBS_DATA_DIR"]) / "NAME"
    data.mkdir(parents=True, exist_ok=True)
