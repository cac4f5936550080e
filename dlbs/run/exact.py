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
from types import MappingProxyType
from typing import Any, NamedTuple

from benchmark_core.provenance import FOLDER, SYSTEM, Repository, Software, digest_of, digest_of_bytes, is_hash
from benchmark_core.text import one_line
from dlbs.core.errors import LogError
from dlbs.core.files import open_atomically, read_regular
from dlbs.core.text import counted, first_few, text
from dlbs.run.stale import files_that_ran, image_id, kept, package_list

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
    root, hint = text(values.get("exp.code.root")), "dlbs rerun without --exact runs what is there now"
    if not is_hash(commit):
        why = text(reasons.get("commit")) or "it is older, or its program does not log it"
        raise LogError(f"names no commit: {why}", where=str(log), hint=hint)
    clone = f"clone {text(values.get('exp.code.remote')) or 'the repository'} and give --repo DIR"
    modules = _parts(values, "submodules")
    tree = _checkout(log, commit, text(values.get("exp.code.diff")), repo or root, place, clone, modules)
    tell(f"code: {commit[:7]}{' with its difference' if values.get('exp.code.diff') else ''} in {tree}")
    directory = _in_tree(Path(text(values.get("exp.code.directory"))), root, tree)
    if not os.path.isdir(directory):
        raise LogError(f"the working directory {directory} does not exist", where=str(log))
    _link_data(values, directory, tell)
    files = files_that_ran(values, directory, tree)
    changed = [name for name, path, digest in files if digest is not None and digest_of(path) != digest]
    if changed:
        what = f"{first_few(changed)} cannot be restored: commit and difference do not contain them"
        version = text(values.get("exp.dlbs_version"))
        raise LogError(what, where=str(log), hint=f"it ran with DLBS {version}; {hint}")
    replaced = {root: str(tree)} if root else {}
    if values.get("exp.docker"):
        return Rebuilt(directory, replaced, image=_image(log, values))
    lines = package_list(log, values)
    if not lines:
        if values.get("exp.software.packages"):
            raise LogError("the list of packages is missing or damaged", where=str(log.parent / FOLDER))
        tell(f"packages: unknown ({text(reasons.get('software') or reasons.get('packages')) or 'not logged'})")
        return Rebuilt(directory, replaced)
    environment = _environment(log, values, lines, place, tree, tell)
    replaced[text(values.get("exp.software.interpreter"))] = str(environment / "bin" / "python")
    return Rebuilt(directory, replaced, environment / "bin")


def _in_tree(path: Path, root: str, tree: Path) -> Path:
    return tree / path.relative_to(root) if path.is_relative_to(root) else path


def output_of(command: Sequence[object], where: object, what: str, hint: str = "") -> str:
    """The output of a command.

    Raises:
        LogError: It cannot be started or fails; `what` is what that means.
    """
    words = [*map(str, command)]
    try:
        done = subprocess.run(words, stdin=subprocess.DEVNULL, capture_output=True, errors="replace", check=False)
    except OSError as error:
        raise LogError(f"{words[0]} cannot be started: {error.strerror}", where=str(where), hint=hint) from None
    if done.returncode:
        raise LogError(f"{what}: {' '.join(done.stderr.split())[-600:]}", where=str(where), hint=hint)
    return done.stdout


def git(repo: object, *arguments: object, where: object = "", what: str = "git failed", hint: str = "") -> str:
    """The output of a git command in a checkout; errors as of `output_of`."""
    return output_of([*_GIT, "-C", repo, *arguments], where or repo, what, hint)


def add_worktree(repo: object, tree: Path, commit: str) -> None:
    """Check out a commit in a new directory."""
    git(repo, "worktree", "prune")
    git(repo, "worktree", "add", "--quiet", "--force", "--detach", tree, commit, what="cannot be checked out")


def _parts(values: Mapping[str, Any], name: str) -> dict[str, Mapping[str, Any]]:
    """Name → commit and difference of each submodule, or package in editable mode."""
    found = values.get(f"exp.code.{name}")
    return {key: one for key, one in found.items() if isinstance(one, dict)} if isinstance(found, dict) else {}


