"""Tables in a terminal: nothing that tells two rows apart is cut off, whatever the width, and colours only where they are allowed."""

from __future__ import annotations

import io
import os
import pty
import subprocess
import sys
from pathlib import Path

import pytest
from rich.console import Console

from dlbs.results.read.records import write_records
from dlbs.results.runs import Runs
from dlbs.results.statistics.compare import compare, compare_by
from dlbs.results.statistics.ratio import Rules
from dlbs.results.store.store import Store
from dlbs.results.tables.comparison import comparison_table
from dlbs.results.tables.lists import listing_table
from dlbs.results.tables.scores import score_table, scores
from dlbs.results.tables.table import Cell, Table
from dlbs.results.tables.terminal import divided, fitted, print_table
from tests.conftest import ROOT, RunDlbs
from tests.made_logs import declared, make_record
from tests.waiting import PATIENCE


def shown(table: Table, width: int) -> str:
    out = io.StringIO()
    print_table(table, Console(width=width, file=out, highlight=False))
    return out.getvalue()


def some_table(**more: str) -> Table:
    """Two rows that differ in name and throughput only."""
    names = ["name", "throughput", *more]
    cells = [[Cell(f"{row}00.0"), *map(Cell, more.values())] for row in (1, 2)]
    return Table("Title", names[:1], [["one"], ["two"]], names[1:], cells)


def test_a_table_that_fits_stays_as_it_is() -> None:
    table = some_table(host="node1")
    assert fitted(table, 80) == table


def test_columns_that_are_the_same_everywhere_go_first_and_are_noted() -> None:
    table = some_table(host="node" * 10, device="GPU" * 10)
    narrow = fitted(table, 70)
    assert narrow.header == ["name", "throughput", "host"]
    assert narrow.legend == [f"all rows: device {'GPU' * 10}"]
    assert fitted(table, 30).header == ["name", "throughput"]


def test_a_single_row_keeps_its_columns() -> None:
    table = some_table(host="node" * 30)
    one = Table("Title", table.names, table.rows[:1], table.columns, table.cells[:1])
    assert fitted(one, 20).header == one.header


def wide_table() -> Table:
    """Three columns that stand for themselves, of 20 characters each."""
    return Table(
        "Title",
        ["my.name"],
        [["one"], ["two"]],
        list("abc"),
        [[Cell(letter * 20)] * 3 for letter in "xy"],
        is_divisible=True,
    )


def test_columns_that_stand_for_themselves_are_shown_below_each_other() -> None:
    assert [part.columns for part in divided(wide_table(), 80)] == [["a", "b", "c"]]
    assert [part.columns for part in divided(wide_table(), 60)] == [["a", "b"], ["c"]]
    assert [part.columns for part in divided(wide_table(), 10)] == [["a"], ["b"], ["c"]]
    printed = shown(wide_table(), 60)
    assert printed.count("one") == printed.count("two") == 2
    assert printed.count("x" * 20) == 3
    assert printed.count("Title") == 1


def test_namespaces_go_before_anything_is_folded_unless_two_columns_would_be_called_the_same() -> None:
    table = Table(
        "",
        ["exp.dtype", "runtime.malloc", "x.name", "y.name"],
        [list("abcd"), list("efgh")],
        ["value"],
        [[Cell("1")], [Cell("2")]],
    )
    assert fitted(table, 80) == table
    assert fitted(table, 40).names == ["dtype", "malloc", "x.name", "y.name"]


def test_the_title_of_a_narrow_table_is_not_folded() -> None:
    assert "A title that is longer than the table below it" in shown(
        Table("A title that is longer than the table below it", ["a"], [["b"]], ["c"], [[Cell("d")]]), 80
    )


@pytest.mark.parametrize(("columns", "widest"), [("", 200), ("60", 60)])
def test_pipes_are_as_wide_as_needed_or_as_columns_says(
    dlbs: RunDlbs, tmp_path: Path, columns: str, widest: int
) -> None:
    swept = [
        make_record(f"{'m' * 30}{n}", batch, results__throughput_ci95=[1.0, 2.0])
        for n in "12"
        for batch in (1, 2, 4, 8)
    ]
    write_records(str(tmp_path / "r.json"), swept)
    said = dlbs("report", "r.json", COLUMNS=columns, check=True).stdout
    lines = [line for line in said.splitlines() if line.startswith("│")]
    assert max(map(len, lines)) <= widest
    assert (max(map(len, lines)) > 80) == (not columns)


def test_a_long_title_is_folded_as_the_notes_are() -> None:
    title = " ".join(["words"] * 30)
    lines = shown(Table(title, ["a"], [["b"]], ["c"], [[Cell("d")]]), 80).splitlines()
    assert max(map(len, lines)) <= 80
    assert " ".join(lines).startswith("words words")


@pytest.mark.parametrize("width", [40, 80])
@pytest.mark.parametrize("inside", [True, False])
def test_verdict_and_ratio_are_always_shown_and_the_verdict_is_never_folded(width: int, inside: bool) -> None:
    before, after = ([{**one, "runtime.malloc": malloc} for one in records()] for malloc in ("system", "keep"))
    table = (
        comparison_table(compare_by(declared([*before, *after]), Rules(by="runtime.malloc")))
        if inside
        else comparison_table(compare(declared(before), after, Rules(threshold=0.0)))
    )
    assert set(table.answers) <= set(fitted(table, width).header)
    words = "same" if inside else "inconclusive"
    assert sum(line.rstrip("│ ").endswith(words) for line in shown(table, width).splitlines()) == 2


