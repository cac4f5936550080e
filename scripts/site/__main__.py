"""Build the site and the man pages; a warning of the build is an error."""

from __future__ import annotations

import argparse
import importlib.util
import os
import shutil
import subprocess
import sys
from pathlib import Path

from scripts import ROOT
from scripts.site.commands import commands, man_page


def _write_man_pages(directory: Path) -> int:
    """Write a man page for each command; returns the number of pages."""
    section = directory / "man1"
    shutil.rmtree(section, ignore_errors=True)
    section.mkdir(parents=True)
    count = 0
    for count, one in enumerate(commands(), 1):  # noqa: B007 (it is returned)
        (section / f"{one.name.replace(' ', '-')}.1").write_text(man_page(one), encoding="utf-8")
    return count


def _draw_images() -> None:
    """Regenerate the images of the manual, if their script exists."""
    if importlib.util.find_spec("scripts.plot_images"):
        subprocess.run([sys.executable, "-m", "scripts.plot_images"], cwd=ROOT, check=True, stdout=subprocess.DEVNULL)


def main() -> None:
    """Build everything."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--output", type=Path, default=ROOT / "site")
    parser.add_argument("--man", type=Path, default=ROOT / "man")
    given = parser.parse_args()
    count = _write_man_pages(given.man)
    print(f"{count} man pages: {given.man}", flush=True)
    _draw_images()
    command = [
        sys.executable,
        "-m",
        "mkdocs",
        "build",
        "--strict",
        "--clean",
        "--site-dir",
        str(given.output.absolute()),
    ]
    environment = {**os.environ, "NO_MKDOCS_2_WARNING": "1"}  # suppress advertising of the theme
    code = subprocess.run(command, cwd=ROOT, env=environment, check=False).returncode
    if code:
        sys.exit(code)
    print(f"site: {given.output}")


if __name__ == "__main__":
    main()
