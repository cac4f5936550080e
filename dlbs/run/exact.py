"""Rebuild the code and software of a log: the checkout with its difference, the environment, the container image; pack it for other machines."""

from __future__ import annotations

import io
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

from benchmark_core.provenance import FOLDER, OWN, Repository, digest_of, digest_of_bytes, own_directory
from benchmark_core.text import one_line
from dlbs.errors import LogError
from dlbs.files import open_atomically, read_regular
from dlbs.run.provenance import image_id, kept, package_list
from dlbs.text import first_few, text

_LARGEST_DIFF = 64 << 20
_LARGEST_LOG = 4 << 30
_COMPLETE = ".complete"  # in an environment whose packages are all installed, beside a checkout with its difference
# Hooks and monitors of the repository have nothing to do here.
_GIT = ("git", "-c", "core.hooksPath=/dev/null", "-c", "core.fsmonitor=false", "-c", "advice.detachedHead=false")


class Rebuilt(NamedTuple):
    """Where an experiment can run again.

    Attributes:
        directory: The working directory.
        replaced: Paths of the first run → those that take their place.
        path: Directory of programs that comes first; None if no environment was built.
        image: The container image; empty outside of containers.
    """

    directory: Path
    replaced: dict[str, str]
    path: Path | None = None
    image: str = ""

    def applied(self, value: Any) -> Any:
        """A value of a parameter, with these paths instead of those of the first run."""
        if isinstance(value, str):
            places = "|".join(map(re.escape, sorted(self.replaced, key=len, reverse=True)))
            return re.sub(rf"(?<![\w./-])(?:{places})(?=/|:|$)", lambda found: self.replaced[found[0]], value)
        if isinstance(value, list):
            return [self.applied(one) for one in value]
        return {name: self.applied(one) for name, one in value.items()} if isinstance(value, dict) else value


def rebuild(
    log: Path, values: Mapping[str, Any], place: Path, repo: str | None, tell: Callable[[str], None]
) -> Rebuilt:
    """Build the checkout and the environment of an experiment; existing ones are used again.

    Args:
        log: Its log.
        values: All values of the log.
        place: Directory for checkouts and environments.
        repo: A clone that has the commit; None for the one that the log names.
        tell: Prints a line for the user.

    Raises:
        LogError: Something is missing, or cannot be built.
    """
    place, commit = place.absolute(), text(values.get("exp.code.commit"))
    unknown = values.get("exp.code.unknown")
    reasons = unknown if isinstance(unknown, dict) else {}
    root = text(values.get("exp.code.root"))
    if re.fullmatch("[0-9a-f]{40}|[0-9a-f]{64}", commit) is None or not os.path.isabs(root):
        why = text(reasons.get("commit")) or "it is older, or its program does not log it"
        raise LogError(
            f"names no commit: {why}", where=str(log), hint="dlbs rerun without --exact runs what is there now"
        )
    tree = _checkout(log, values, commit, Path(repo or root), place)
    tell(f"code: {commit[:7]}{' with its difference' if values.get('exp.code.diff') else ''} in {tree}")
    directory = Path(text(values.get("exp.code.directory")))
    if directory.is_relative_to(root):
        directory = tree / directory.relative_to(root)
    if not os.path.isdir(directory):
        raise LogError(f"the working directory {directory} does not exist", where=str(log))
    changed = _other_files(values, tree, directory, root)
    if changed:
        raise LogError(
            f"{first_few(changed)} cannot be restored: commit and difference do not contain them",
            where=str(log),
            hint=f"it ran with DLBS {text(values.get('exp.dlbs_version'))}; without --exact, dlbs rerun runs what is there now",
        )
    replaced = {root: str(tree)}
    if values.get("exp.docker"):
        return Rebuilt(directory, replaced, image=_image(log, values))
    interpreter = text(values.get("exp.software.interpreter"))
    lines = package_list(log, values)
    if not lines:
        if values.get("exp.software.packages"):
            raise LogError("the list of packages is missing or damaged", where=str(log.parent / FOLDER))
        tell(f"packages: unknown ({text(reasons.get('software') or reasons.get('packages')) or 'not logged'})")
        return Rebuilt(directory, replaced)
    environment = _environment(values, lines, place, root, tree, tell)
    return Rebuilt(directory, {**replaced, interpreter: str(environment / "bin" / "python")}, environment / "bin")