def test_labels_lose_namespaces_before_words_are_broken() -> None:
    made = [[f"batch {batch}, runtime.malloc={malloc}"] for batch in (8, 16) for malloc in ("system", "keep")]
    table = Table("t", ["experiment"], made, ["value"], [[Cell(letter * 40)] for letter in "abcd"])
    assert "batch 16, malloc=system" in shown(table, 70)
    assert "runtime.malloc=keep" in shown(table, 100)
    table.rows = [["a.seed=1"], ["b.seed=1"], ["a.seed=2"], ["b.seed=2"]]
    assert "b.seed=1" in shown(table, 50)


def records() -> list[dict[str, object]]:
    models = ["a_model_with_a_rather_long_name_that_ends_in_1", "a_model_with_a_rather_long_name_that_ends_in_2"]
    return [make_record(model, 2**10, repeat=n, exp__env__host="h" * 40) for model in models for n in (1, 2, 3)]


def tables() -> dict[str, Table]:
    return {
        "compare": comparison_table(compare(declared(records()), records())),
        "query": listing_table(Runs.of(records())),
        "scores": score_table(scores(declared(records()))),
    }


@pytest.mark.parametrize("name", ["compare", "query", "scores"])
@pytest.mark.parametrize("width", [40, 80, 120])
def test_no_text_is_cut_off_at_any_width(name: str, width: int) -> None:
    table = tables()[name]
    parts = divided(fitted(table, width), width)
    bodies = [block.partition("└")[0] for block in shown(table, width).split("┡")[1:]]
    for part, body in zip(parts, bodies, strict=True):
        assert max(map(len, body.splitlines())) <= width
        # Read the cells column by column: folded parts stand below each other.
        rows = [[cell.strip() for cell in line.strip("│").split("│")] for line in body.splitlines()[1:]]
        for column in range(len(part.header)):
            read = "".join(row[column] for row in rows).replace(" ", "")
            assert read == "".join(row[column] for row in part.texts()).replace(" ", "")


def run_in_terminal(arguments: list[str], directory: Path, **environment: str) -> str:
    """The output of a command whose standard output is a terminal of 80 columns."""
    master, slave = pty.openpty()
    inherited = {name: value for name, value in os.environ.items() if name not in {"NO_COLOR", "FORCE_COLOR"}}
    variables = {**inherited, "PYTHONPATH": str(ROOT), "COLUMNS": "80", "TERM": "xterm", **environment}
    process = subprocess.Popen(
        [sys.executable, "-m", "dlbs", *arguments],
        cwd=directory,
        env=variables,
        stdout=slave,
        stderr=subprocess.DEVNULL,
    )
    os.close(slave)
    said = b""
    while True:
        try:
            block = os.read(master, 65536)
        except OSError:  # the other end is closed
            break
        if not block:
            break
        said += block
    os.close(master)
    assert process.wait(PATIENCE) == 0
    return said.decode()


@pytest.mark.integration
def test_verdicts_have_colours_where_these_are_allowed(tmp_path: Path) -> None:
    for name, time in (("a.json", 10.0), ("b.json", 20.0)):
        write_records(str(tmp_path / name), [make_record(time=time, repeat=n) for n in (1, 2, 3)])
    command = ["compare", "a.json", "b.json"]
    assert "\x1b[31m slower\x1b[0m" in run_in_terminal(command, tmp_path)
    assert "\x1b[31m" not in run_in_terminal(command, tmp_path, NO_COLOR="1")
    piped = subprocess.run(
        [sys.executable, "-m", "dlbs", *command],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
    )
    assert "slower" in piped.stdout
    assert "\x1b" not in piped.stdout


@pytest.mark.integration
def test_db_query_tells_rows_apart_in_80_columns(tmp_path: Path) -> None:
    with Store(str(tmp_path / "results.db")) as store:
        store.add(records())
    said = run_in_terminal(["db", "query"], tmp_path, NO_COLOR="1")
    assert "…" not in said
    assert f"all rows: exp.env.host {'h' * 40}" in said


def test_long_texts_are_shortened_only_where_that_tells_rows_apart() -> None:
    long = "x" * 100
    same, different = (
        listing_table(Runs.of([{"a": long + end} for end in ends]), ["a"]).texts() for ends in (["", ""], ["1", "2"])
    )
    assert same == [["x" * 59 + "…"]] * 2
    assert different == [[long + "1"], [long + "2"]]


def test_no_word_is_broken_where_its_column_fits() -> None:
    labels = [["resnet18_quantised, training, float32, runtime.malloc=keep", "PyTorch-2.13.0+cpu"], ["alexnet", "x"]]
    cells = [[Cell(1.043, low=0.99, high=1.1, confidence=0.95), Cell("inconclusive")]] * 2
    table = Table(
        "Time", ["experiment", "version"], labels, ["B over A", "verdict"], cells, answers=("B over A", "verdict")
    )
    stream = io.StringIO()
    print_table(table, Console(file=stream, width=80))
    shown = stream.getvalue()
    for word in ("resnet18_quantised,", "training,", "PyTorch-2.13.0+cpu", "inconclusive"):
        assert word in shown
    assert max(map(len, shown.splitlines())) <= 80
