"""Results files of strangers: hostile values × every verb that shows, compares, draws or checks results. A value is a line, a verb is a line."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.adversarial.commands import SECONDS, Commands, Done

# What a parameter or a quantity may be in a results file, as it is written there.
VALUES: dict[str, str] = {
    "null": "null",
    "empty": '""',
    "text": '"word"',
    "formula of matplotlib": '"$\\\\frac{1}{0}$"',
    "line end": '"a\\nb"',
    "escape sequence": '"\\u001b[2J\\u0007"',
    "half of a surrogate pair": '"\\ud800"',
    "right to left": '"\\u202egnp.exe"',
    "NUL": '"\\u0000"',
    "long": json.dumps("x" * 100_000),
    "no Latin": '"日本 👩‍🔬"',
    "HTML": '"<script>alert(1)</script>&amp;"',
    "spreadsheet": '"=1+1"',
    "boolean": "true",
    "list": "[1, 2]",
    "lists": "[" * 60 + "]" * 60,
    "object": '{"a": {"b": 1}}',
    "not a number": "NaN",
    "infinite": "Infinity",
    "beyond floats": "1e400",
    "largest": "1.7e308",
    "negative": "-1.7e308",
    "smallest": "5e-324",
    "zero": "0",
    "negative zero": "-0.0",
    "400 digits": "9" * 400,
    "4,000 digits": "9" * 4_000,
    "5,000 digits": "9" * 5_000,
}

# Values of keys that we know, which other programs write into logs and results files too.
KNOWN: dict[str, str] = {
    "seconds": '"exp.seconds": HUGE',
    "batch times": '"results.time_data": [1, HUGE]',
    "batch times of text": '"results.time_data": [1, "x", null]',
    "negative batch times": '"results.time_data": [-1, 0]',
    "interval": '"results.throughput_ci95": [HUGE, HUGE]',
    "interval of one": '"results.throughput_ci95": [1]',
    "deviation": '"results.time_std": HUGE',
    "accuracy": '"results.accuracy_top1": HUGE',
    "memory": '"results.memory_host": [HUGE, 1], "results.memory_device": HUGE',
    "samples": '"results.use.time": [HUGE, 1], "results.use.cpu": [[HUGE], 1]',
    "start": '"results.time_data_start": HUGE, "results.warmup_batches": HUGE',
    "GPUs": '"exp.num_gpus": HUGE, "exp.replica_batch": HUGE',
    "repeat": '"exp.repeat": HUGE',
    "warnings of nothing": '"results.warnings": ["outliers: 2 of 0"]',
    "warnings of versions": '"results.warnings": ["drift: +1.2.3 %", "drift: ,,, %", "CPU contention: 1,2,3 of ,,"]',
    "warnings of other types": '"results.warnings": [1, null, [], {}]',
    "warnings that are none": '"results.warnings": {"a": 1}',
    "long warnings": '"results.warnings": ["' + "x" * 100_000 + '"]',
    "facts of the machine": '"exp.machine_warnings": 3, "exp.neighbours": {"a": 1}, "exp.device_title": [1]',
    "time": '"exp.start_time": "9999-99-99T99:99:99+9999", "results.start_time": HUGE',
}

# How it is looked at; `my.x` and `results.y` have the value.
VERBS: dict[str, list[str]] = {
    "rows and columns": ["report", "r.json", "--rows", "my.x", "--cols", "exp.model", "--values", "results.y"],
    "summary": ["report", "r.json", "--summary"],
    "page": ["report", "r.json", "--html", "page.html", "--plots", "distribution"],
    "compare": ["compare", "r.json", "r.json", "--metric", "results.y"],
    "compare by": ["compare", "r.json", "--by", "my.x"],
    "complete": ["validate", "--results", "r.json", "--require", "results.y,my.x"],
    "database": ["db", "add", "r.json", "--db", "x.db"],
    "x and y": ["plot", "r.json", "--x", "my.x", "--y", "results.y,results.time", "-o", "x.svg"],
    "measured x": ["plot", "r.json", "--x", "results.y", "--series", "my.x", "-o", "x.svg"],
    "logarithmic": ["plot", "r.json", "--x", "my.x", "--y", "results.y", "--log-x", "--log-scale", "-o", "x.svg"],
    "facet and baseline": ["plot", "r.json", "--y", "results.y", "--facet", "my.x", "--baseline", "exp.replica_batch=1", "-o", "x.png"],
}  # fmt: skip


# An axis shows all values that are no numbers as texts, which "x and y" draws: of these, one is enough for the other axes.
NUMBERS = [*list(VALUES)[list(VALUES).index("not a number") :], "boolean", "formula of matplotlib"]


def look(commands: Commands, directory: Path, verbs: dict[str, list[str]], records: list[str]) -> dict[str, Done]:
    """Look at the records with each of the verbs, each in a directory of its own."""
    for name in verbs:
        (directory / name).mkdir()
        (directory / name / "r.json").write_text(f'{{"data": [{", ".join(records)}]}}')
    lines = [(directory / name, argv) for name, argv in verbs.items()]
    private = {"XDG_CACHE_HOME": str(directory), "MPLCONFIGDIR": str(directory / "matplotlib")}
    ended = dict(zip(verbs, commands.run_all(lines, **private), strict=True))
    for name, done in ended.items():
        assert not done.is_crash(), (name, done)
        assert done.code in {0, 1} or done.is_clear_error(), (name, done)
        assert done.seconds < SECONDS, name
        assert "Warning" not in done.errors, (name, done)
        assert "\x1b[2J" not in done.output + done.errors, name
    for page in [*directory.glob("*/*.html"), *directory.glob("*/*.svg")]:
        assert "<script>alert" not in page.read_text(), page
    return ended


def records_with(value: str) -> list[str]:
    """Two runs of two batches of two experiments; the second experiment has the value."""
    return [
        f'{{"exp.status": "ok", "exp.id": "{seed}-{batch}-{repeat}", "exp.model": "m", "exp.replica_batch": {batch}, "exp.seed": {seed}, "exp.repeat": {repeat}, '
        f'"my.x": {value if seed == 2 else 1}, "results.y": {value if seed == 2 else 2.5}, "results.time": 4, "results.throughput": {seed}}}'
        for seed in (1, 2)
        for batch in (1, 2)
        for repeat in (1, 2)
    ]


def verbs_of(value: str) -> dict[str, list[str]]:
    axes = {"measured x", "logarithmic"} if value not in NUMBERS else set()
    return {name: verb for name, verb in VERBS.items() if name not in axes}


@pytest.mark.parametrize("value", VALUES)
def test_a_value_of_results(commands: Commands, tmp_path: Path, value: str) -> None:
    look(commands, tmp_path, verbs_of(value), records_with(VALUES[value]))


MORE = {
    "report": ["report", "r.json"],
    "series": ["report", "--series", "r.json"],
    "scores": ["report", "r.json", "--scores"],
    "page": ["report", "r.json", "--html", "page.html", "--plots", "batches"],
    "compare by": ["compare", "r.json", "--by", "exp.seed"],
    "plot of a series": ["plot", "r.json", "--type", "series", "-o", "x.svg"],
}


def records_of(values: str) -> list[str]:
    """Two experiments with these values of known keys, and with batch times."""
    times = "" if "results.time_data" in values else '"results.time_data": [4, 5, 3], '
    return [
        f'{{"exp.status": "ok", "exp.id": "{seed}", "exp.model": "m", "exp.replica_batch": 1, "exp.seed": {seed}, '
        f'"results.time": 4, "results.throughput": {seed}, {times}{values.replace("HUGE", "9" * 400)}}}'
        for seed in (1, 2)
    ]


@pytest.mark.parametrize("values", KNOWN.values(), ids=KNOWN)
def test_values_of_known_keys(commands: Commands, tmp_path: Path, values: str) -> None:
    look(commands, tmp_path, MORE, records_of(values))


@pytest.mark.parametrize(
    ("verbs", "records"),
    [(VERBS, records_with("7")), (MORE, records_of('"my.x": 7'))],
    ids=["any values", "values of known keys"],
)
def test_ordinary_values_are_shown(
    commands: Commands, tmp_path: Path, verbs: dict[str, list[str]], records: list[str]
) -> None:
    """So hostile values reach all of the code of each verb."""
    for name, done in look(commands, tmp_path, verbs, records).items():
        assert done.code == 0, (name, done)
