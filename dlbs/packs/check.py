"""What would fail about a pack, found before anything of it is installed or run."""

from __future__ import annotations

import ast
from collections.abc import Iterator

from dlbs.packs.definition import Pack
from dlbs.packs.environments import UNPINNED
from dlbs.packs.extend import starts_itself, uses_voir
from dlbs.packs.places import Places

__all__ = ["Finding", "check_pack"]

Finding = tuple[bool, str]  # whether it is fine, and what was looked at


def check_pack(pack: Pack) -> Iterator[Finding]:
    """Look at a pack, without running anything of it."""
    yield True, f"definition: {pack.where}"
    if pack.kind == "benchmark":
        yield from _check_benchmark(pack)


def _check_benchmark(pack: Pack) -> Iterator[Finding]:
    for name in ("main.py", "prepare.py", "voirfile.py", "benchfile.py"):
        path = pack.directory / name
        if not path.is_file():
            continue
        try:
            ast.parse(path.read_bytes(), str(path))
        except (SyntaxError, ValueError) as error:
            yield False, f"{name}: line {getattr(error, 'lineno', '?')}: {getattr(error, 'msg', error)}"
        else:
            yield True, f"{name} is Python"
    has_readme = any((pack.directory / name).is_file() for name in ("README.md", "Readme.md", "README.rst"))
    yield has_readme, "README.md says what is measured" if has_readme else "there is no README.md"
    unpinned = pack.directory / "requirements.in"
    if pack.install_variant == UNPINNED:
        yield True, "requirements: unpinned" if unpinned.is_file() else "requirements: none"
    elif unpinned.is_file():
        pinned = pack.directory / f"requirements.{pack.install_variant}.txt"
        there = pinned.is_file()
        yield (
            there,
            f"requirements: {pinned.name}"
            + ("" if there else f" is missing: dlbs pack pin {pack.name} --variant {pack.install_variant}"),
        )
    if uses_voir(pack.directory):
        yield True, "measured by voir"
    else:
        source = (
            (pack.directory / "main.py").read_text(encoding="utf-8", errors="replace")
            if (pack.directory / "main.py").is_file()
            else ""
        )
        tells = "results." in source or starts_itself(pack.directory)
        yield tells, "prints results" if tells else "main.py neither uses voir nor prints __results.throughput__="
    installed = Places.of().python(pack).exists()
    yield (
        True,
        f"environment {Places.of().environment(pack)}: "
        + ("installed" if installed else f"not there yet (dlbs pack install {pack.name})"),
    )
