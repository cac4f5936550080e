"""Code and software of a run: the commit, the difference to it, digests of scripts and their modules, the interpreter and its packages.

Nothing of a repository runs. Commit, branch and tag are read from files. `git` computes the difference in a separate directory that has
no configuration: the repository contributes only objects, index and files, so its hooks, filters, drivers, monitors and aliases do not exist.
"""

from __future__ import annotations

import glob
import os
import re
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import cache, partial
from hashlib import blake2b
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from benchmark_core.files import open_regular
from benchmark_core.log import CODE, LOG_VARIABLE, SOFTWARE
from benchmark_core.text import one_line

FOLDER = "provenance"  # beside the logs: differences and lists of packages, named by their digests
OWN = "dlbs:"  # prefix of our own packages among the files: they have another path in containers
SYSTEM = "# system: "  # prefix of packages in a list that Debian or conda has installed

_GIT_SECONDS = 0.2  # unless DLBS_GIT_SECONDS says otherwise
_MORE_SECONDS = 0.8  # for everything else
_MOST_FILES = 64
_MOST_PARTS = 16  # submodules, editable packages, shell scripts, data sets
_MOST_NAMES = 2000  # of files in a data set
_LONGEST_SCRIPT = 1 << 14  # bytes of a shell script that are searched for names of files
_LONGEST_NAME = 4096
_CONDA = {"conda", "mamba", "micromamba"}
_RUNNERS = {"uv", "poetry", "pdm", "rye", "hatch", "pipenv", "pixi", *_CONDA}  # their `run` chooses an interpreter
_WHOLE = 1 << 20  # bytes of a file whose digest includes each of them
_PART = 1 << 16
_LARGEST_DIFF = 16 << 20
_SOURCE = re.compile(r"\.(py|pyx|sh|bash|pl|rb|jl|r|R|js|mjs|ts|lua|m|c|cc|cpp|cu|go|rs|yaml|yml|toml|ini|cfg|conf)")
_PYTHON = re.compile(r"(python|pypy)[\d.]*t?")
_SHELL = re.compile(r"\b(?:ba|da|k|z)?sh\b")
_COMMENT = re.compile(r"(?m)^\s*#.*$")
_VARIABLE = re.compile(r"\$(?:\w+|\{[^{}]*\}|\([^()]*\)|[@*?!#])/?")
_BETWEEN_WORDS = re.compile(r"[\s\"'`;&|()<>]+")
_IMPORT = re.compile(
    r"^[ \t]*(?:from[ \t]+(\.*)([\w.]*)[ \t]+import[ \t]+(\([^)]*\)|[^\n#;]+)|import[ \t]+([^\n#;]+))", re.MULTILINE
)
_DISTRIBUTION = re.compile(r"(\w.*?)-([^-]+?)(?:-py[\d.]+)?\.(?:dist|egg)-info")
_CONDA_PACKAGE = re.compile(r"(\w.*)-([^-]+)-[^-]+\.json")  # in conda-meta
# Packages that decide how fast a model runs: their versions stand in the log itself.
_DECISIVE = re.compile(
    r"torch(vision|audio)?|pytorch|(pytorch-)?triton|numpy|scipy|mkl|intel-.*|onednn.*|(lib)?openblas.*|nvidia-(cudnn|nccl|cublas|cuda-runtime).*|"
    r"cudnn|nccl|cuda-(version|cudart)|cudatoolkit|"
    r"jax(lib)?|jax-cuda.*|flax|onnx(runtime.*)?|tensorflow.*|keras|transformers|accelerate|deepspeed|vllm|flash-attn|xformers|apex|timm|"
    r"(pytorch-)?lightning|cupy.*|numba|sglang|tensorrt.*"
)

_Result = TypeVar("_Result")

# Below, `os.path.isfile` instead of `Path.is_file`, which raises for a long word of a command and for a directory of another user.


class UnknownError(Exception):
    """A fact cannot be found out; the message is the reason."""


