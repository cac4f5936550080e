"""What programs inherit from whoever starts them: signals, umask, limits, locale, streams, directories, users, variables of Python and of shells."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

import pytest

from benchmark_core.exits import FAILED, OK, UNAVAILABLE, WRONG_INPUT
from tests.conftest import ROOT
from tests.experiments import DUMMY, logs, values

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="mounting and other users take root")

NOBODY = 65534
LOCALES = ("tr_TR.UTF-8", "de_DE.UTF-8", "de_DE.ISO-8859-1")
VERBS = {
    "run": ("run", *DUMMY, "-Vexp.seed=[1,2]"),
    "command": ("run", "-Pexp.docker=false", "-Pexp.gpus=", "-Pcommand.min_seconds=0", "--", "/bin/false"),
    "build": ("build", *DUMMY, "-Vexp.seed=[1,2]", "-o", "plan.jsonl"),
    "parse": ("parse", "../logs", "-o", "results.json"),
    "report": ("report", "../logs"),
    "plot": ("plot", "../logs", "-o", "plot.svg"),
    "store": ("db", "add", "../logs", "--db", "sqlite:///results.db"),
}
USUALLY = ("command", "report")
WITH_FILES = ("run", "build", "parse", "plot", "store")


class Condition(NamedTuple):
    """How commands are started.

    Attributes:
        before: Shell code that runs first.
        variables: Changes of the environment; None removes one. `{0}` is a directory of the test.
        says: Verb → pattern of its one error; verbs without one work as usual.
        verbs: That are tried.
    """

    before: str = ""
    variables: Mapping[str, str | None] = {}
    says: Mapping[str, str] = {}
    verbs: tuple[str, ...] = USUALLY


def _under(command: str) -> str:
    return f'set -- {command} "$@"'


def _variable(name: str, *given: str | None, verbs: tuple[str, ...] = USUALLY) -> dict[str, Condition]:
    return {f"{name}={value!r}": Condition(variables={name: value}, verbs=verbs) for value in given}


# With the one capability that the interpreter of the tests may need: it may be in a directory of root.
_NOBODY = _under(
    f"setpriv --reuid={NOBODY} --regid={NOBODY} --clear-groups --inh-caps=+dac_read_search --ambient-caps=+dac_read_search"
)
_NO_BASH = {"run": "stopped: bash: cannot start the launcher"}
_NO_OUTPUT = {"report": "standard output: cannot be written"}
_NO_DIRECTORY = "current directory does not exist|No such file|no such file"

CONDITIONS = {
    **{f"ignored {name}": Condition(_under(f"env --ignore-signal={name}")) for name in ("CHLD", "HUP,INT,TERM,PIPE")},
    **{f"blocked {name}": Condition(_under(f"env --block-signal={name}")) for name in ("CHLD", "TERM,ALRM,VTALRM")},
    "all signals ignored and blocked": Condition(_under("env --ignore-signal --block-signal")),
    "nohup": Condition(_under("nohup")),
    **{f"umask {mask}": Condition(f"umask {mask}", verbs=WITH_FILES) for mask in ("000", "077", "0777")},
    "24 files": Condition("ulimit -n 24", verbs=(*USUALLY, "plot", "store")),
    "8 files": Condition("ulimit -n 8", says={"run": "stopped: .*: Too many open files"}, verbs=("run", "report")),
    "files of 512 bytes": Condition("ulimit -f 1", says={"parse": "File too large", "store": "disk I/O"}, verbs=("parse", "store")),
    "a stack of 256 KiB": Condition("ulimit -s 256"),
    "memory of 1 GB": Condition("ulimit -v 1000000"),
    "too little memory": Condition("ulimit -v 160000", says={"plot": "there is not enough memory"}, verbs=("run", "plot")),
    **{f"locale {name}": Condition(variables={"LC_ALL": name, "LOCPATH": "{0}/locales"}, verbs=WITH_FILES) for name in LOCALES},
    **_variable("LC_ALL", "C", "POSIX", "no\nlocale"),
    "ASCII": Condition(variables={"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}, verbs=(*USUALLY, "plot")),
    **_variable("TERM", "dumb", "nonsense", None),
    **_variable("COLUMNS", "-1", "x"),
    "standard input closed": Condition("exec 0<&-"),
    "standard output closed": Condition("exec 1>&-", says=_NO_OUTPUT),
    "standard error closed": Condition("exec 2>&-", verbs=(*USUALLY, "store")),
    "all streams closed": Condition("exec 0<&- 1>&- 2>&-", verbs=("run", "parse", "store")),
    **_variable("TMPDIR", "/nowhere", "{0}/read only", "{0}/full", "{0}/a b\nc", verbs=("command", "parse", "plot")),
    **{
        f"HOME={home!r}": Condition(variables={"HOME": home, "XDG_CACHE_HOME": None}, verbs=("run", "parse", "plot"))
        for home in ("{0}/nowhere", "{0}/read only", "{0}/full", "{0}/of nobody", "/dev/null", "", None)
    },
    "no directory": Condition("mkdir gone; cd gone; rmdir ../gone", says=dict.fromkeys(USUALLY, _NO_DIRECTORY)),
    **{f"PATH={path!r}": Condition(variables={"PATH": path}, says=_NO_BASH, verbs=("run", "report")) for path in ("", "/nowhere")},
    "no variables": Condition(_under("env -i")),
    "variables of shells": Condition(
        variables={
            "BASH_ENV": "{0}/bash_env", "ENV": "{0}/bash_env", "CDPATH": "/", "SHELLOPTS": "nounset", "POSIXLY_CORRECT": "1",
            "BASH_FUNC_echo%%": "() { exit 3; }", "IFS": "e",
        }
    ),
    **_variable("TZ", "No/Where", "Pacific/Chatham"),
    **_variable("PYTHONOPTIMIZE", "2"),
    **_variable("PYTHONWARNINGS", "error"),
    **_variable("PYTHONIOENCODING", "ascii"),
    **_variable("PYTHONINTMAXSTRDIGITS", "640"),
    **_variable("PYTHONDEVMODE", "1"),
    "another user": Condition(f"chown {NOBODY} . ; {_NOBODY}", {"HOME": "/root", "XDG_CACHE_HOME": None}, verbs=WITH_FILES),
    "another user, umask 0777": Condition(
        f"chown {NOBODY} . ; umask 0777; {_NOBODY}", {"HOME": "/nowhere", "XDG_CACHE_HOME": None}, verbs=WITH_FILES
    ),
}  # fmt: skip
CODES = {"command": FAILED}


class Place(NamedTuple):
    """Directories that conditions name, with logs, and what verbs answer to usual conditions."""

    directory: Path
    usual: dict[str, str]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    made = tmp_path_factory.mktemp("inherited")
    opened = [
        parent
        for parent in (made, *made.parents)
        if parent.stat().st_uid == os.geteuid() and parent.is_relative_to("/tmp")
    ]
    for parent in opened:  # pytest makes them for this user only
        if parent != Path("/tmp"):
            parent.chmod(0o755)
    for name in ("read only", "full", "a b\nc", "of nobody", "locales"):
        (made / name).mkdir()
    (made / "bash_env").write_text("echo from BASH_ENV; exit 3\n")
    for name in LOCALES:
        language, _, encoding = name.partition(".")
        command = ["localedef", "--no-archive", "-i", language, "-f", encoding, str(made / "locales" / name)]
        subprocess.run(command, check=False, capture_output=True)
    os.chown(made / "of nobody", NOBODY, NOBODY)
    subprocess.run(["mount", "-t", "tmpfs", "-o", "ro", "none", made / "read only"], check=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4k", "none", made / "full"], check=True)
    subprocess.run(["dd", "if=/dev/zero", f"of={made}/full/file"], check=False, capture_output=True)
    (made / "first").mkdir()
    subprocess.run([sys.executable, "-m", "dlbs", *VERBS["run"]], cwd=made / "first", env=_environment(made), check=True, capture_output=True)  # fmt: skip
    shutil.move(made / "first" / "logs", made / "logs")
    answers = Place(made, {})
    for verb in VERBS:
        code, answer, _ = _answer(answers, made / f"usual {verb}", verb, Condition())
        assert code == CODES.get(verb, OK)
        answers.usual[verb] = answer
    yield answers
    for name in ("read only", "full"):
        subprocess.run(["umount", made / name], check=True)


def _environment(place: Path, changes: Mapping[str, str | None] = {}) -> dict[str, str]:
    environment: dict[str, str | None] = {**os.environ, "PYTHONPATH": str(ROOT), "XDG_CACHE_HOME": str(place / "cache")}
    for name, value in changes.items():
        environment[name] = value if value is None else value.replace("{0}", str(place))
    return {name: value for name, value in environment.items() if value is not None}


def _answer(place: Place, directory: Path, verb: str, condition: Condition) -> tuple[int, str, str]:
    """Exit code, what the verb wrote (output and files, without times), and its errors."""
    directory.mkdir()
    done = subprocess.run(
        ["/bin/sh", "-c", f'{condition.before}\nexec "$@"', "sh", sys.executable, "-m", "dlbs", *VERBS[verb]],
        cwd=directory, env=_environment(place.directory, condition.variables),
        stdin=subprocess.DEVNULL, capture_output=True, check=False,
    )  # fmt: skip
    written = " ".join(
        re.findall(r"[\w.,]+", done.stdout.decode("ascii", "ignore"))
    )  # frames of tables depend on the encoding
    for file in sorted(directory.glob("*.json*")):
        written += file.read_text(encoding="utf-8")
    for log in logs(directory):
        written += (
            f"{values(log)['exp.status']} {values(log)['exp.status_msg']} {values(log).get('results.throughput')}\n"
        )
    for name in ("plot.svg", "results.db"):
        written += f"{name}\n" if (directory / name).exists() and (directory / name).stat().st_size > 1000 else ""
    return done.returncode, written, done.stderr.decode("utf-8", "replace")


@pytest.mark.parametrize("name", CONDITIONS)
def test_the_same_results_or_one_clear_error(place: Place, tmp_path: Path, name: str) -> None:
    condition = CONDITIONS[name]
    for verb in condition.verbs:
        code, answer, errors = _answer(place, place.directory / f"{tmp_path.name} {verb}", verb, condition)
        assert "Traceback" not in errors, (verb, errors)
        if pattern := condition.says.get(verb):
            assert code in {FAILED, WRONG_INPUT, UNAVAILABLE}, (verb, code, errors)
            assert re.search(pattern, errors), (verb, errors)
        else:
            assert code == CODES.get(verb, OK), (verb, code, errors)
            assert answer == place.usual[verb], (verb, errors)
