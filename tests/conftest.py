"""What all tests share: their environment, how they start dlbs, and what is skipped where a service is missing."""

from __future__ import annotations

import functools
import gc
import logging
import os
import re
import resource
import shlex
import signal
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import hypothesis
import psutil
import pytest

from tests import forked
from tests.durations import keep_durations, seconds_of_files
from tests.forked import ForkServer, Program
from tests.services import ACCELERATORS, COMMAND, skip_reason
from tests.waiting import PATIENCE, has_ended, wait_until

if TYPE_CHECKING:
    from tests.slurm_cluster import Cluster

ROOT = Path(__file__).resolve().parent.parent
RunDlbs = Callable[..., "subprocess.CompletedProcess[str]"]
BENCHMARKS = ROOT / "python" / "pytorch_benchmarks"
Bench = Callable[..., "subprocess.CompletedProcess[str]"]
_OWNER = "PYTEST_PROCESS"  # inherited by what tests start
_LARGEST_FILE = 1 << 30  # bytes
_GRACE = 60.0  # s for processes that are about to end on a busy machine


def _search_path() -> list[str]:
    """Where this interpreter was told to look for packages besides its own."""
    return [path for path in os.environ.get("PYTHONPATH", "").split(os.pathsep) if path]


def pytest_configure() -> None:
    # Threads of OpenMP spin while they wait for each other: beside other work two of them are many times slower than one.
    # Set before anything imports torch, and inherited by the processes that tests start.
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    os.environ.setdefault("DLBS_GIT_SECONDS", "50")  # on a busy machine
    os.environ.pop("COLUMNS", None)  # pytest-xdist sets it, and tables would be folded in its workers only
    # Whatever starts the tests (nohup, a shell in the background, a service) may ignore or block signals, and tests and their children would, too.
    for number in (signal.SIGHUP, signal.SIGINT, signal.SIGQUIT, signal.SIGTERM, signal.SIGUSR1):
        if signal.getsignal(number) is signal.SIG_IGN:
            signal.signal(number, signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL)
    os.environ[_OWNER] = str(os.getpid())
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
    os.umask(0o022)
    if not os.access(
        os.path.expanduser("~"), os.W_OK
    ):  # otherwise each forked process removes the directory of matplotlib
        os.environ.setdefault("MPLCONFIGDIR", tempfile.mkdtemp())
    hard = resource.getrlimit(resource.RLIMIT_FSIZE)[1]
    if hard == resource.RLIM_INFINITY:  # no test, and no child of one, fills the disk
        resource.setrlimit(resource.RLIMIT_FSIZE, (_LARGEST_FILE, hard))
    hypothesis.settings.register_profile(
        "any speed", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow]
    )
    hypothesis.settings.load_profile("any speed")


@pytest.hookimpl(wrapper=True, trylast=True)  # inside of those of pytest, which tidy up after a skip
def pytest_runtest_setup(item: pytest.Item) -> Iterator[None]:
    for marker in item.iter_markers("needs"):
        for service in marker.args:
            if reason := skip_reason(service):
                pytest.skip(reason)
    with _no_process_but_forks(item):
        return (yield)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_teardown(item: pytest.Item) -> Iterator[None]:
    """No process that a test started outlives it: what does not end soon is killed, and the test fails."""
    result = yield
    if "integration" in item.keywords and (left := _left_by(item)):
        with suppress(AssertionError):
            wait_until(lambda: all(has_ended(one.pid) for one in left), seconds=_GRACE)
        for one in (left := _left_by(item)):
            with suppress(psutil.Error):
                print(
                    f"left running by {item.nodeid}: {shlex.join(one.cmdline())} (process {one.pid}, killed)",
                    file=sys.stderr,
                )
                one.kill()
        if left:
            pytest.fail(f"{len(left)} processes of the test did not end; they are listed above")
    return result


def _left_by(item: pytest.Item) -> list[psutil.Process]:
    """Processes that inherited pytest's variable of this test while it ran; fixtures may keep theirs."""
    names = {os.fsencode(f"PYTEST_CURRENT_TEST={item.nodeid} (call)"), f"{_OWNER}={os.getpid()}".encode()}
    found = []
    for directory in Path("/proc").glob("[0-9]*"):
        with suppress(OSError, psutil.Error):
            if int(directory.name) != os.getpid() and names <= {*(directory / "environ").read_bytes().split(b"\0")}:
                command = (directory / "cmdline").read_bytes()
                if b"multiprocessing." not in command:  # a server of this process for all its tests
                    found.append(psutil.Process(int(directory.name)))
    return found


@contextmanager
def _no_process_but_forks(item: pytest.Item) -> Iterator[None]:
    """Let a test of `make unit` start no process, which costs more than most of these tests, but for the `dlbs` that is forked for it."""
    if not {"integration", "gpu"}.isdisjoint(item.keywords):
        yield
        return
    start = subprocess.Popen.__init__

    def only_the_server(self: subprocess.Popen[Any], command: Any, *arguments: Any, **options: Any) -> None:
        if forked.__file__ not in command:
            pytest.fail(f"starts {command!r}: mark it `integration`, or run the code here (CONTRIBUTING.md)")
        start(self, command, *arguments, **options)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(subprocess.Popen, "__init__", only_the_server)
        yield


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Iterator[None]:
    try:
        with _no_process_but_forks(item):
            return (yield)
    finally:
        if torch := sys.modules.get("torch"):  # a test that sets threads sets them for itself, not for those after it
            torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))