def _run(command: Sequence[object], where: str, what: str, hint: str = "", **options: Any) -> str:
    try:
        done = subprocess.run(
            [*map(str, command)],
            stdin=subprocess.DEVNULL, capture_output=True, errors="replace", check=False, **options,
        )  # fmt: skip
    except OSError as error:
        raise LogError(f"{command[0]} cannot be started: {error.strerror}", where=where, hint=hint) from None
    if done.returncode:
        raise LogError(f"{what}: {' '.join(done.stderr.split())[-600:]}", where=where, hint=hint)
    return str(done.stdout)


def _checkout(log: Path, values: Mapping[str, Any], commit: str, repo: Path, place: Path) -> Path:
    """A worktree at the commit, with the difference that was kept."""
    remote, digest = text(values.get("exp.code.remote")), text(values.get("exp.code.diff"))
    clone = f"clone {remote or 'the repository'} and give --repo DIR"
    if not repo.is_dir():
        raise LogError("the repository is not here", where=str(repo), hint=clone)
    _run(
        [*_GIT, "-C", repo, "cat-file", "-e", f"{commit}^{{commit}}"],
        str(repo),
        f"does not have the commit {commit[:12]}",
        f"fetch it, or {clone}",
    )
    tree = place / (f"{commit[:12]}-{digest[:8]}" if digest else commit[:12])
    complete = Path(f"{tree}{_COMPLETE}")
    if tree.is_dir() and complete.exists():
        return tree
    difference = kept(log, digest, ".diff", _LARGEST_DIFF) if digest else b""
    if difference is None:
        raise LogError(
            "the difference to the commit is missing or damaged", where=str(log.parent / FOLDER / f"{digest}.diff")
        )
    place.mkdir(parents=True, exist_ok=True)
    complete.unlink(missing_ok=True)
    if tree.is_dir():  # one that was interrupted
        _run([*_GIT, "-C", repo, "worktree", "remove", "--force", tree], str(tree), "cannot be removed", "remove it")
    _run([*_GIT, "-C", repo, "worktree", "prune"], str(repo), "git failed")
    _run(
        [*_GIT, "-C", repo, "worktree", "add", "--quiet", "--detach", tree, commit], str(tree), "cannot be checked out"
    )
    try:
        if difference:
            patch = log.parent / FOLDER / f"{digest}.diff"
            _run(
                [*_GIT, "-C", tree, "apply", "--whitespace=nowarn", patch.absolute()],
                str(patch),
                "does not apply to the commit",
            )
        if values.get("exp.code.submodules"):
            _run(
                [*_GIT, "-C", tree, "submodule", "update", "--quiet", "--init", "--recursive"],
                str(tree),
                "the submodules are not available",
            )
    except LogError:
        _run([*_GIT, "-C", repo, "worktree", "remove", "--force", tree], str(tree), "cannot be removed")
        raise
    complete.touch()
    return tree


def _other_files(values: Mapping[str, Any], tree: Path, directory: Path, root: str) -> list[str]:
    """The files that ran whose content is another one now."""
    files = values.get("exp.code.files")
    found = []
    for name, digest in files.items() if isinstance(files, dict) else ():
        if name.startswith(OWN):
            path = tree / "python" / name.removeprefix(OWN)
            if not path.is_dir():  # of this installation
                path = own_directory(name.removeprefix(OWN))
        else:
            path = tree / Path(name).relative_to(root) if Path(name).is_relative_to(root) else directory / name
        if (
            digest is not None
            and digest_of(path) != digest
            and not (values.get("exp.docker") and Path(name).is_absolute())
        ):
            found.append(name.removeprefix(OWN))
    return found


