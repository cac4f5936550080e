"""Development tools for dlbs, and the templates of launchers."""

from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
