"""Export to a text file for the textfile collector of Prometheus' node exporter."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence

from benchmark_core.doubts import doubts_of
from dlbs.config.declarations import Parameter
from dlbs.errors import LogError
from dlbs.experiment import usual_names
from dlbs.files import make_parent, write_atomically
from dlbs.results.grouping import label_names
from dlbs.results.keys import unit_of
from dlbs.results.runs import Record, number, order_of, status_of, timestamp
from dlbs.text import text

# By convention, metrics have base units, named at the end: https://prometheus.io/docs/practices/naming/
_BASE_UNITS = {
    "ms": ("seconds", 1e-3), "s": ("seconds", 1.0), "bytes": ("bytes", 1.0), "J": ("joules", 1.0), "W": ("watts", 1.0),
    "instances/s": ("instances_per_second", 1.0), "tokens/s": ("tokens_per_second", 1.0), "FLOP/s": ("per_second", 1.0),
    "%": ("ratio", 1e-2), "°C": ("celsius", 1.0), "MHz": ("hertz", 1e6),
}  # fmt: skip
_ALWAYS = ("exp.project", "exp.framework", "exp.device_title", "exp.env.host", "exp.id")
_LONGEST = 200  # characters of a label's value


def write_prometheus(
    records: Sequence[Record], declarations: Mapping[str, Parameter], destination: str
) -> tuple[int, str]:
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
    names = label_names(records, declarations)
    last: dict[str, Record] = {}
    for record in sorted(records, key=lambda one: order_of(one.get("exp.start_time"))):
        last[_labels(record, names)] = record
    metrics: dict[str, tuple[str, list[str]]] = {}  # name → help, samples
    for labels, record in last.items():
        for name, words, value, more in _samples(record):
            inner = ",".join(filter(None, [labels, more]))
            metrics.setdefault(name, (words, []))[1].append(f"{name}{{{inner}}} {value!r}")
    make_parent(destination)
    with write_atomically(destination) as out:
        for name, (words, lines) in metrics.items():
            out.write(f"# HELP {name} {_escaped(words, quotes=False)}\n# TYPE {name} gauge\n")
            out.writelines(f"{line}\n" for line in dict.fromkeys(lines))
    return len(last), destination


def _samples(record: Record) -> Iterator[tuple[str, str, float, str]]:
    """Yield name, help, value and further labels of each number of an experiment."""
    status = status_of(record)
    yield "dlbs_experiment_status", "Status of the experiment.", 1.0, f'status="{_escaped(status)}"'
    yield (
        "dlbs_experiment_doubtful",
        "Whether the run logged warnings about its numbers.",
        float(bool(doubts_of(record))),
        "",
    )
    started = timestamp(record.get("exp.start_time"))
    if started is not None:
        yield "dlbs_experiment_start_time_seconds", "Start time of the experiment, since 1970.", started, ""
    seconds = number(record, "exp.seconds")
    if seconds is not None:
        yield "dlbs_experiment_duration_seconds", "Duration of the experiment.", seconds, ""
    written: dict[str, str] = {}
    for key in record:
        value = number(record, key) if key.startswith("results.") else None
        if value is None:
            continue
        name, scale = _metric(key)
        if written.setdefault(name, key) == key:  # of keys that become the same name, the first
            yield name, f"{key} of docs/log-format.md.", value * scale, ""


def _metric(key: str) -> tuple[str, float]:
    """Name of a metric with its unit, and the factor that converts values to this unit."""
    name = f"dlbs_{_name(key.removeprefix('results.'))}"
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