def _image(log: Path, values: Mapping[str, Any]) -> str:
    """The image by its digest, pulled if it is not here, or by its id."""
    docker, identity = text(values.get("exp.docker_launcher")) or "docker", text(values.get("exp.docker_image_id"))
    digests = values.get("exp.docker_image_digests")
    if identity and image_id(docker, identity) == identity:
        return identity
    if isinstance(digests, list) and digests:
        _run(
            [docker, "pull", "--quiet", "--", text(digests[0])],
            str(log),
            f"the image {text(digests[0])} is neither here nor can be pulled",
        )
        return text(digests[0])
    raise LogError(
        f"the image {identity[:19] or 'of the experiment'} is not here, and has no digest of a registry",
        where=str(log),
        hint="load it: docker load",
    )


def _environment(
    values: Mapping[str, Any], lines: Sequence[str], place: Path, root: str, tree: Path, tell: Callable[[str], None]
) -> Path:
    """An environment with the recorded packages, made by uv."""
    uv = shutil.which("uv") or shutil.which("uv", path=os.path.dirname(sys.executable))
    if uv is None:
        raise LogError("uv builds the environment, and is not installed", where="--exact", hint="pip install uv")
    environment = (place / f"environment-{digest_of_bytes(repr(lines).encode('utf-8', 'replace'))}").absolute()
    if (environment / _COMPLETE).exists():
        tell(f"packages: {environment}")
        return environment
    interpreter, version = text(values.get("exp.software.interpreter")), text(values.get("exp.software.python"))
    base = os.path.realpath(interpreter) if Path(interpreter).exists() else version
    _run([uv, "venv", "--quiet", "--clear", "--python", base, environment], "--exact", f"uv has no Python {version}")
    sources = [line for line in lines if re.fullmatch(r"\w[\w.-]*(==[^\s;]+| @ \S+)", line)]
    python = environment / "bin" / "python"
    tell(f"packages: installing {len(sources)} in {environment}")
    install = [uv, "pip", "install", "--quiet", "--no-deps", "--python", python]
    if sources:
        requirements = environment / "requirements.txt"
        requirements.write_text("".join(f"{line}\n" for line in sources))
        hint = "uv's settings add others, such as UV_INDEX=https://download.pytorch.org/whl/cpu"
        _run([*install, "-r", requirements], str(requirements), "the indexes of packages do not have all of them", hint)
    editable = values.get("exp.code.editable")
    for name, one in editable.items() if isinstance(editable, dict) else ():
        one = one if isinstance(one, dict) else {}
        path = Path(text(one.get("path")))
        if path.is_relative_to(root):
            path = tree / path.relative_to(root)
        elif (found := Repository.around(path / "_")) is None or found.commit != one.get("commit"):
            raise LogError(
                f"the package {name} is not at {text(one.get('commit'))[:12]}", where=str(path), hint="check it out"
            )
        _run([*install, "--editable", path], str(path), f"the package {name} cannot be installed in editable mode")
    (environment / _COMPLETE).touch()
    return environment


_README = """\
# {count} of DLBS {version}

`logs/` has the logs, the launchers (`*.log.sh`) and, in `provenance/`, the differences to the commits and the lists of packages.
`plan.json` is the plan. Everything is text: check it before you run it.

    pip install dlbs=={version} uv
    dlbs report logs

{clones}
To repeat one experiment exactly, with its commit, its difference and its packages, and to see what differs from the first run:

    dlbs rerun --exact logs/NAME.log --repo repository
    dlbs diff logs/NAME.log exact/logs/NAME.log

To run all of them with the code and the packages of a checkout of yours: `dlbs run --plan plan.json -Pexp.log_dir=mine` in it.

| log | commit | difference | packages | image |
| --- | --- | --- | --- | --- |
{rows}
"""