def provenance(
    words: Sequence[str], directory: Path | None = None, *, packages: Iterable[str] = (), log: str | None = None
) -> dict[str, Any]:
    """Facts about the code and software of a program, for the log; unknown ones are None, with a reason in `exp.code.unknown`.

    Args:
        words: The command, or files and options of this program. Files among them, and local modules that these import, are the code.
        directory: The working directory; the current one by default.
        packages: Packages of ours that are part of the measured code.
        log: The log of the experiment; by default, that of the launcher.
    """
    log = os.environ.get(LOG_VARIABLE, "") if log is None else log
    found: dict[str, Any] = {}
    reasons: dict[str, str] = {}

    limit = git_seconds() + _MORE_SECONDS
    try:
        place = Path(directory or os.getcwd())
        in_time(lambda: _collect(found, reasons, list(words), place, list(packages), log), limit)
    except TimeoutError:
        reasons["all"] = f"not read within {limit:g} s: is a file system hanging?"
    except Exception as error:  # no fact is worth a benchmark
        reasons["all"] = one_line(f"{type(error).__name__}: {error}")
    facts, unknown = dict(found), dict(reasons)
    names = [CODE + name for name in ("commit", "branch", "tag", "remote", "root", "dirty", "diff", "files")]
    names += [SOFTWARE + name for name in ("interpreter", "python", "packages")]
    return {**dict.fromkeys(names), **facts, **({CODE + "unknown": unknown} if unknown else {})}


def in_time(work: Callable[[], _Result], seconds: float) -> _Result:
    """The result of a function that reads files: those of a hanging file system are never read.

    Raises:
        TimeoutError: It has not returned in time.
    """
    results: list[_Result] = []
    errors: list[Exception] = []

    def do() -> None:
        try:
            results.append(work())
        except Exception as error:
            errors.append(error)

    worker = threading.Thread(target=do, daemon=True)
    worker.start()
    worker.join(seconds)
    for error in errors:
        raise error
    if not results:
        raise TimeoutError
    return results[0]


def _collect(
    found: dict[str, Any], reasons: dict[str, str], command: list[str], directory: Path, packages: list[str], log: str
) -> None:
    found[CODE + "directory"] = str(directory)
    deadline = time.monotonic() + git_seconds()  # of git for all repositories together
    words = every_word(command, directory)
    interpreter = sys.executable if packages else interpreter_of(words, directory)
    code, data = files_of(words, directory)
    known = {_relative(path, directory): digest_of(path) for path in code}
    known.update((f"{OWN}{name}", digest_of(own_directory(name))) for name in packages)
    program = shutil.which(command[0]) if command and not packages else None
    if program is not None and not _is_interpreter(Path(program)):
        known.setdefault(_relative(Path(program), directory), digest_of(Path(program)))
    if len(known) <= _MOST_FILES:
        found[CODE + "files"] = known
    else:
        code = code[:1]
        reasons["files"] = f"more than {_MOST_FILES} local modules: see the commit and the difference"
    root = Path(__file__).resolve() if packages else directory / "_"
    around = [Repository.around(place / "_") for place in dict.fromkeys(path.parent for path in (*code, root))]
    repositories = list(dict.fromkeys(filter(None, around)))
    if not repositories:
        reasons["commit"] = f"{directory} is not in a Git repository"
    else:
        first, *others = repositories
        found.update((CODE + name, value) for name, value in first.facts(log, reasons, deadline, code).items())
        modules = {first.root / name for name in found.get(f"{CODE}submodules", ())}
        if states := {str(one.root): one.state(deadline, code, log) for one in others if one.root not in modules}:
            found[f"{CODE}repositories"] = states
    if interpreter is None:
        reasons["software"] = "the command starts no Python interpreter that is known before it runs"
    else:
        _collect_software(found, reasons, interpreter, log, deadline)
    if data:  # at the end: it may be on a slow file system
        digests = found[CODE + "data"] = {_relative(path, directory): digest_of(path) for path in data[:_MOST_PARTS]}
        if nameless := [name for name, digest in digests.items() if digest is None]:
            reasons["data"] = f"cannot be read, or has more than {_MOST_NAMES} files: {', '.join(nameless)}"


def _collect_software(
    found: dict[str, Any], reasons: dict[str, str], interpreter: str, log: str, deadline: float
) -> None:
    software = Software.of(interpreter)
    found[f"{SOFTWARE}interpreter"], found[f"{SOFTWARE}python"] = interpreter, software.version
    if not software.packages and "." not in software.version:
        reasons["packages"] = f"{interpreter} has no packages, or they are not where interpreters have them"
        return
    found[f"{SOFTWARE}packages"], found[f"{SOFTWARE}versions"] = software.digest, software.decisive
    if not keep(log, f"{software.digest}.txt", software.content):
        found[f"{SOFTWARE}package_list"] = software.lines
    if editable := software.editable(deadline, log):
        found[f"{CODE}editable"] = editable


