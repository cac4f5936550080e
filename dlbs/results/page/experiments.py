"""Data of the experiments for the page's script: varied parameters, status, warnings, quantities, and log paths."""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

from dlbs.config.declarations import Parameter
from dlbs.doubts import doubts_of
from dlbs.experiment import usual_names
from dlbs.results.grouping import common_label, distinguishing_names, hashable, identity_names
from dlbs.results.page.batches import batch_times
from dlbs.results.page.columns import coded, lists, parameter_column
from dlbs.results.page.failures import BAD, reason_of
from dlbs.results.read.onelog import Record
from dlbs.results.read.records import number, status_of
from dlbs.results.tables.cells import quantity
from dlbs.results.tables.pivot import header
from dlbs.text import text

__all__ = ["experiment_data", "facet_names", "label_names"]

_MIB = 1 << 20
_MOST_FACETS, _MOST_VALUES = 40, 500  # limits for parameters that are not needed to distinguish experiments
_TITLES = {
    "exp.phase": "phase", "exp.dtype": "type", "exp.repeat": "repeat", "exp.framework": "framework", "exp.device_type": "device type",
    "exp.device_title": "device", "exp.framework_version": "version", "exp.env.host": "host",
}  # fmt: skip
_MACHINE = ("exp.env.host", "exp.device_title", "exp.framework_version")


def label_names(records: Sequence[Record], declarations: Mapping[str, Parameter]) -> list[str]:
    """Parameters that distinguish runs, with the repeat number last."""
    names = distinguishing_names(records, declarations, without=["exp.effective_batch"])
    repeats = {hashable(record.get("exp.repeat")) for record in records}
    return [*names, "exp.repeat"] if len(repeats) > 1 else names


def facet_names(records: Sequence[Record], declarations: Mapping[str, Parameter], labels: Sequence[str]) -> list[str]:
    """Further varied parameters for filters: those that follow from the labels, and the machines.

    A parameter with a different value for nearly every experiment is not a facet.
    """
    others = [name for name in (*_MACHINE, *identity_names(records, declarations)) if name not in labels]
    found = []
    for name in dict.fromkeys(others):
        values = {hashable(record.get(name)) for record in records}
        if 1 < len(values) <= min(_MOST_VALUES, max(2, len(records) // 2)):
            found.append(name)
    return found[:_MOST_FACETS]


def experiment_data(
    records: Sequence[Record],
    declarations: Mapping[str, Parameter],
    labels: Sequence[str],
    *,
    logs: Collection[str] = (),
    beside: str | None = None,
) -> dict[str, Any]:
    """Data for rows, facets and plots of the page's script; plain data with finite numbers.

    Args:
        records: The experiments, in the order of the table.
        declarations: Declared parameters, with those that identify an experiment.
        labels: The parameters that distinguish them, from `label_names`.
        logs: Logs that were just read and may be linked. The log paths in records are not trusted.
        beside: Directory of the page, for relative links; None for a page without links to files.

    Returns:
        `count`, `common` (common parameters), `parameters` (title and `Coded`, `label` if it distinguishes experiments), `status`, `warnings`,
        `reasons`, `figures` (key, title, digits as logged), `batches` (from `batch_times`), `logs` (a common prefix and the rest), `links`.
    """
    if not labels:
        labels = list(dict.fromkeys(name for record in records for name in usual_names(record)))
    others = facet_names(records, declarations, labels)
    statuses = [status_of(record) for record in records]
    titles = {name: _TITLES.get(name, header(name)) for name in (*labels, *others)}
    clear = len(set(titles.values())) == len(titles)
    places = [text(record.get("exp.log_file")) for record in records]
    prefix = _common_directory(places)
    return {
        "count": len(records),
        "common": common_label(records, without=labels) if records else "",
        "parameters": [
            {
                "name": name,
                "title": titles[name] if clear else name,
                "label": name in labels,
                **parameter_column(records, name).as_data(),
            }
            for name in (*labels, *others)
        ],
        "status": coded(statuses).as_data(),
        "bad": sorted(BAD),
        "warnings": lists([doubts_of(record) for record in records]),
        "reasons": coded(
            [reason_of(record) if status in BAD else "" for record, status in zip(records, statuses, strict=True)]
        ).as_data(),
        "figures": _figures(records),
        "batches": batch_times(records),
        "logs": {"prefix": prefix, "rest": [place[len(prefix) :] for place in places]},
        "links": _links(places, frozenset(logs), beside),
    }


def _figures(records: Sequence[Record]) -> list[dict[str, Any]]:
    """Quantities that some experiment logged: key, title, and the value of each experiment, None if it has none."""
    time = quantity("results.time", records).lower()
    known = {
        "results.accuracy_top1": ("accuracy, %", 1.0),
        "results.throughput": (quantity("results.throughput", records).lower(), 1.0),
        "results.time": (time, 1.0),
        "results.time_p99": (f"p99 of {time.partition(',')[0]}s, ms", 1.0),
        "results.memory_host": ("host memory, MiB", _MIB),
        "results.memory_device_reserved": ("device memory, MiB", _MIB),
        "results.energy_per_instance": ("energy per instance, J", 1.0),
        "results.mfu": ("MFU, %", 0.01),
    }
    figures = []
    for key, (title, scale) in known.items():
        values = [number(record, key) for record in records]
        if any(value is not None for value in values):
            figures.append({"key": key, "title": title, "values": [_scaled(value, scale) for value in values]})
    return figures


def _scaled(value: float | None, scale: float) -> float | None:
    if value is None:
        return None
    scaled = value if scale == 1 else value / scale
    return scaled if abs(scaled) < 1e300 else None


def _common_directory(places: Sequence[str]) -> str:
    """Common leading directories of paths, with a trailing slash; empty if there are none."""
    found = [place for place in places if place]
    first, last = (
        (min(found), max(found)) if found else ("", "")
    )  # a common prefix of the first and last is shared by all between them
    same = next((at for at, (a, b) in enumerate(zip(first, last, strict=False)) if a != b), min(len(first), len(last)))
    return first[: first.rfind("/", 0, same) + 1]


def _links(places: Sequence[str], logs: Collection[str], beside: str | None) -> dict[str, Any]:
    """Relative address of the log of each experiment: a common prefix, and the rest or None without a file."""
    addresses = [_address(place, logs, beside) for place in places]
    prefix = _common_directory([address for address in addresses if address])
    return {"prefix": prefix, "rest": [None if address is None else address[len(prefix) :] for address in addresses]}


def _address(place: str, logs: Collection[str], beside: str | None) -> str | None:
    """Relative address of a log, prefixed with `./`, so that it has no URL scheme; members of archives are not files."""
    if beside is None or place not in logs or not Path(place).is_file():
        return None
    return f"./{quote(os.fsencode(os.path.relpath(place, beside)))}"
