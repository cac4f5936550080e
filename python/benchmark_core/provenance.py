"""Revision of the code that ran."""

from __future__ import annotations

from pathlib import Path

from benchmark_core.files import line_of


def git_revision(path: Path) -> str | None:
    """The checked-out commit of the files around `path`, read without git; None outside a checkout."""
    for directory in path.parents:
        git = directory / ".git"
        if git.is_file():  # a worktree: the file contains the path of its directory
            git = directory / git.read_text().removeprefix("gitdir:").strip()
        head = line_of(str(git / "HEAD"))
        if head is None:
            continue
        if not head.startswith("ref: "):
            return head
        name = head.removeprefix("ref: ")
        common = git / (line_of(str(git / "commondir")) or ".")
        return line_of(str(common / name)) or _packed(common / "packed-refs", name)
    return None


def _packed(path: Path, name: str) -> str | None:
    try:
        lines = path.read_text().splitlines()
    except OSError:
        return None
    return next((line.split()[0] for line in lines if line.endswith(f" {name}")), None)