def git_seconds() -> float:
    """Seconds that git may take."""
    try:
        return min(60.0, max(0.0, float(os.environ.get("DLBS_GIT_SECONDS", ""))))
    except ValueError:
        return _GIT_SECONDS


# Files


def digest_of(path: Path) -> str | None:
    """Digest of a file, 16 hexadecimal digits; of a package, that of its Python files. `~` and a digest of size, beginning and end of a large
    file; of another directory, such as a data set, `~` and a digest of names and sizes. None if it cannot be read.
    """
    state = blake2b(digest_size=8)
    try:
        if os.path.isdir(path):
            is_package = os.path.isfile(path / "__init__.py")
            files = ((one.relative_to(path), digest_of(one)) for one in sorted(path.rglob("*.py")))
            for name, what in files if is_package else _manifest(path):
                state.update(f"{name}\0{what}\0".encode("utf-8", "replace"))
            return f"{'' if is_package else '~'}{state.hexdigest()}"
        with open_regular(path) as stream:
            size = os.fstat(stream.fileno()).st_size
            if size <= _WHOLE:
                state.update(stream.read())
                return state.hexdigest()
            state.update(f"{size}\0".encode() + stream.read(_PART))
            stream.seek(size - _PART)
            state.update(stream.read(_PART))
            return f"~{state.hexdigest()}"
    except (OSError, ValueError):
        return None


def _manifest(root: Path) -> Iterator[tuple[str, object]]:
    """Names in a directory and those below it, the nearest first, up to a number; with sizes of files, and digests of a few at its top.

    Raises:
        OSError: One cannot be read, or the directory is too large.
    """
    left, pending = _MOST_NAMES, [root]
    for directory in pending:  # grows
        with os.scandir(directory) as entries:
            found = sorted(islice(entries, left + 1), key=lambda entry: entry.name)
        if len(found) > left and directory is root:
            raise OSError("has too many files")
        if len(found) > left:
            return
        left -= len(found)
        for at, entry in enumerate(found):
            what: object = None
            if entry.is_dir(follow_symlinks=False):
                pending.append(Path(entry.path))
            elif directory is root and at < _MOST_PARTS:
                what = digest_of(Path(entry.path))
            else:
                what = entry.stat(follow_symlinks=False).st_size
            yield entry.name, what


def digest_of_bytes(content: bytes) -> str:
    """Digest of a text, 16 hexadecimal digits."""
    return blake2b(content, digest_size=8).hexdigest()


def own_directory(name: str) -> Path:
    """The directory of a package of ours."""
    return Path(__file__).resolve().parents[1] / name


def _relative(path: Path, directory: Path) -> str:
    """A path as it is logged: relative to the working directory if it is inside."""
    name = os.path.relpath(path, directory)
    return name if not name.startswith("..") else str(path)


def every_word(command: Sequence[str], directory: Path) -> list[str]:
    """The words of a command, with those inside of them, as in `bash -c "python bench.py"`, and those of its shell scripts."""
    words, scripts = list(command), set[str]()
    for word in words:  # grows
        if " " in word:
            words += word.split()
        elif word not in scripts and len(scripts) < _MOST_PARTS and _is_shell_script(directory / word):
            scripts.add(word)
            content = _VARIABLE.sub("", _COMMENT.sub("", _read(directory / word, _LONGEST_SCRIPT)))
            for part in _BETWEEN_WORDS.split(content):
                beside = os.path.join(os.path.dirname(word), part)  # after `cd "$(dirname "$0")"`
                is_beside = not os.path.exists(directory / part) and os.path.exists(directory / beside)
                words.append(beside if is_beside else part)
    return words


def _is_shell_script(path: Path) -> bool:
    return path.suffix in {".sh", ".bash"} or _SHELL.search(shebang(path)) is not None


