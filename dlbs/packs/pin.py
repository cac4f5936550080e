"""Pin requirements of packs: write `requirements.VARIANT.txt` next to `requirements.in`."""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path

from dlbs.errors import LaunchError
from dlbs.files import write_atomically
from dlbs.jsonio import load_json
from dlbs.packs.definition import Pack, check_component
from dlbs.packs.environments import Tell, run_command

__all__ = ["pin"]

_PIN_HEAD = "# Written by `dlbs pack pin"


def pin(packs: Iterable[Pack], variant: str, *, index: Sequence[str] = (), tell: Tell) -> None:
    """Write `requirements.<variant>.txt`: every package that `requirements.in` needs, with its exact version.

    pip resolves them in an empty environment, as for an installation. Packs of one install group get the same versions.

    Args:
        packs: Packs to pin.
        variant: `cpu`, `cuda` or `rocm`; or another name.
        index: Further package indices, such as one with builds for a kind of GPU.
        tell: Called with each line for the user.

    Raises:
        ConfigError: The variant cannot be part of a file name.
        LaunchError: The requirements conflict, or a file of this name exists that dlbs did not write.
    """
    check_component(variant, "a variant", "--variant")
    grouped: dict[str, list[Pack]] = {}
    for pack in packs:
        if (pack.directory / "requirements.in").is_file():
            _check_pin(pack.directory / f"requirements.{variant}.txt")
            grouped.setdefault(pack.install_group, []).append(pack)
        else:
            tell(f"{pack.name}: no requirements.in, nothing to pin")
    for group, members in grouped.items():
        with tempfile.TemporaryDirectory() as temporary:
            python, report = Path(temporary) / "venv" / "bin" / "python", Path(temporary) / "report.json"
            run_command(
                [sys.executable, "-m", "venv", str(Path(temporary) / "venv")],
                f"{group}: an empty environment",
                tell=tell,
            )
            command = [
                str(python),
                "-m",
                "pip",
                "install",
                "--quiet",
                "--disable-pip-version-check",
                "--dry-run",
                "--report",
                str(report),
            ]
            for url in index:
                command += ["--extra-index-url", url]
            for pack in members:
                command += ["-r", str(pack.directory / "requirements.in")]
            run_command(command, f"{group}: requirements.in", tell=tell)
            found = load_json(report.read_text())["install"]
        lines = sorted(f"{one['metadata']['name'].lower()}=={one['metadata']['version']}" for one in found)
        options = "".join(f"--extra-index-url {url}\n" for url in index)
        head = f"{_PIN_HEAD} --variant {variant}` from requirements.in; install group {group}.\n"
        for pack in members:
            target = pack.directory / f"requirements.{variant}.txt"
            with write_atomically(target, follow=False) as stream:
                stream.write(head + options + "\n".join(lines) + "\n")
            tell(f"{pack.name}: {len(lines)} packages → {target}")


def _check_pin(target: Path) -> None:
    """Raise a LaunchError if a file exists that was not written by pinning."""
    if not os.path.lexists(target):
        return
    try:
        written = target.is_file() and target.read_text(encoding="utf-8", errors="replace").startswith(_PIN_HEAD)
    except OSError:
        written = False
    if not written:
        raise LaunchError("was not written by dlbs, so it is not replaced", where=str(target), hint="remove it first")
