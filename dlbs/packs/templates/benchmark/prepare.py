"""Download and make whatever main.py needs, so that it needs no network. Runs once, in the pack's environment. Delete it if there is nothing to do."""

import os
from pathlib import Path

if __name__ == "__main__":
    # Data belong here; weights into $XDG_CACHE_HOME, where frameworks put them anyway.
    data = Path(os.environ["DLBS_DATA_DIR"]) / "NAME"
    data.mkdir(parents=True, exist_ok=True)