def files_of(words: Sequence[str], directory: Path) -> tuple[list[Path], list[Path]]:
    """The source files among the words of a command, with the local modules that they import; and its other files and directories."""
    sources: dict[Path, None] = {}
    data: dict[Path, None] = {}
    above = {directory, *directory.parents}
    find = cache(partial(_module, cache(_names)))  # many files import the same
    for before, word in zip(["", *words], words):  # noqa: B905 - Python 3.9
        name = word.rpartition("=")[2] if word.startswith("-") else word
        path = Path(os.path.normpath(directory / name))
        if before == "-m":
            sources.update(dict.fromkeys(find(str(directory), name)))
        elif not name or "\0" in name or len(name) > _LONGEST_NAME or _is_interpreter(path):
            continue
        elif os.path.isfile(path):
            is_program = name == word and os.access(path, os.X_OK)
            (sources if is_program or _SOURCE.fullmatch(path.suffix) else data)[path] = None
        elif os.path.isdir(path) and path not in above:
            (sources if os.path.isfile(path / "__init__.py") else data)[path] = None  # a package, such as --pack
    pending = [path for path in sources if path.suffix == ".py" or _PYTHON.search(shebang(path))]
    seen = set(pending)
    while pending and len(sources) <= _MOST_FILES:
        path = pending.pop()
        sources[path] = None
        new = dict.fromkeys(one for one in _imports(path, directory, find) if one not in seen)
        seen.update(new)
        pending += new
    return list(sources), list(data)


def _is_interpreter(path: Path) -> bool:
    return _PYTHON.fullmatch(path.name) is not None


def _read(path: Path, limit: int = _WHOLE) -> str:
    """The beginning of a file; empty if it cannot be read. Opening it does not block, whatever it is."""
    try:
        with open_regular(path) as stream:
            return stream.read(limit).decode("utf-8", "surrogateescape")
    except (OSError, ValueError):
        return ""


def _line(path: Path) -> str:
    """The first line of a file; empty if there is none."""
    return _read(path, _LONGEST_NAME).partition("\n")[0].strip()


def shebang(path: Path) -> str:
    """The interpreter in the first line of a script; empty if it has none."""
    line = _line(path)
    return line[2:].strip() if line.startswith("#!") else ""


def _imports(path: Path, directory: Path, find: Callable[[str, str], list[Path]]) -> Iterator[Path]:
    """Files of the modules that a Python file imports from beside it, from its package, or from the working directory."""
    package = path.parent
    while os.path.isfile(package / "__init__.py"):
        package = package.parent
    places = dict.fromkeys(map(str, (path.parent, package, directory)))
    for dots, name, names, plain in _IMPORT.findall(_read(path)):
        parts = [word.strip() for word in re.split(r"\s+as\s+\w+|[,()]", names or plain) if word.strip()]
        if plain:
            wanted = [(place, part) for part in parts for place in places]
        else:
            starts = [str(path.parents[len(dots) - 1])] if dots and len(dots) <= len(path.parents) else list(places)
            wanted = [(place, f"{name}.{part}".strip(".")) for part in ("", *parts) for place in starts]
        for place, module in wanted:
            yield from find(place, module)


def _module(names: Callable[[str], frozenset[str]], place: str, name: str) -> list[Path]:
    """The files of a module, those of its packages first, if it is found in a directory."""
    found: list[str] = []
    for part in filter(None, name.split(".")):
        around, place = names(place), os.path.join(place, part)
        inside = names(place) if part in around else frozenset()
        is_file = f"{part}.py" in around and "__init__.py" not in inside
        files = [f"{place}.py"] if is_file else [os.path.join(place, "__init__.py")] if "__init__.py" in inside else []
        if "__main__.py" in inside and name.endswith(part):
            files.append(os.path.join(place, "__main__.py"))
        found += filter(os.path.isfile, files)
        if is_file or not inside:
            break
    return [Path(path) for path in found]


# Repositories


