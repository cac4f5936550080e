"""Exports as text: JUnit XML for CI systems, and metrics for Prometheus' node exporter."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from xml.etree import ElementTree

from benchmark_core.doubts import warnings_of
from benchmark_core.text import printable
from dlbs.core.errors import LogError
from dlbs.core.experiment import usual_names
from dlbs.core.files import make_parent, write_atomically, write_bytes
from dlbs.core.text import counted, text
from dlbs.results.export.kinds import labels_of
from dlbs.results.grouping import label_names
from dlbs.results.keys import unit_of
from dlbs.results.runs import Record, Runs, number, order_of, status_of, timestamp

# Status → JUnit element: a failed test, or one without a result for another reason.
_ELEMENTS = {
    "failure": "failure",
    "timeout": "failure",
    "cancelled": "error",
    "unfinished": "error",
    "skipped": "skipped",
}
_REASONS = {"unfinished": "did not finish"}
_SHOWN = ("results.throughput", "results.time", "results.time_p99", "results.accuracy_top1", "results.memory_host")


def write_junit(runs: Runs, destination: str) -> tuple[int, str]:
    """Write a JUnit XML file in the dialect of Jenkins, GitLab and pytest: a suite for each framework and phase.

    Failed and timed-out experiments are failures, cancelled and unfinished ones errors, skipped ones skipped; each with its reason. Doubtful
    ones pass; their warnings are in the output and in the property `doubtful`. Times are in seconds.

    Raises:
        ConfigError: The file cannot be written.
    """
    suites: dict[str, list[tuple[str, Record]]] = {}
    for label, run in zip(labels_of(runs), runs, strict=True):
        words = [text(run.get(name)) for name in ("exp.framework", "exp.phase")]
        suites.setdefault(".".join(filter(None, words)) or "dlbs", []).append((label, run))
    root = ElementTree.Element("testsuites", {"name": "dlbs", **_totals(runs)})
    for name, members in suites.items():
        found = [record for _, record in members]
        suite = ElementTree.SubElement(root, "testsuite", {"name": printable(name), **_totals(found), **_where(found)})
        for label, record in members:
            _add_test(suite, name, label, record)
    ElementTree.indent(root, " ")
    make_parent(destination)
    data = ElementTree.tostring(root, encoding="utf-8", xml_declaration=True)
    write_bytes(destination, data + b"\n", follow=True)
    return len(runs), destination


def _totals(records: Sequence[Record]) -> dict[str, str]:
    elements = [_ELEMENTS.get(status_of(record)) for record in records]
    return {
        "tests": str(len(records)),
        "failures": str(elements.count("failure")),
        "errors": str(elements.count("error")),
        "skipped": str(elements.count("skipped")),
        "time": f"{sum(_seconds(record) for record in records):.3f}",
    }


def _where(records: Sequence[Record]) -> dict[str, str]:
    """Start time of a suite, and its host if there is only one."""
    starts = sorted((text(one["exp.start_time"]) for one in records if one.get("exp.start_time")), key=order_of)
    hosts = {text(record["exp.env.host"]) for record in records if record.get("exp.env.host")}
    found = {"timestamp": printable(starts[0][:19])} if starts else {}
    return {**found, "hostname": printable(hosts.pop())} if len(hosts) == 1 else found


def _add_test(suite: ElementTree.Element, name: str, label: str, record: Record) -> None:
    status = status_of(record)
    test = ElementTree.SubElement(
        suite, "testcase", {"classname": printable(name), "name": printable(label), "time": f"{_seconds(record):.3f}"}
    )
    warnings = warnings_of(record)
    facts = {"exp.id": text(record.get("exp.id")), "log": text(record.get("exp.log_file"))}
    facts |= {key: text(figure) for key in _SHOWN if (figure := number(record, key)) is not None}
    facts |= {"doubtful": counted(len(warnings), "warning")} if warnings else {}
    properties = ElementTree.SubElement(test, "properties")
    for key, value in facts.items():
        if value:
            ElementTree.SubElement(properties, "property", {"name": key, "value": printable(value)})
    element = _ELEMENTS.get(status)
    if element is not None:
        reason = text(record.get("exp.status_msg")) or _REASONS.get(status, status)
        attributes = {"message": printable(reason)}
        if element != "skipped":
            attributes["type"] = status
        found = ElementTree.SubElement(test, element, attributes)
        found.text = printable("\n".join(filter(None, [reason, f"log: {facts['log']}" if facts["log"] else ""])))
    if warnings:
        ElementTree.SubElement(test, "system-out").text = printable("\n".join(f"doubtful: {line}" for line in warnings))


def _seconds(record: Record) -> float:
    return max(0.0, number(record, "exp.seconds") or 0.0)


# By convention, metrics have base units, named at the end: https://prometheus.io/docs/practices/naming/
_BASE_UNITS = {
    "ms": ("seconds", 1e-3), "s": ("seconds", 1.0), "bytes": ("bytes", 1.0), "J": ("joules", 1.0), "W": ("watts", 1.0),
    "instances/s": ("instances_per_second", 1.0), "tokens/s": ("tokens_per_second", 1.0), "FLOP/s": ("per_second", 1.0),
    "%": ("ratio", 1e-2), "°C": ("celsius", 1.0), "MHz": ("hertz", 1e6),
}  # fmt: skip
_ALWAYS = ("exp.project", "exp.framework", "exp.device_title", "exp.env.host", "exp.id")
_LONGEST = 200  # characters of a label's value
_STATUS = "dlbs_experiment_status"


def write_prometheus(runs: Runs, destination: str) -> tuple[int, str]:
    """Write all numbers of experiments as gauges, `dlbs_time_seconds{model="alexnet",...} 0.0123`, in base units.

    Labels are the parameters that distinguish experiments, the usual ones, the host and `exp.id`. Of several runs with the same labels, the last
    one is written. Every experiment has `dlbs_experiment_status`, which is 1 and has the label `status`, and `dlbs_experiment_doubtful`, 0 or 1.

    Raises:
        LogError: The file name does not end in `.prom`, as the collector requires.
        ConfigError: The file cannot be written.
    """
    if not destination.endswith(".prom") and not destination.startswith("/dev/"):
        raise LogError(
            "the collector of Prometheus reads only .prom files", where=destination, hint="use the suffix .prom"
        )
    names = label_names(runs)
    ordered = runs.sorted_by(list(map(order_of, runs.values("exp.start_time"))))
    last = dict(zip((_labels(run, names) for run in ordered), ordered.rows, strict=True))
    kept = runs.take(list(last.values()))
    statuses = kept.statuses
    make_parent(destination)
    with write_atomically(destination) as out:
        for name, words, values in _metrics(kept):
            if not any(value is not None for value in values):
                continue
            out.write(f"# HELP {name} {_escaped(words, quotes=False)}\n# TYPE {name} gauge\n")
            for labels, status, value in zip(last, statuses, values, strict=True):
                if value is not None:
                    inner = f'{labels},status="{status}"' if name == _STATUS else labels
                    out.write(f"{name}{{{inner.removeprefix(',')}}} {value!r}\n")
    return len(kept), destination


def _metrics(runs: Runs) -> Iterator[tuple[str, str, Sequence[float | None]]]:
    """Yield name, help, and the value of each run."""
    yield _STATUS, "Status of the experiment.", [1.0] * len(runs)
    doubtful = [float(bool(doubts)) for doubts in runs.doubts]
    yield "dlbs_experiment_doubtful", "Whether the run logged warnings about its numbers.", doubtful
    started = list(map(timestamp, runs.values("exp.start_time")))
    yield "dlbs_experiment_start_time_seconds", "Start time of the experiment, since 1970.", started
    yield "dlbs_experiment_duration_seconds", "Duration of the experiment.", runs.numbers("exp.seconds")
    keys: dict[str, list[str]] = {}
    for key in runs.names:
        if key.startswith("results."):
            keys.setdefault(_metric(key)[0], []).append(key)
    for name, same in keys.items():  # of keys that become the same name, the first
        values: list[float | None] = [None] * len(runs)
        for key in same:
            numbers, scale = runs.numbers(key), _metric(key)[1]
            pairs = zip(values, numbers, strict=True)
            values = [new * scale if old is None and new is not None else old for old, new in pairs]
        yield name, f"{same[0]} of docs/log-format.md.", values


def _metric(key: str) -> tuple[str, float]:
    """Name of a metric with its unit, and the factor that converts values to this unit."""
    name = f"dlbs_{_name(key.removeprefix('results.'))}"
    if name.startswith("dlbs_experiment_"):  # those are ours
        name = name.replace("dlbs_", "dlbs_results_", 1)
    unit, scale = _BASE_UNITS.get(unit_of(key), ("", 1.0))
    return (f"{name}_{unit}" if unit and not name.endswith(unit) else name), scale


def _name(words: str) -> str:
    return re.sub(r"[^a-zA-Z0-9_]", "_", words)


def _labels(record: Record, names: Sequence[str]) -> str:
    """Labels such as `model="alexnet",phase="training"`: each name once, with an empty value if the experiment lacks it."""
    found: dict[str, str] = {}
    for name in [*names, *usual_names(record), *_ALWAYS]:
        label = _name(name.removeprefix("exp.").replace("env.host", "host"))
        label = f"_{label}" if label[:1].isdigit() else label
        value = text(record.get(name))[:_LONGEST]
        if value and label not in found and not label.startswith("__") and label != "status":
            found[label] = value
    return ",".join(f'{label}="{_escaped(value)}"' for label, value in found.items())


def _escaped(value: str, *, quotes: bool = True) -> str:
    value = value.encode("utf-8", "replace").decode().replace("\\", "\\\\").replace("\n", "\\n").replace("\r", "\\r")
    return value.replace('"', '\\"') if quotes else value
