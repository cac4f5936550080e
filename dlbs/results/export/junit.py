"""Export to JUnit XML: each experiment is a test, so that CI systems show which ones failed, and why."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from xml.etree import ElementTree

from benchmark_core.doubts import warnings_of
from benchmark_core.text import printable
from dlbs.config.declarations import Parameter
from dlbs.files import make_parent, write_bytes
from dlbs.results.export.kinds import labels_of
from dlbs.results.runs import Record, number, order_of, status_of
from dlbs.text import counted, text

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


def write_junit(records: Sequence[Record], declarations: Mapping[str, Parameter], destination: str) -> tuple[int, str]:
    """Write a JUnit XML file in the dialect of Jenkins, GitLab and pytest: a suite for each framework and phase.

    Failed and timed-out experiments are failures, cancelled and unfinished ones errors, skipped ones skipped; each with its reason. Doubtful
    ones pass; their warnings are in the output and in the property `doubtful`. Times are in seconds.

    Raises:
        ConfigError: The file cannot be written.
    """
    suites: dict[str, list[tuple[str, Record]]] = {}
    for label, record in zip(labels_of(records, declarations), records, strict=True):
        words = [text(record.get(name)) for name in ("exp.framework", "exp.phase")]
        suites.setdefault(".".join(filter(None, words)) or "dlbs", []).append((label, record))
    root = ElementTree.Element("testsuites", {"name": "dlbs", **_totals(records)})
    for name, members in suites.items():
        found = [record for _, record in members]
        suite = ElementTree.SubElement(root, "testsuite", {"name": _words(name), **_totals(found), **_where(found)})
        for label, record in members:
            _add_test(suite, name, label, record)
    ElementTree.indent(root, " ")
    make_parent(destination)
    data = ElementTree.tostring(root, encoding="utf-8", xml_declaration=True)
    write_bytes(destination, data + b"\n", follow=True)
    return len(records), destination


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
    found = {"timestamp": _words(starts[0][:19])} if starts else {}
    return {**found, "hostname": _words(hosts.pop())} if len(hosts) == 1 else found


def _add_test(suite: ElementTree.Element, name: str, label: str, record: Record) -> None:
    status = status_of(record)
    test = ElementTree.SubElement(
        suite, "testcase", {"classname": _words(name), "name": _words(label), "time": f"{_seconds(record):.3f}"}
    )
    warnings = warnings_of(record)
    facts = {"exp.id": text(record.get("exp.id")), "log": text(record.get("exp.log_file"))}
    facts |= {key: text(figure) for key in _SHOWN if (figure := number(record, key)) is not None}
    facts |= {"doubtful": counted(len(warnings), "warning")} if warnings else {}
    properties = ElementTree.SubElement(test, "properties")
    for key, value in facts.items():
        if value:
            ElementTree.SubElement(properties, "property", {"name": key, "value": _words(value)})
    element = _ELEMENTS.get(status)
    if element is not None:
        reason = text(record.get("exp.status_msg")) or _REASONS.get(status, status)
        attributes = {"message": _words(reason)}
        if element != "skipped":
            attributes["type"] = status
        found = ElementTree.SubElement(test, element, attributes)
        found.text = _words("\n".join(filter(None, [reason, f"log: {facts['log']}" if facts["log"] else ""])))
    if warnings:
        ElementTree.SubElement(test, "system-out").text = _words("\n".join(f"doubtful: {line}" for line in warnings))


def _seconds(record: Record) -> float:
    return max(0.0, number(record, "exp.seconds") or 0.0)


def _words(value: str) -> str:
    """Remove characters that are invalid in XML; the writer escapes the rest."""
    return printable(value)