class Repository(NamedTuple):
    """A checkout.

    Attributes:
        root: Its directory.
        git: Its own Git directory, with HEAD and index.
        common: The Git directory that its worktrees share, with objects and references.
    """

    root: Path
    git: Path
    common: Path

    @classmethod
    def around(cls, path: Path) -> Repository | None:
        """The checkout that a file belongs to; None outside of one."""
        for root in path.parents:
            git = root / ".git"
            if os.path.isfile(git):  # a worktree or a submodule: the file contains the path of its directory
                git = Path(os.path.normpath(root / _line(git).removeprefix("gitdir:").strip()))
            if os.path.isfile(git / "HEAD"):
                return cls(root, git, Path(os.path.normpath(git / (_line(git / "commondir") or "."))))
        return None

    @property
    def branch(self) -> str | None:
        """The branch that is checked out; None for a detached commit."""
        head = _line(self.git / "HEAD")
        return head.removeprefix("ref: refs/heads/") if head.startswith("ref: refs/heads/") else None

    @property
    def commit(self) -> str | None:
        """The commit that is checked out; None before the first one."""
        head = _line(self.git / "HEAD")
        if not head.startswith("ref: "):
            return head if is_hash(head) else None
        name = head.removeprefix("ref: ")
        if ".." in name.split("/"):
            return None
        packed = _read(self.common / "packed-refs", _LARGEST_DIFF)
        found = _line(self.common / name) or packed.partition(f" {name}\n")[0].rpartition("\n")[2]
        return found if is_hash(found) else None

    @property
    def remote(self) -> str | None:
        """Address of the remote `origin` without credentials."""
        found = re.search(
            r"""(?m)^\s*\[remote "origin"\][^\[]*?^\s*url\s*=\s*(.+?)\s*$""", f"{self._configuration()}\n"
        )
        return without_credentials(found[1]) if found else None

    def _configuration(self) -> str:
        return _read(self.common / "config")

    def facts(self, log: str, reasons: dict[str, str], deadline: float, code: Sequence[Path]) -> dict[str, Any]:
        """Commit, branch, tag, remote, difference and submodules. The difference is kept beside the logs.

        Args:
            log: The log beside which it is kept.
            reasons: Receives the reasons of facts that are None.
            deadline: Time (`time.monotonic()`) at which git is stopped.
            code: Source files that belong to the difference even if Git does not track them.
        """
        commit = self.commit
        found: dict[str, Any] = {"root": str(self.root), "commit": commit, "branch": self.branch, "remote": self.remote}
        if commit is None:
            reasons["commit"] = f"{self.root} has no commit yet, or its references cannot be read without git"
            return found
        try:
            difference, found["tag"] = self._asked(commit, deadline, code)
        except UnknownError as error:
            reasons["dirty"] = reasons["tag"] = str(error)
        else:
            found["dirty"] = bool(difference)
            if difference:
                found["diff"] = digest_of_bytes(difference)
                if not keep(log, f"{found['diff']}.diff", difference):
                    reasons["diff"] = f"the difference ({len(difference):,} bytes) could not be written beside the log"
        modules = [repository for repository in self._submodules() if repository.commit]
        if modules:
            found["submodules"] = {
                str(one.root.relative_to(self.root)): one.state(deadline, code, log) for one in modules
            }
        return found

    def state(self, deadline: float, code: Sequence[Path] = (), log: str = "") -> dict[str, Any]:
        """Commit, and digest of the difference (empty without one, None if unknown), which is kept beside a log."""
        commit = self.commit
        try:
            difference = self._asked(commit, deadline, code)[0] if commit else b""
        except UnknownError:
            return {"commit": commit, "diff": None}
        digest = digest_of_bytes(difference) if difference else ""
        if digest:
            keep(log, f"{digest}.diff", difference)
        return {"commit": commit, "diff": digest}

    def _submodules(self) -> Iterator[Repository]:
        names = re.findall(r"(?m)^\s*path\s*=\s*(.+?)\s*$", _read(self.root / ".gitmodules"))
        for name in names[:_MOST_PARTS]:
            path = self.root / name
            found = Repository.around(path / "_")
            if found is not None and found.root == path and self.root in path.resolve().parents:
                yield found

    def _asked(self, commit: str, deadline: float, code: Sequence[Path]) -> tuple[bytes, str | None]:
        """The difference of the files to a commit, as a patch for `git apply`, and the last tag of it by name: git finds them.

        Raises:
            UnknownError: Git is missing, refuses, or takes too long.
        """
        if str(os.stat(self.git).st_uid) not in (str(os.geteuid()), os.environ.get("SUDO_UID")):
            raise UnknownError("the repository belongs to another user (dubious ownership)")  # the rule of git
        program = _git()
        if program is None:
            raise UnknownError("git is not installed")
        around = {place: Repository.around(place / "_") for place in {path.parent for path in code}}
        inner = (path for path in code if around[path.parent] == self and os.path.isfile(path))
        inside = {os.path.relpath(path, self.root) for path in inner}
        try:
            with tempfile.TemporaryDirectory(prefix="dlbs-git-") as own:
                environment = self._without_configuration(Path(own), commit)

                def git(*arguments: str, codes: Sequence[int] = (0,)) -> bytes:
                    return _output([program, *arguments], self.root, environment, deadline, codes)

                patch = git("diff", *_DIFF, "--ignore-submodules=dirty", commit, "--", ".", _NOT_LFS)
                tracked = git("--literal-pathspecs", "ls-files", "-z", "--", *inside).split(b"\0") if inside else []
                for path in sorted(path for path in inside if os.fsencode(path) not in tracked):
                    patch += git("diff", "--no-index", *_DIFF, "--", os.devnull, path, codes=(1,))
                tags = git("for-each-ref", "--format=%(refname:short)", "--points-at=HEAD", "refs/tags", codes=(0, 128))
                return patch, max(tags.decode("utf-8", "replace").splitlines(), default=None)
        except OSError as error:
            raise UnknownError(f"no directory for git: {error.strerror}") from None

    def _without_configuration(self, own: Path, commit: str) -> dict[str, str]:
        """The environment of a git that knows objects, references, index and files of this repository, with a separate Git directory.

        Args:
            own: An empty directory.
            commit: Its HEAD.
        """
        (own / "objects").mkdir()
        for name in ("refs", "packed-refs"):
            (own / name).symlink_to(self.common / name)
        (own / "HEAD").write_text(f"{commit}\n")
        # Settings that say how files are compared; they name no programs.
        same = re.findall(
            r"(?im)^\s*((?:filemode|autocrlf|eol|symlinks|ignorecase)\s*=\s*(?:true|false|input|lf|crlf|native))\s*$",
            self._configuration(),
        )
        kind = ["[extensions]", "objectformat = sha256"] if len(commit) == _SHA256 else []
        lines = ["[core]", f"repositoryformatversion = {int(bool(kind))}", *same, *kind]
        (own / "config").write_text("\n".join(lines) + "\n")
        return {
            "PATH": os.defpath, "LC_ALL": "C", "HOME": str(own), "GIT_DIR": str(own), "GIT_WORK_TREE": str(self.root),
            "GIT_INDEX_FILE": str(self.git / "index"), "GIT_OBJECT_DIRECTORY": str(self.common / "objects"),
            "GIT_OPTIONAL_LOCKS": "0", "GIT_CONFIG_NOSYSTEM": "1", "GIT_CONFIG_GLOBAL": os.devnull,
        }  # fmt: skip


