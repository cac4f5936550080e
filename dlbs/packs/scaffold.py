"""Create packs from templates."""

from __future__ import annotations

import keyword
import os
import shutil
import tempfile
from pathlib import Path

from dlbs.errors import ConfigError
from dlbs.files import dlbs_root

__all__ = ["TEMPLATES", "new_pack"]

_DIRECTORY = Path(__file__).parent / "templates"
TEMPLATES = ("benchmark", "model", "architecture", "container")


def new_pack(name: str, template: str, destination: Path) -> Path:
    """Copy a template under a new name, completely or not at all.

    Args:
        name: An identifier, because packs may be imported.
        template: One of `TEMPLATES`.
        destination: Directory in which the pack's directory is created.

    Returns:
        The pack's directory.

    Raises:
        ConfigError: The name is not an identifier, or the directory exists.
    """
    if not name.isidentifier() or keyword.iskeyword(name):
        raise ConfigError(
            f"{name!r} is not a valid name of a pack",
            where="NAME",
            hint="use letters, digits and _; do not begin with a digit",
        )
    target = destination / name
    if target.exists():
        raise ConfigError("already exists", where=str(target), hint="choose another name or --dest")
    try:
        destination.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=destination) as temporary:
            made = Path(temporary) / name
            shutil.copytree(_DIRECTORY / template, made, ignore=shutil.ignore_patterns("__pycache__"))
            if template == "benchmark":  # the default voirfile, to be edited
                shutil.copy(dlbs_root() / "python" / "pack_runner" / "voirfile.py", made / "voirfile.py")
            for path in made.rglob("*"):
                if path.is_file():
                    path.write_text(path.read_text(encoding="utf-8").replace("NAME", name), encoding="utf-8")
            os.rename(made, target)
    except OSError as error:
        raise ConfigError(f"cannot be written: {error.strerror}", where=str(target)) from None
    return target
