"""Paths with the file operations of benchfiles: clone a repository, substitute text, remove."""

from __future__ import annotations

import os
import pathlib
import shutil
import subprocess
import tempfile

from dlbs.errors import LaunchError

__all__ = ["XPath"]


class XPath(pathlib.PosixPath):
    """A path of a benchfile."""

    def clone_subtree(self, remote: str, commit: str, subtree: str | None = None) -> None:
        """Check out a commit of a Git repository, or a directory of it, at this path.

        Args:
            remote: URL of the repository.
            commit: Commit, branch or tag.
            subtree: Directory in it; the entire repository by default.

        Raises:
            LaunchError: git fails, or the repository has no such directory.
        """
        self.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix="dlbs-clone-", dir=self.parent) as directory:
            clone = pathlib.Path(directory, "clone")
            _git("clone", "--no-checkout", "--", remote, str(clone))
            _git("-C", str(clone), "checkout", "--quiet", commit, "--")
            source = clone / subtree if subtree else clone
            if not source.is_dir():
                raise LaunchError(f"has no directory {subtree}", where=f"{remote} at {commit}")
            if self.exists():
                shutil.copytree(source, self, dirs_exist_ok=True)
            else:
                os.replace(source, self)

    def sub(self, pattern: str, replacement: str) -> None:
        """Substitute all matches of a regular expression in this text file."""
        import re

        text = self.read_text(encoding="utf-8")
        self.write_text(re.sub(pattern, replacement, text), encoding="utf-8")

    def rm(self) -> None:
        """Remove this file, or this directory with its content."""
        if self.is_dir() and not self.is_symlink():
            shutil.rmtree(self)
        else:
            self.unlink()

    def copy_from(self, other: str | os.PathLike[str]) -> None:
        """Copy a file to this path."""
        shutil.copy(other, self)


def _git(*words: str) -> None:
    environment = {**os.environ, "GIT_TERMINAL_PROMPT": "0"}
    try:
        done = subprocess.run(["git", *words], capture_output=True, text=True, env=environment, check=False)
    except OSError as error:
        raise LaunchError(f"cannot be started: {error.strerror}", where="git", hint="install git") from None
    if done.returncode != 0:
        last = done.stderr.strip().splitlines()[-1:] or [f"exit code {done.returncode}"]
        raise LaunchError(f"git {words[0] if words[0] != '-C' else words[2]} failed: {last[0]}")