_SHA256 = 64  # digits of a commit's name
_DIFF = ("--binary", "--no-color", "--no-ext-diff", "--no-textconv", "--no-renames")
# Its files are in the repository as pointers, and the filter that compares them does not exist here.
_NOT_LFS = ":(exclude,attr:filter=lfs)"


def is_hash(word: str) -> bool:
    """Whether a word is the full name of a commit."""
    return re.fullmatch("[0-9a-f]{40}|[0-9a-f]{64}", word) is not None


def without_credentials(address: str) -> str:
    """An address without user, password, token and query."""
    return re.sub(r"(?<=://)[^/@]*@|[?#].*$", "", address)


def _git() -> str | None:
    """The path of git, if it is not a file of a checkout, such as that of the measured code or its superproject."""
    places = [Path(place) for place in os.environ.get("PATH", os.defpath).split(os.pathsep) if os.path.isabs(place)]
    outside = [str(place) for place in places if Repository.around(Path(os.path.realpath(place), "_")) is None]
    return shutil.which("git", path=os.pathsep.join(outside)) if outside else None


def _output(
    command: Sequence[str], directory: Path, environment: Mapping[str, str], deadline: float, codes: Sequence[int]
) -> bytes:
    """The output of a git command.

    Raises:
        UnknownError: It cannot be started, fails, prints too much, or has not ended at the deadline.
    """
    try:
        left = max(0.001, deadline - time.monotonic())
        done = subprocess.run(
            command, cwd=directory, env=environment, stdin=subprocess.DEVNULL, capture_output=True, timeout=left, check=False
        )  # fmt: skip
    except OSError as error:
        raise UnknownError(f"git cannot be started: {error.strerror}") from None
    except subprocess.TimeoutExpired:
        raise UnknownError(f"git took longer than {git_seconds():g} s (DLBS_GIT_SECONDS)") from None
    if done.returncode not in codes:
        lines = done.stderr.decode("utf-8", "replace").strip().splitlines() or [str(done.returncode)]
        raise UnknownError(f"git failed: {one_line(lines[-1])}")
    if len(done.stdout) > _LARGEST_DIFF:
        raise UnknownError(f"the difference has more than {_LARGEST_DIFF >> 20} MiB")
    return done.stdout


