"""Whether a finished experiment would run other code, packages or images now, and the differences in words."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

from benchmark_core.provenance import (
    FOLDER,
    OWN,
    Repository,
    Software,
    digest_of,
    digest_of_bytes,
    git_seconds,
    in_time,
    shebang,
)
from dlbs.core.errors import LogError, log
from dlbs.core.files import dlbs_root, read_small
from dlbs.core.logs import ENGINES
from dlbs.core.text import counted, first_few, text

_LARGEST_LIST = 4 << 20  # bytes of a list of packages
_GIT_SECONDS = 2.0  # at least: once in a run
_DOCKER_SECONDS = 10.0
_NODE_SECONDS = 10.0
_SECONDS = 10.0 + max(_DOCKER_SECONDS, _NODE_SECONDS)  # of all about an experiment
_PREFIXES = ("exp.code.", "exp.software.", "exp.docker", "exp.nodes")


class Version(NamedTuple):
    """A commit with the digest of the difference to it: empty without one, None if unknown."""

    commit: str | None
    diff: str | None = ""

    @property
    def words(self) -> str:
        """`a1b2c3d`, or `a1b2c3d-dirty`."""
        return f"{(self.commit or 'unknown')[:7]}{'-dirty' if self.diff else ''}"

    def change(self, other: Version) -> str:
        """`a1b2c3d → 9f8e7d6`, `a1b2c3d → dirty`; empty if nothing is known to differ."""
        if self.commit != other.commit:
            return f"{self.words} → {other.words}" if self.commit and other.commit else ""
        if self.diff == other.diff or None in (self.diff, other.diff):
            return ""
        if self.diff and other.diff:
            return f"{self.words}, changed again"
        return " → ".join("dirty" if one.diff else one.words for one in (self, other))


def packages_in(lines: Sequence[str]) -> dict[str, str]:
    """Package → version, or the address that it was installed from; `python` is the interpreter."""
    found = {}
    for line in lines:
        match = re.fullmatch(r"# Python (.*)|(?:# (?:editable|system): )?([\w.-]+)(?:==| @ )(.*)", line)
        if match is not None:
            found[match[2] or "python"] = match[1] if match[2] is None else match[3]
    return found


def different(before: Mapping[str, str], after: Mapping[str, str]) -> list[str]:
    """Packages whose versions differ; of an interpreter, the last part may be unknown: 3.11 is no other than 3.11.2."""
    names = [name for name in sorted({*before, *after}) if before.get(name) != after.get(name)]
    pythons = f"{before.get('python')}.", f"{after.get('python')}."
    is_same = pythons[0].startswith(pythons[1]) or pythons[1].startswith(pythons[0])
    return [name for name in names if name != "python" or not is_same]


def package_words(before: Mapping[str, str], after: Mapping[str, str], decisive: Sequence[str] = ()) -> str:
    """`torch 2.12.0 → 2.13.0, 3 other packages`: the differences between two environments, the decisive packages first."""
    changed = different(before, after)
    changed.sort(key=lambda name: (name != "python", name not in decisive))
    named = [name for name in changed if name == "python" or name in decisive] or changed[:1]
    words = [f"{name} {before.get(name, 'missing')} → {after.get(name, 'missing')}" for name in named[:3]]
    others = len(changed) - len(words)
    return ", ".join([*words, *([counted(others, "other package")] if others else [])])


def package_list(log: Path, values: Mapping[str, Any]) -> list[str]:
    """The list of packages of an experiment: from its log or from the file beside it; empty if it is missing or damaged."""
    lines = values.get("exp.software.package_list")
    if isinstance(lines, list):
        return list(map(text, lines))
    content = kept(log, text(values.get("exp.software.packages")), ".txt")
    return (content or b"").decode("utf-8", "replace").splitlines()


def kept(log: Path, digest: str, ending: str, limit: int = _LARGEST_LIST) -> bytes | None:
    """A file that was kept beside a log under its digest; None if it is missing or has another content."""
    if re.fullmatch("[0-9a-f]{16}", digest) is None:
        return None
    try:
        content = read_small(log.parent / FOLDER / f"{digest}{ending}", limit)
    except (OSError, LogError):
        return None
    return content if content is not None and digest_of_bytes(content) == digest else None


def version_of(values: Mapping[str, Any]) -> Version:
    """The version of the code that a log names."""
    diff = text(values.get("exp.code.diff")) or ("" if values.get("exp.code.dirty") is False else None)
    return Version(text(values.get("exp.code.commit")) or None, diff)


def files_that_ran(
    values: Mapping[str, Any], directory: Path, tree: Path | None = None
) -> Iterator[tuple[str, Path, object]]:
    """Name, place and logged digest of each file that ran, without those of a container image; of our programs, also of their data.

    Args:
        values: Values of the log.
        directory: The working directory.
        tree: Another checkout, for files of the one in the log.
    """
    files, data = (one if isinstance(one := values.get(f"exp.code.{name}"), dict) else {} for name in ("files", "data"))
    root = text(values.get("exp.code.root"))
    inputs = data if any(name.startswith(OWN) for name in files) and not values.get("exp.docker") else {}
    for name, digest in (*files.items(), *inputs.items()):
        own, path = name.removeprefix(OWN), directory / name
        if name.startswith(OWN):
            here = tree / "python" / own if tree else None
            path = here if here and here.is_dir() else dlbs_root() / "python" / own
        elif Path(name).is_absolute():
            if values.get("exp.docker"):
                continue
            path = tree / path.relative_to(root) if tree and path.is_relative_to(root) else path
        yield own, path, digest


class Current:
    """The code, packages and images that would run now; each is inspected once.

    Args:
        ssh: Makes the command that runs bash on a node, to ask it within some seconds; without it, nothing is known about nodes.
    """

    def __init__(self, ssh: Callable[[str, float], list[str]] | None = None) -> None:
        self._ssh = ssh
        self._digest, self._software, self._image_id = cache(digest_of), cache(Software.of), cache(image_id)
        self._versions: dict[Path, Version] = {}
        self._changes: dict[str, str] = {}
        self._hanging: set[Path] = set()

    def change(
        self,
        ending: Mapping[str, Any],
        path: Path,
        directory: Path | None = None,
        experiment: Mapping[str, Any] | None = None,
    ) -> str:
        """The differences to a finished experiment: `bench.py changed (a1b2c3d → dirty)`; empty if none is known.

        Args:
            ending: Values near the end of its log.
            path: Its log.
            directory: The working directory now; by default, that of the log.
            experiment: The experiment that would run now. It chooses the docker command and the nodes that are asked: a log must not.
        """
        known = {name: value for name, value in ending.items() if name.startswith(_PREFIXES)}
        if experiment:
            known["exp.docker_launcher"] = experiment.get("exp.docker_launcher")
        elif text(known.get("exp.docker_launcher")) not in ("", *ENGINES):
            known["exp.docker_image_id"] = None
        known["exp.nodes"] = (experiment or known).get("exp.nodes")
        directory = directory or Path(text(known.get("exp.code.directory")))
        key = f"{known}{directory}"
        if key not in self._changes and directory not in self._hanging:
            try:
                words = in_time(lambda: [*self._found(known, path, directory)], _SECONDS)
            except TimeoutError:
                self._hanging.add(directory)
                question = "changes of code are unknown: is a file system hanging?"
                log("warning", "%s: not read within %g s; %s", directory, _SECONDS, question)
                return ""
            self._changes[key] = "; ".join(filter(None, words))
        return self._changes.get(key, "")

    def _found(self, known: Mapping[str, Any], log: Path, directory: Path) -> Iterator[str]:
        if known.get("exp.nodes"):
            yield self._code_on_node(known, directory, self._ssh) if self._ssh else ""
            return
        if not os.path.isdir(directory):
            return
        yield self._code(known, directory)
        yield from self._editable(known)
        yield self._image(known) if known.get("exp.docker") else self._packages(known, log, directory)

    def _code(self, known: Mapping[str, Any], directory: Path) -> str:
        root, before = text(known.get("exp.code.root")), version_of(known)
        files = list(files_that_ran(known, directory))
        local = [path for name, path, _ in files if not Path(name).is_absolute() or path.is_relative_to(root)]
        changed = {name: path for name, path, one in files if one is not None and self._digest(path) != one}
        if changed:
            path = next(iter(changed.values()))
            words = before.change(self._version(path, local)) if path.is_relative_to(root) else ""
            return f"{first_few([*changed])} changed{f' ({words})' if words else ''}"
        repository = Repository.around(directory / "_")
        # Files of an interpreted program, and compiled ones, are all that runs; `make` and others have more.
        is_complete = known.get("exp.software.interpreter") or any(
            os.access(path, os.X_OK) and not shebang(path) for path in local
        )
        if (local and is_complete) or before.commit is None or repository is None or str(repository.root) != root:
            return ""
        words = before.change(self._version(directory / "_"))
        return f"the repository changed ({words})" if words else ""

    def _code_on_node(self, known: Mapping[str, Any], directory: Path, ssh: Callable[[str, float], list[str]]) -> str:
        """The files that have changed on the first node, which logged their digests; it needs no more than GNU's coreutils."""
        node = re.split(r"[,\s]+", text(known["exp.nodes"]).strip())[0]
        logged = [(name, one) for name, path, one in files_that_ran(known, directory) if not path.is_dir()]
        names = shlex.join(name for name, _ in logged)
        script = (
            f'cd -- {shlex.quote(str(directory))} && for file in {names}; do b2sum -l 64 <"$file" || echo gone; done\n'
        )
        try:
            done = subprocess.run(
                ssh(node, _NODE_SECONDS), input=script, capture_output=True, text=True, errors="replace",
                timeout=_NODE_SECONDS, check=False,
            )  # fmt: skip
        except (OSError, subprocess.TimeoutExpired):
            return ""  # the next run on it reports that
        now = [line.partition(" ")[0] for line in done.stdout.splitlines()]
        if len(now) != len(logged):
            return ""
        pairs = zip(logged, now, strict=True)
        changed = [name for (name, one), here in pairs if not text(one).startswith("~") and here != one]
        return f"{first_few(changed)} changed on {node}" if changed else ""

    def _version(self, path: Path, code: Sequence[Path] = ()) -> Version:
        """The version of the checkout around a file; new files among the code belong to it, too."""
        repository = Repository.around(path)
        if repository is None:
            return Version(None, None)
        if repository.root not in self._versions:
            state = repository.state(time.monotonic() + max(_GIT_SECONDS, git_seconds()), code)
            self._versions[repository.root] = Version(**state)
        return self._versions[repository.root]

    def _editable(self, known: Mapping[str, Any]) -> list[str]:
        packages = known.get("exp.code.editable")
        words = []
        for name, one in packages.items() if isinstance(packages, dict) else ():
            if isinstance(one, dict) and os.path.isdir(text(one.get("path"))):
                before = Version(*(None if one.get(name) is None else text(one[name]) for name in Version._fields))
                if change := before.change(self._version(Path(text(one["path"])) / "_")):
                    words.append(f"package {name} changed ({change})")
        return words

    def _packages(self, known: Mapping[str, Any], log: Path, directory: Path) -> str:
        interpreter, digest = (text(known.get(f"exp.software.{name}")) for name in ("interpreter", "packages"))
        if not digest or not os.path.isfile(directory / interpreter):
            return ""
        now = self._software(str(directory / interpreter))
        if now.digest == digest:
            return ""
        before = packages_in(package_list(log, known))
        return package_words(before, packages_in(now.lines), [*now.decisive]) if before else "other packages"

    def _image(self, known: Mapping[str, Any]) -> str:
        before, image = text(known.get("exp.docker_image_id")), text(known.get("exp.docker_image"))
        now = self._image_id(text(known.get("exp.docker_launcher")) or "docker", image) if before else ""
        return f"image {image} changed ({_short(before)} → {_short(now)})" if now and before != now else ""


def _short(image: str) -> str:
    return image.removeprefix("sha256:")[:12]


def image_id(command: str, image: str) -> str:
    """The id of a container image on this machine; empty if it is missing or no daemon answers."""
    try:
        done = subprocess.run(
            [command, "image", "inspect", "--format", "{{.Id}}", "--", image],
            stdin=subprocess.DEVNULL, capture_output=True, errors="replace", timeout=_DOCKER_SECONDS, check=False,
        )  # fmt: skip
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""