def _checkout(
    log: Path,
    commit: str,
    digest: str,
    repo: str,
    place: Path,
    clone: str,
    modules: Mapping[str, Mapping[str, Any]] = MappingProxyType({}),
) -> Path:
    """A worktree at a commit, and its submodules, with the differences that were kept."""
    if not os.path.isdir(repo):
        raise LogError("the repository is not here", where=repo, hint=clone)
    missing = f"does not have the commit {commit[:12]}"
    git(repo, "cat-file", "-e", f"{commit}^{{commit}}", what=missing, hint=f"fetch it, or {clone}")
    tree = place / (f"{commit[:12]}-{digest[:8]}" if digest else commit[:12])
    complete = Path(f"{tree}{_COMPLETE}")
    if tree.is_dir() and complete.exists():
        return tree
    patches = {name: _patch(log, text(one.get("diff"))) for name, one in {"": {"diff": digest}, **modules}.items()}
    place.mkdir(parents=True, exist_ok=True)
    complete.unlink(missing_ok=True)
    if tree.is_dir():  # one that was interrupted
        git(repo, "worktree", "remove", "--force", tree)
    add_worktree(repo, tree, commit)
    try:
        if modules:
            git(
                tree, "submodule", "update", "--quiet", "--init", "--recursive", what="the submodules are not available"
            )
        for name, patch in patches.items():
            if patch:
                what = "does not apply to the commit"
                git(tree / name, "apply", "--whitespace=nowarn", patch, where=patch, what=what)
    except LogError:
        git(repo, "worktree", "remove", "--force", tree)
        raise
    complete.touch()
    return tree


def _patch(log: Path, digest: str) -> Path | None:
    """The file with a difference that was kept; None if there was none."""
    patch = (log.parent / FOLDER / f"{digest}.diff").absolute()
    if digest and kept(log, digest, ".diff", _LARGEST_DIFF) is None:
        raise LogError("the difference to the commit is missing or damaged", where=str(patch))
    return patch if digest else None


def _link_data(values: Mapping[str, Any], directory: Path, tell: Callable[[str], None]) -> None:
    """Link files and directories that the command names, and that the repository does not contain, to those of the first run."""
    ran, data = Path(text(values.get("exp.code.directory"))), values.get("exp.code.data")
    for name, digest in data.items() if isinstance(data, dict) else ():
        path, is_inside = directory / name, not name.startswith("/") and ".." not in name.split("/")
        if is_inside and not os.path.lexists(path) and digest is not None and digest_of(ran / name) == digest:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.symlink_to(ran / name)
        elif digest_of(path) != digest and (is_inside or not values.get("exp.docker")):
            tell(f"note: {name} is not as it was before the first run")


def _image(log: Path, values: Mapping[str, Any]) -> str:
    """The image by its digest, pulled if it is not here, or by its id."""
    docker, identity = text(values.get("exp.docker_launcher")) or "docker", text(values.get("exp.docker_image_id"))
    if identity and image_id(docker, identity) == identity:
        return identity
    digests = values.get("exp.docker_image_digests")
    if isinstance(digests, list) and digests:
        image = text(digests[0])
        output_of([docker, "pull", "--quiet", "--", image], log, f"the image {image} is neither here nor can be pulled")
        return image
    what = f"the image {identity[:19] or 'of the experiment'} is not here, and has no digest of a registry"
    raise LogError(what, where=str(log), hint="load it: docker load")