def keep(log: str, name: str, content: bytes) -> bool:
    """Keep a file under its digest beside a log; False if that is impossible, as in a container that does not see its directory."""
    if not os.path.isdir(os.path.dirname(log)):
        return False
    folder = os.path.join(os.path.dirname(log), FOLDER)
    beside = os.path.join(folder, f".{name}.{os.getpid()}")
    try:
        os.makedirs(folder, exist_ok=True)
        if not os.path.isfile(os.path.join(folder, name)):
            descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o666)
            with open(descriptor, "wb") as stream:
                stream.write(content)
            os.replace(beside, os.path.join(folder, name))
    except OSError:
        return False
    return True


# Software


def interpreter_of(words: Sequence[str], directory: Path) -> str | None:
    """The Python interpreter that a command starts, directly or by the first line of a script; None if it starts none."""
    seen = {""}
    for at, word in enumerate(words):
        if os.path.basename(word) in _RUNNERS and "run" in words[at + 1 : at + 4]:
            return _chosen_by_runner(words[at:], directory)
        path = None if word in seen or "\0" in word or word.startswith("-") else shutil.which(word)
        seen.add(word)
        if path is None:
            continue
        line = shebang(Path(path)).split()
        if _is_interpreter(Path(path)):
            return _chosen_by_pyenv(Path(path), directory) if line else path
        named = line[1:2] if line and os.path.basename(line[0]) == "env" else line[:1]
        if named and _is_interpreter(Path(named[0])):
            return interpreter_of(named, directory)
    return None


def _chosen_by_runner(words: Sequence[str], directory: Path) -> str | None:
    """The interpreter that `uv run`, `conda run -n NAME` and others start; None if its environment is unknown, or not made yet."""
    options = dict(zip(words, words[1:]))  # noqa: B905, RUF007 - Python 3.9
    places = [place / os.environ.get("UV_PROJECT_ENVIRONMENT", ".venv") for place in (directory, *directory.parents)]
    if os.path.basename(words[0]) in _CONDA:
        base = Path(os.path.realpath(shutil.which(words[0]) or words[0])).parent.parent
        name = options.get("-n") or options.get("--name")
        given = options.get("-p") or options.get("--prefix")
        places = [directory / given if given else base / "envs" / name if name else base]
    found = (place / "bin" / "python" for place in places)
    return next((str(path) for path in found if os.path.isfile(path)), None)


def _chosen_by_pyenv(shim: Path, directory: Path) -> str:
    """The interpreter that a script of pyenv starts; the script itself if that is unknown."""
    root = shim.parent.parent
    files = [*(place / ".python-version" for place in (directory, *directory.parents)), root / "version"]
    name = os.environ.get("PYENV_VERSION") or next(filter(None, (_line(path) for path in files)), "")
    known = sorted(_names(root / "versions"))
    chosen = [one for one in known if one == name or one.startswith(f"{name}.")] if name else []
    return shutil.which(shim.name, path=f"{root}/versions/{chosen[-1]}/bin") or str(shim) if chosen else str(shim)


class Package(NamedTuple):
    """An installed package.

    Attributes:
        version: Its version.
        line: A line of a requirements file; a comment for what no index has.
        path: Directory of its sources, if it is installed in editable mode.
    """

    version: str
    line: str
    path: str = ""


