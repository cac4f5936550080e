"""New packs from templates."""

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
    """Copy a template under a new name; it is whole or not there.

    Args:
        name: An identifier, because a pack may be imported.
        template: One of `TEMPLATES`.
        destination: Directory in which the pack's own is made.

    Returns:
        The pack's directory.

    Raises:
        ConfigError: The name is no identifier, or the directory is there already.
    """
    if not name.isidentifier() or keyword.iskeyword(name):
        raise ConfigError(
            f"{name!r} cannot be the name of a pack", where="NAME", hint="letters, digits and _, not a digit first"
        )
    target = destination / name
    if target.exists():
        raise ConfigError("is there already", where=str(target), hint="choose another name, or --dest")
    try:
        destination.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=destination) as temporary:
            made = Path(temporary) / name
            shutil.copytree(_DIRECTORY / template, made, ignore=shutil.ignore_patterns("__pycache__"))
            if template == "benchmark":  # the one that is used where a pack has none, to be changed
                shutil.copy(dlbs_root() / "python" / "pack_runner" / "voirfile.py", made / "voirfile.py")
            for path in made.rglob("*"):
                if path.is_file():
                    path.write_text(path.read_text(encoding="utf-8").replace("NAME", name), encoding="utf-8")
            os.rename(made, target)
    except OSError as error:
        raise ConfigError(f"cannot be written: {error.strerror}", where=str(target)) from None
    return target