def _environment(
    log: Path, values: Mapping[str, Any], lines: Sequence[str], place: Path, tree: Path, tell: Callable[[str], None]
) -> Path:
    """An environment with the recorded packages, made by uv."""
    uv = shutil.which("uv") or shutil.which("uv", path=os.path.dirname(sys.executable))
    if uv is None:
        raise LogError("uv builds the environment, and is not installed", where="--exact", hint="pip install uv")
    editable = _parts(values, "editable")
    digest = digest_of_bytes(repr((lines, editable)).encode("utf-8", "replace"))
    environment = place / f"environment-{digest}"
    if (environment / _COMPLETE).exists():
        tell(f"packages: {environment}")
        return environment
    directory, interpreter, version = (
        text(values.get(f"exp.{name}")) for name in ("code.directory", "software.interpreter", "software.python")
    )
    interpreter = os.path.join(directory, interpreter)
    base = os.path.realpath(interpreter) if os.path.exists(interpreter) else version
    venv = [uv, "venv", "--quiet", "--clear", "--python", base, environment]
    if system := [line for line in lines if line.startswith(SYSTEM)]:  # no index has them
        venv.append("--system-site-packages")
        here = Software.of(interpreter).lines
        if gone := [line.removeprefix(SYSTEM) for line in system if line not in here]:
            hint = "install them, or use a machine or an image that has them"
            raise LogError(f"packages of Debian or conda are missing: {first_few(gone)}", where=interpreter, hint=hint)
    output_of(venv, "--exact", f"uv has no Python {version}")
    sources = [line for line in lines if re.match(r"\w", line)]  # no comments
    tell(f"packages: installing {len(sources)} in {environment}")
    install = [uv, "pip", "install", "--quiet", "--no-deps", "--index-strategy", "unsafe-best-match", "--python",
               environment / "bin" / "python"]  # fmt: skip
    if sources:
        requirements = environment / "requirements.txt"
        requirements.write_text("".join(f"{line}\n" for line in sources))
        builds = re.search(r"\+((?:cpu|cu|rocm|xpu)[\d.]*)$", "\n".join(sources), re.MULTILINE)
        index = f"https://download.pytorch.org/whl/{builds[1]}" if builds else "https://..."
        hint = f"give the index that has them: UV_INDEX={index} dlbs rerun --exact ..."
        what = "the indexes of packages do not have all of them"
        output_of([*install, "-r", requirements], requirements, what, hint)
    for name, one in editable.items():
        path, root = Path(text(one.get("path"))), text(values.get("exp.code.root"))
        source, repository = _in_tree(path, root, tree), Repository.around(path / "_")
        there = str(repository.root if repository else path)
        if one.get("commit") and (source == path or (repository and there != root)):
            clone = f"clone it there: package {name}"
            own = _checkout(log, text(one["commit"]), text(one.get("diff")), there, place, clone)
            source = _in_tree(path, there, own)
        output_of([*install, "--editable", source], source, f"the package {name} cannot be installed in editable mode")
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
                for key in ("submodules", "editable", "repositories"):
                    for digest in {text(one.get("diff")) for one in _parts(values, key).values()}:
                        if content := kept(place, digest, ".diff", _LARGEST_DIFF):
                            add(f"logs/{FOLDER}/{digest}.diff", content)
                rows.append(f"| {' | '.join([*words, text(values.get('exp.docker_image_id'))[:19]])} |")
                if values.get("exp.code.commit"):
                    commits[text(values["exp.code.commit"])] = text(values.get("exp.code.root"))
                for one in _parts(values, "editable").values():
                    if code and one.get("commit"):
                        commits.setdefault(text(one["commit"]), text(one.get("path")))
            remotes = {one_line(text(one["exp.code.remote"])) for one in logs.values() if one.get("exp.code.remote")}
            clones = "".join(f"    git clone -- {shlex.quote(remote)} repository\n" for remote in sorted(remotes))
            if code and commits:
                clones = ""
                for at, root in enumerate(dict.fromkeys(commits.values()), 1):
                    name = f"repository{at if at > 1 else ''}"
                    of = [commit for commit, place in commits.items() if place == root]
                    file = _history(Path(root), of, Path(temporary), name)
                    archive.add(file, file.name)
                    clones += f"    git clone {file.name} {name}\n"
            clones = clones or "Get the repositories of the commits below.\n"
            readme = _README.format(
                count=counted(len(logs), "experiment"), version=version, clones=clones, rows="\n".join(rows)
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
    git(place, "init", "--quiet", "--bare", own)
    (own / "objects" / "info" / "alternates").write_text(f"{repository.common / 'objects'}\n")
    for commit in commits:
        what = f"does not have the commit {commit[:12]}"
        git(own, "update-ref", f"refs/heads/{commit[:12]}", commit, where=root, what=what, hint="fetch it")
    git(own, "symbolic-ref", "HEAD", f"refs/heads/{commits[0][:12]}")
    git(own, "bundle", "create", "--quiet", file, "HEAD", "--branches", what="git cannot pack the history")
    return file