class Software(NamedTuple):
    """An interpreter and its packages.

    Attributes:
        version: Version of Python; empty if unknown.
        packages: Its packages by normalised name.
    """

    version: str
    packages: dict[str, Package]

    @classmethod
    def of(cls, interpreter: str) -> Software:
        """Those of an interpreter, from the names of the packages' metadata; it is not started."""
        # Never from `sys.path`: whoever asks later is another process.
        version, places = _installation(interpreter)
        given = filter(None, os.environ.get("PYTHONPATH", "").split(os.pathsep))
        found: dict[str, Package] = {}
        for place, is_system in {**dict.fromkeys(given, False), **places}.items():
            for entry in sorted(_names(place)):
                match = _DISTRIBUTION.fullmatch(entry) or _CONDA_PACKAGE.fullmatch(entry)
                if match is not None:
                    name = re.sub(r"[-_.]+", "-", match[1]).lower()
                    origin = Path(place, entry, "direct_url.json")
                    found.setdefault(name, _package(name, match[2], origin, is_system=is_system))
        return cls(version, found)

    @property
    def lines(self) -> list[str]:
        """A requirements file; comments for what no index has."""
        return [f"# Python {self.version}", *(self.packages[name].line for name in sorted(self.packages))]

    @property
    def content(self) -> bytes:
        return "".join(f"{line}\n" for line in self.lines).encode("utf-8", "replace")

    @property
    def digest(self) -> str:
        return digest_of_bytes(self.content)

    @property
    def decisive(self) -> dict[str, str]:
        """Versions of the packages that decide how fast a model runs."""
        return {name: one.version for name, one in sorted(self.packages.items()) if _DECISIVE.fullmatch(name)}

    def editable(self, deadline: float, log: str) -> dict[str, Any]:
        """Path, commit and difference of each package that is installed in editable mode, without DLBS itself."""
        found: dict[str, Any] = {}
        for name, one in sorted(self.packages.items()):
            if one.path and name != "dlbs" and len(found) < _MOST_PARTS:
                repository = Repository.around(Path(one.path) / "_")
                state = repository.state(deadline, log=log) if repository else {"commit": None, "diff": None}
                found[name] = {"path": one.path, **state}
        return found


def _package(name: str, version: str, path: Path, *, is_system: bool) -> Package:
    plain = Package(version, f"{SYSTEM if is_system else ''}{name}=={version}")
    if not (content := _read(path)):  # nearly all
        return plain
    import json
    from urllib.parse import unquote

    try:
        origin = json.loads(content)
        address, vcs = without_credentials(origin["url"]), origin.get("vcs_info")
        if origin.get("dir_info", {}).get("editable"):
            return Package(version, f"# editable: {name}=={version}", unquote(address.removeprefix("file://")))
        if is_system:  # conda's has the directory in which it was built
            return plain
        prefix, commit = (f"{vcs['vcs']}+", f"@{vcs['commit_id']}") if vcs else ("", "")
        return Package(version, f"{name} @ {prefix}{address}{commit}")
    except (ValueError, KeyError, TypeError, AttributeError):
        return plain


def _installation(interpreter: str) -> tuple[str, dict[str, bool]]:
    """Version of an interpreter, as far as paths and files name it, and directories of its packages: whether they belong to the system."""
    prefix = Path(interpreter).parent.parent
    real = Path(os.path.realpath(interpreter))
    short = re.sub(r"^\D*", "", real.name)
    settings = dict(re.findall(r"(?m)^\s*([\w-]+)\s*=\s*(.*?)\s*$", _read(prefix / "pyvenv.cfg")))
    version = settings.get("version") or settings.get("version_info", "")[:20]
    places: dict[str, bool] = {}

    def add(root: Path) -> None:
        metadata = root / "conda-meta"
        own = glob.glob(f"{glob.escape(str(root))}/lib*/py*{short if '.' in short else '3*'}/site-packages")
        places.update(dict.fromkeys([*own, *([str(metadata)] if metadata.is_dir() else [])], metadata.is_dir()))

    if settings:
        add(prefix)
    if not settings or settings.get("include-system-site-packages", "").lower() == "true":
        base = real.parent.parent
        places[os.path.expanduser(f"~/.local/lib/python{short}/site-packages")] = False
        add(base)
        places[f"/usr/local/lib/python{short}/dist-packages"] = False
        places[str(base / "lib/python3/dist-packages")] = True
    # Of conda, and of pyenv and uv.
    named = [re.fullmatch(r"python-([\d.]+)-.*\.json", name) for name in sorted(_names(prefix / "conda-meta"))]
    named.append(re.search(r"(?:^|-)(3\.\d+\.\d+)(?:-|$)", real.parent.parent.name))
    return version or next((one[1] for one in named if one), short), places


def _names(directory: str | Path) -> frozenset[str]:
    """Names in a directory; empty if it cannot be read."""
    try:
        return frozenset(os.listdir(directory))
    except (OSError, ValueError):
        return frozenset()