def write_bundle(
    path: Path, logs: Mapping[str, Mapping[str, Any]], plan: Sequence[Mapping[str, Any]], version: str, *, code: bool
) -> list[str]:
    """Write an archive with logs, launchers, plan, differences, lists of packages and a README.

    Args:
        path: The archive, `.tar.gz`.
        logs: Path of each log → its values.
        plan: The experiments as in a plan file.
        version: Version of DLBS.
        code: Whether to add the history of the repositories, as Git bundles.

    Returns:
        What is missing in the archive.

    Raises:
        LogError: It cannot be written, or a repository is missing.
    """
    names = [os.path.basename(log) for log in logs]
    if len(set(names)) < len(names):
        raise LogError("several logs have the same name", where=names[0], hint="bundle each directory separately")
    missing: list[str] = []
    rows: list[str] = []
    added: set[str] = set()
    commits: dict[str, str] = {}
    try:
        with (
            tempfile.TemporaryDirectory() as temporary,
            open_atomically(path, follow=True) as stream,
            tarfile.open(fileobj=stream, mode="w:gz") as archive,
        ):

            def add(name: str, content: bytes) -> None:
                if name not in added:
                    added.add(name)
                    entry = tarfile.TarInfo(name)
                    entry.size, entry.mode = len(content), 0o644
                    archive.addfile(entry, io.BytesIO(content))

            for log, values in logs.items():
                place, name = Path(log), os.path.basename(log)
                for file in (place, Path(f"{log}.sh")):
                    with suppress(FileNotFoundError):
                        add(f"logs/{file.name}", read_regular(file, _LARGEST_LOG))
                words = [name, text(values.get("exp.code.commit"))[:12]]
                for key, ending in (("exp.code.diff", ".diff"), ("exp.software.packages", ".txt")):
                    digest = text(values.get(key))
                    content = kept(place, digest, ending, _LARGEST_DIFF) if digest else None
                    if content is not None:
                        add(f"logs/{FOLDER}/{digest}{ending}", content)
                    elif digest and not (ending == ".txt" and values.get("exp.software.package_list")):
                        missing.append(f"{name}: {digest}{ending}")
                    words.append(digest)
                rows.append(f"| {' | '.join([*words, text(values.get('exp.docker_image_id'))[:19]])} |")
                if values.get("exp.code.commit"):
                    commits[text(values["exp.code.commit"])] = text(values.get("exp.code.root"))
            clones = "".join(
                sorted(
                    {
                        f"    git clone -- {shlex.quote(one_line(text(one['exp.code.remote'])))} repository\n"
                        for one in logs.values()
                        if one.get("exp.code.remote")
                    }
                )
            )
            if code and commits:
                clones = ""
                for at, root in enumerate(dict.fromkeys(commits.values()), 1):
                    name = f"repository{at if at > 1 else ''}"
                    file = _history(
                        Path(root), [commit for commit, of in commits.items() if of == root], Path(temporary), name
                    )
                    archive.add(file, file.name)
                    clones += f"    git clone {file.name} {name}\n"
            count = f"{len(logs)} experiment{'s' if len(logs) != 1 else ''}"
            readme = _README.format(
                count=count,
                version=version,
                clones=clones or "Get the repositories of the commits below.\n",
                rows="\n".join(rows),
            )
            add("README.md", readme.encode("utf-8", "replace"))
            add("plan.json", json.dumps(plan, indent=1).encode())
    except OSError as error:
        raise LogError(f"cannot be written: {error.strerror}", where=str(path)) from None
    return missing


def _history(root: Path, commits: Sequence[str], place: Path, name: str) -> Path:
    """A Git bundle of commits with their history, made by a separate repository, so that no configuration of the other one counts."""
    repository = Repository.around(root / "_")
    if repository is None:
        raise LogError("the repository is not here", where=str(root), hint="remove --code")
    own, file = place / f"{name}.git", place / f"{name}.bundle"
    _run([*_GIT, "init", "--quiet", "--bare", own], str(own), "git failed")
    (own / "objects" / "info" / "alternates").write_text(f"{repository.common / 'objects'}\n")
    git = [*_GIT, "--git-dir", own]
    for commit in commits:
        _run(
            [*git, "update-ref", f"refs/heads/{commit[:12]}", commit],
            str(root),
            f"does not have the commit {commit[:12]}",
            "fetch it",
        )
    _run([*git, "symbolic-ref", "HEAD", f"refs/heads/{commits[0][:12]}"], str(own), "git failed")
    _run([*git, "bundle", "create", "--quiet", file, "HEAD", "--branches"], str(root), "git cannot pack the history")
    return file
