"""The device of a test, and the journal of a session on a GPU (`make gpu`), if one runs these tests.

A test that asks for `cuda` needs a GPU: it has the marker `gpu`, and without a GPU it is skipped with a reason. A test that asks for `device` runs on the CPU as
well: what it says is true there too.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import torch

from benchmarks.gpu.journal import Case, Journal, out_of_time

JOURNAL = pytest.StashKey[Journal]()
FIGURES = pytest.StashKey[dict[str, Any]]()
SETUP = pytest.StashKey[float]()


def no_gpu() -> str:
    """Why nothing can run on a GPU here; empty if it can."""
    if torch.cuda.is_available():
        return ""
    build = "this PyTorch is built without CUDA" if torch.version.cuda is None else "PyTorch finds no CUDA device"
    return f"needs GPU: {build}"


@pytest.fixture
def cuda() -> Iterator[torch.device]:
    """The first GPU, with no memory held by earlier tests, nor by this one afterwards."""
    if reason := no_gpu():
        pytest.skip(reason)
    device = torch.device("cuda", 0)
    torch.cuda.set_device(device)
    yield device
    torch.cuda.synchronize(device)
    torch.cuda.empty_cache()


@pytest.fixture(params=["cpu", pytest.param("cuda", marks=pytest.mark.gpu)])
def device(request: pytest.FixtureRequest) -> torch.device:
    """The CPU, and the first GPU."""
    if request.param == "cpu":
        return torch.device("cpu")
    found: torch.device = request.getfixturevalue("cuda")
    return found


@pytest.fixture(autouse=True)
def _settings() -> Iterator[None]:
    """What a test sets of PyTorch for all is as it was afterwards."""
    cudnn = torch.backends.cudnn
    matmul, tf32, tuned, deterministic = (
        torch.get_float32_matmul_precision(),
        cudnn.allow_tf32,
        cudnn.benchmark,
        cudnn.deterministic,
    )
    yield
    torch.set_float32_matmul_precision(matmul)
    cudnn.allow_tf32, cudnn.benchmark, cudnn.deterministic = tf32, tuned, deterministic


def pytest_itemcollected(item: pytest.Item) -> None:
    if "cuda" in getattr(item, "fixturenames", ()):
        item.add_marker(pytest.mark.gpu)


@pytest.hookimpl(trylast=True)  # after `-m` has chosen
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """In a session: leave out what is done, and what is for another process."""
    journal = Journal.of_environment()
    if journal is None:
        return
    config.stash[JOURNAL] = journal
    by_name = {item.nodeid: item for item in items}
    left = journal.plan(list(by_name))
    config.hook.pytest_deselected(items=[item for name, item in by_name.items() if name not in set(left)])
    items[:] = [by_name[name] for name in left]


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_protocol(item: pytest.Item) -> bool | None:
    """In a session: stop when the time is over."""
    if JOURNAL not in item.config.stash:
        return None
    if out_of_time():
        item.session.shouldstop = "the time is over"
        return True
    item.config.stash[JOURNAL].start(item.nodeid)
    return None


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Iterator[pytest.TestReport]:
    report: pytest.TestReport = yield
    if call.when == "setup":
        item.stash[SETUP] = report.duration
    if JOURNAL in item.config.stash and (call.when == "call" or not report.passed):
        item.config.stash[JOURNAL].finish(_case(item, report))
        if report.failed and "CUDA error" in report.longreprtext:
            # After such an error every call fails: what is left runs in a new process.
            item.session.shouldstop = "the CUDA context is broken"
    return report


def _case(item: pytest.Item, report: pytest.TestReport) -> Case:
    reason = ""
    if report.skipped and isinstance(report.longrepr, tuple):
        reason = report.longrepr[2].removeprefix("Skipped: ")
    elif report.failed:
        reason = report.longreprtext[-4000:]
    seconds = report.duration + (item.stash[SETUP] if report.when == "call" else 0.0)
    return Case("", item.nodeid, report.outcome, round(seconds, 3), reason, item.stash.get(FIGURES, {}))


@pytest.fixture
def figures(request: pytest.FixtureRequest) -> dict[str, Any]:
    """What a test finds out in numbers, for the report of a session."""
    found: dict[str, Any] = {}
    request.node.stash[FIGURES] = found
    return found
