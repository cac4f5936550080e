"""Properties of generated hostile plans, configurations and logs, whatever is in them.

1. No process is started but those of the plan.
2. No file outside of the directory is written or changed.
3. There is an answer within the bounds of time and memory, and it is no crash.

The interpreter itself tells which processes it starts and which files it opens for writing (audit events, PEP 578).
"""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.adversarial.commands import SECONDS, Commands, Done
from tests.adversarial.test_launchers import VALUES
from tests.adversarial.test_names import MALFORMED, WELL_FORMED

pytestmark = pytest.mark.integration

EXAMPLES = 8  # each is several command lines

expressions = st.sampled_from(
    [
        "${my.a}",
        "${my.b}${my.b}",
        "${${my.a}}",
        "${HOME}",
        "$(1 + 1)$",
        "$(${my.a} * 1000)$",
        "$([i for i in range(10**9)])$",
        "$(__import__('os').system('touch pwned'))$",
        "$(open('/etc/passwd').read())$",
        "$(().__class__.__base__)$",
        "$(os.path.exists('/etc/passwd'))$",
        "$(re.sub('(a+)+$', 'b', 'a' * 100))$",
    ]
)
texts = st.sampled_from(sorted(VALUES.values())) | expressions | st.text(max_size=30)
scalars = texts | st.none() | st.booleans() | st.integers() | st.floats()
values = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3), max_leaves=6
)
names = st.sampled_from(
    ["my.a", "my.b", "my.c", "exp.model", "exp.log_file", "exp.gpus", "dummy.env", "exp.timeout", "exp.status"]
)
hostile_names = names | st.sampled_from(MALFORMED) | st.sampled_from(WELL_FORMED)
experiments = st.dictionaries(names, values, max_size=5) | st.dictionaries(hostile_names, values, max_size=5)
plans = st.lists(experiments, max_size=3)

BASE = {
    "exp.framework": "dummy",
    "dummy.seconds": 0,
    "dummy.exit_code": 0,
    "exp.effective_batch": 1,
    "exp.docker": False,
    "exp.gpus": "",
    "exp.log_file": "logs/x.log",
}

keys = (
    st.sampled_from(["exp.model", "exp.status", "results.time", "results.throughput", "exp.id", "exp.replica_batch"])
    | texts
)
lines = (
    st.builds(lambda key, value: f"__{key}__= {json.dumps(value)}".encode("utf-8", "replace"), keys, values)
    | st.binary(max_size=40)
    | st.sampled_from(
        [b"__results.time__= " + b"9" * 5_000, b"[" * 5_000, b"__x__= " + b"[" * 5_000, b'__x__= "\\ud800"', b"\r\n"]
    )
)
logs = st.lists(lines, max_size=8).map(b"\n".join)


def snapshot(directory: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in directory.rglob("*") if path.is_file()}


def hold(done: Done, directory: Path, outside: Path, before: dict[str, bytes], verb: str) -> None:
    """The three invariants."""
    assert not done.is_crash(), (verb, done)
    assert done.code in {0, 1, 2}, (verb, done)
    assert done.seconds < SECONDS, (verb, done.seconds)
    scripts = [command for command in done.processes if command[0] == "bash" and command[1].endswith(".sh")]
    assert done.processes == (scripts if verb == "run" else []), verb
    inside = str(directory.resolve())
    assert [path for path in done.written if not path.startswith((inside, "/dev/null"))] == [], verb
    assert snapshot(outside) == before, verb


def run_all(commands: Commands, written: dict[str, bytes], verbs: list[list[str]]) -> None:
    with tempfile.TemporaryDirectory() as place:
        directory, outside = Path(place) / "inside", Path(place) / "outside"
        (directory / "logs").mkdir(parents=True)
        outside.mkdir()
        (outside / "canary").write_text("precious")
        before = snapshot(outside)
        for name, content in written.items():
            (directory / name).write_bytes(content)
        private = {name: str(directory) for name in ("TMPDIR", "XDG_CACHE_HOME", "XDG_DATA_HOME", "HOME")}
        for verb in verbs:
            hold(commands.run(directory, *verb, **private), directory, outside, before, verb[0])
            assert not (directory / "pwned").exists()


examples = settings(
    max_examples=EXAMPLES,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture, HealthCheck.data_too_large],
)


@examples
@given(plan=plans)
def test_a_generated_plan(commands: Commands, plan: list[dict[str, Any]]) -> None:
    numbered = [{**BASE, "exp.log_file": f"logs/{number}.log", **one} for number, one in enumerate(plan)]
    for one in numbered:  # a plan may name any log file, and is then the one who wants it there
        one["exp.log_file"] = "logs/" + str(one["exp.log_file"])[-20:].replace("/", "_")
    document = json.dumps(numbered).encode()
    run_all(
        commands, {"plan.json": document}, [["validate", "--plan", "plan.json"], ["run", "-q", "--plan", "plan.json"]]
    )


@examples
@given(parameters=experiments, varied=st.dictionaries(hostile_names, st.lists(values, max_size=3), max_size=2))
def test_a_generated_configuration(commands: Commands, parameters: dict[str, Any], varied: dict[str, Any]) -> None:
    document = {"parameters": parameters, "variables": varied, "extensions": [{"parameters": parameters}]}
    flags = ["--plan", "c.json", "-Pexp.framework=dummy", "-Pexp.docker=false", "-Pexp.gpus="]
    verbs = [["build", *flags], ["build", "--resolve", *flags], ["print-config", *flags], ["explain", "my.a", *flags]]
    run_all(commands, {"c.json": json.dumps(document).encode()}, verbs)


@examples
@given(first=logs, second=logs)
def test_generated_logs(commands: Commands, first: bytes, second: bytes) -> None:
    written = {"logs/a.log": first, "logs/b.log": second, "logs/c.log.part": first, "logs/.dlbs.plan": second}
    verbs = [["parse", "logs"], ["report", "logs"], ["report", "logs", "--format", "csv"], ["status", "logs"]]
    run_all(commands, written, [*verbs, ["compare", "logs/a.log", "logs/b.log"]])