def dlbs_environment(**more: str) -> dict[str, str]:
    """The environment in which `python -m dlbs` finds this checkout from any directory."""
    return {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), *_search_path()]), **more}


@functools.cache
def dlbs_server() -> ForkServer:
    """Starts `python -m dlbs` in a hundredth of the time.

    It imports what the commands use and no more: the larger a process, the longer a fork takes.
    """
    heavy = ("jinja2", "rich.console", "rich.table", "matplotlib.figure")
    return ForkServer(("dlbs.*", *heavy, "tests.compiled:compile_shipped"), ROOT, dlbs_environment())


def pytest_sessionfinish() -> None:
    if dlbs_server.cache_info().currsize:
        dlbs_server().close()


def start_dlbs(directory: Path, *arguments: str, **environment: str) -> Program | subprocess.Popen[str]:
    """Start `dlbs ARGUMENTS` in a directory."""
    return dlbs_server().start(
        "-m", "dlbs", *arguments, directory=directory, environment=dlbs_environment(**environment)
    )


@pytest.fixture(scope="session")
def forked_dlbs() -> ForkServer:
    return dlbs_server()


@pytest.fixture(scope="session")
def forked_torch() -> Iterator[ForkServer]:
    """Starts the programs of `python/pytorch_benchmarks` without importing PyTorch each time."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    server = ForkServer(
        ("torch._dynamo", "torch.distributed.run", "pytorch_benchmarks.*"), ROOT / "python", environment
    )
    yield server
    server.close()


@pytest.fixture
def bench(forked_torch: ForkServer, tmp_path: Path) -> Bench:
    """Run `benchmarks.py ARGUMENTS` alone: no PYTHONPATH, from an empty directory."""

    def run(*arguments: str, program: Path = BENCHMARKS / "benchmarks.py") -> subprocess.CompletedProcess[str]:
        environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
        return forked_torch.run(str(program), *arguments, directory=tmp_path, environment=environment, timeout=PATIENCE)

    return run


@pytest.fixture
def dlbs(forked_dlbs: ForkServer, tmp_path: Path) -> RunDlbs:
    """Run `dlbs ARGUMENTS` as a process in an empty directory."""

    def run(*arguments: str, check: bool = False, **environment: str) -> subprocess.CompletedProcess[str]:
        return forked_dlbs.run(
            "-m",
            "dlbs",
            *arguments,
            directory=tmp_path,
            environment=dlbs_environment(**environment),
            timeout=PATIENCE,
            check=check,
        )

    return run


@pytest.fixture
def own_registry() -> Iterator[None]:
    """Let a test find no models of other tests in this process, and no other test those that it registers."""
    from dlbs.packs.container_model import Model, Registrable

    before = {base: dict(classes) for base, classes in Registrable.registered.items()}
    Registrable.registered.pop(Model, None)
    yield
    Registrable.registered.clear()
    Registrable.registered.update(before)


@pytest.fixture(scope="session")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """A real Slurm on this machine."""
    from tests.slurm_cluster import HOST, Cluster

    if reason := skip_reason("Slurm"):
        pytest.skip(reason)
    made = Cluster(tmp_path_factory.mktemp("slurm"), (HOST,))
    made.start()
    yield made
    made.stop()


def needed(report: pytest.TestReport) -> str:
    """The service for want of which a test was skipped, if that is why."""
    reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else ""
    found = re.match(r"Skipped: needs ([^:]+): ", reason)
    return found[1] if found else ""


@pytest.fixture
def messages() -> Iterator[list[str]]:
    """What dlbs logs during a test, from the level INFO on."""
    found: list[str] = []
    handler = logging.Handler()
    handler.emit = lambda record: found.append(record.getMessage())  # type: ignore[method-assign]
    logger = logging.getLogger("dlbs")
    level = logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    yield found
    logger.setLevel(level)
    logger.removeHandler(handler)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Iterator[None]:
    """In CI everything but GPUs is installed, so a skip means that a test did not run that should have."""
    report = yield
    skipped = report.skipped and not hasattr(report, "wasxfail") and needed(report) not in ACCELERATORS
    if skipped and "gpu" not in item.keywords and os.environ.get("CI") == "true":
        report.outcome = "failed"
        report.longrepr = f"skipped in CI: {report.longrepr}"
    return report


def pytest_collection_finish() -> None:
    """Take what was imported out of reach of the garbage collector, which benchmarks call before they measure: torch is 0.3 s of it each time."""
    gc.collect()
    gc.freeze()


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Give the longest files to processes first, so that none is left alone with one at the end."""
    if hasattr(config, "workerinput") and hasattr(config, "cache"):
        seconds = seconds_of_files(config.cache, items)
        items.sort(key=lambda item: -seconds[item.path])


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    if hasattr(terminalreporter.config, "cache"):
        ended = [report for reports in terminalreporter.stats.values() for report in reports]
        tests = [report for report in ended if isinstance(report, pytest.TestReport)]
        keep_durations(terminalreporter.config.cache, tests)
    counts = Counter(needed(report) for report in terminalreporter.stats.get("skipped", []))
    missing = {name: count for name, count in counts.items() if name and name not in ACCELERATORS}
    if missing:
        services = ", ".join(f"{name} ({count})" for name, count in sorted(missing.items()))
        terminalreporter.write_line(
            f"{sum(missing.values())} tests were skipped for want of {services}: {COMMAND} installs and starts them "
            "(as root on Debian)",
            yellow=True,
        )
