"""Every verb checks its options before it prints: after an error, standard output is empty."""

from __future__ import annotations

import subprocess
from collections.abc import Callable

import pytest

from tests.conftest import dlbs_environment
from tests.experiments import DUMMY
from tests.forked import ForkServer
from tests.waiting import PATIENCE

Dlbs = Callable[..., "subprocess.CompletedProcess[str]"]
_LOG = "logs/1.log"


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory, forked_dlbs: ForkServer) -> Dlbs:
    """dlbs, in a directory with logs and a store."""
    directory = tmp_path_factory.mktemp("measured")

    def dlbs(*arguments: str, check: bool = False) -> subprocess.CompletedProcess[str]:
        return forked_dlbs.run(
            "-m", "dlbs", *arguments,
            directory=directory, environment=dlbs_environment(), timeout=PATIENCE, check=check,
        )  # fmt: skip

    grid = ["-Vexp.replica_batch=[1,2]", "-Pexp.log_file=logs/${exp.replica_batch}.log"]
    dlbs("run", *DUMMY, "-Pdummy.seconds=0", *grid, check=True)
    dlbs("db", "add", "logs", check=True)
    return dlbs


@pytest.mark.integration
@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["parse", "logs", "--output-params", "exp.modle"], "--output-params: no experiment has 'exp.modle'"),
        (["parse", "logs", "--filter-params", "exp.modle"], "--filter-params: no experiment has 'exp.modle'"),
        (["parse", "logs", "--filter-query", '{"exp.modle": 1}'], "--filter-query: no experiment has 'exp.modle'"),
        (["parse", "logs", "-Pmy.name=${exp.modle}"], "-Pmy.name: no experiment has 'exp.modle'"),
        (["report", "logs", "--rows", "exp.modle"], "--rows: no experiment has 'exp.modle'"),
        (
            ["report", "logs", "--cols", "batch"],
            "--cols: no experiment has 'batch' (did you mean 'exp.replica_batch'?)",
        ),
        (["report", "logs", "--values", "time"], "--values: no experiment has 'time' (did you mean 'results.time'?)"),
        (["report", "logs", "--cols", "exp.modle"], "--cols: no experiment has 'exp.modle'"),
        (["report", "logs", "--values", "exp.modle", "--format", "json"], "--values: no experiment has 'exp.modle'"),
        (["report", "logs", "--summary", "--values", "exp.modle"], "--values: no experiment has 'exp.modle'"),
        (["report", "--series", "logs", "--rows", "exp.model"], "--series: --rows would have no effect"),
        (["report", "--series", _LOG, "logs"], "--series: PATH would have no effect"),
        (["report", "--series", "nowhere"], "nowhere: no such"),
        (["report", "logs", "--summary", "--type", "weak"], "--summary: --type would have no effect"),
        (["report", "logs", "--scores", "--cols", "exp.model"], "--scores: --cols would have no effect"),
        (["report", "logs", "--html", "x.html", "--over", "exp.seed"], "--html: --over would have no effect"),
        (["compare", _LOG, "logs/2.log", "--by", "exp.modle"], "--by exp.modle: no experiment has 'exp.modle'"),
        (["compare", _LOG, "logs/2.log", "--metric", "results.tim"], "--metric: no experiment has 'results.tim'"),
        (["plot", "logs", "--x", "exp.modle", "-o", "x.svg"], "no experiment has 'exp.modle'"),
        (["plot", "logs", "--x", "exp.replica_batch", "--y", "results.tim", "-o", "x.svg"], "'results.tim'"),
        (["db", "query", "--columns", "exp.modle"], "--columns: no experiment has 'exp.modle'"),
        (["db", "query", "--columns", "exp.modle", "--format", "json"], "--columns: no experiment has 'exp.modle'"),
        (["db", "query", '{"exp.model": "("}'], "bad regular expression"),
        (["db", "export", '{"exp.model": "("}'], "bad regular expression"),
        (["db", "add", "logs", "--tag", ""], "a tag must have 1 to 200 letters"),
        (["status", "logs", "nowhere"], "nowhere: no such directory"),
        (["validate", "--results", "logs", "--require", "exp.modle"], "--require: no experiment has 'exp.modle'"),
        (["build", *DUMMY, "-Pexp.modle=alexnet"], "unknown parameter 'exp.modle'"),
        (["print-config", "-Pexp.modle=alexnet"], "unknown parameter 'exp.modle'"),
        (["explain", "exp.modle"], "no parameter 'exp.modle'"),
        (["help", "exp.model", "exp.modle"], "exp.modle"),
        (["migrate", "--dry-run", "nowhere.json"], "nowhere.json: no such file"),
    ],
)
def test_nothing_is_printed_before_a_bad_option_is_found(measured: Dlbs, arguments: list[str], said: str) -> None:
    done = measured(*arguments)
    assert (done.returncode, done.stdout) == (2, "")
    assert said in done.stderr


@pytest.mark.integration
def test_columns_choose_the_keys_of_json_too(measured: Dlbs) -> None:
    done = measured("db", "query", "--columns", "exp.replica_batch", "--format", "json", check=True)
    assert '"exp.replica_batch"' in done.stdout
    assert '"exp.model"' not in done.stdout
