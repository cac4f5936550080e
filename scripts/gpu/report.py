"""The report of a session, as JSON for programs and as Markdown for readers."""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from benchmarks.gpu.journal import FINAL, Case

NOT_RUN = "not run"
_NAMED = 20  # cases shown per reason; report.json has all
_LONGEST = 15


def make_report(session: Mapping[str, Any], cases: Iterable[Case]) -> dict[str, Any]:
    """The complete data of a session.

    Args:
        session: `machine`, `packages`, `parts` (names), `part_seconds` (name → wall time), start and duration, and whether it was interrupted.
        cases: Cases of all parts.
    """
    listed = [asdict(case) for case in cases]
    for case in listed:
        if case["outcome"] not in FINAL:
            case["outcome"], case["reason"] = NOT_RUN, "the time ran out, or the session was interrupted"
    counts = Counter(case["outcome"] for case in listed)
    return {"format": 1, **session, "counts": dict(counts), "cases": listed}


def write_report(report: Mapping[str, Any], directory: Path) -> None:
    """Write report.json and report.md atomically."""
    for name, content in (("report.json", json.dumps(report, indent=1) + "\n"), ("report.md", as_markdown(report))):
        beside = directory / f".{name}.part"
        beside.write_text(content, encoding="utf-8")
        os.replace(beside, directory / name)


def as_markdown(report: Mapping[str, Any]) -> str:
    """The report for readers: failures, then figures, then cases that did not run."""
    machine = report["machine"]
    where = machine.get("gpu") or f"no GPU: {machine.get('no_gpu') or machine.get('problem')}"
    lines = [f"# Session on a GPU: {where}", ""]
    about = {
        "date": report["began"],
        "PyTorch": f"{machine.get('torch')}, CUDA {machine.get('cuda')}, Python {machine.get('python')}",
        "machine": f"{machine.get('cpus')} CPUs, {machine.get('kernel')}",
        "sources": report["digest"],
        "outcome": ", ".join(f"{count} {outcome}" for outcome, count in sorted(report["counts"].items()))
        or "nothing ran",
        "took": f"{report['seconds']:.0f} s in total, of {60 * report['minutes']:.0f} s a session"
        + (" (interrupted)" if report["interrupted"] else ""),
    }
    lines += [f"- {name}: {value}" for name, value in about.items()]
    packages = report["packages"]
    if packages["installed"]:
        lines.append(f"- installed from wheels: {', '.join(packages['installed'])}")
    lines += [f"- missing: {one}" for one in packages["missing"]]
    columns = (*FINAL, NOT_RUN, "seconds")
    lines += ["", f"| part | {' | '.join(columns)} |", "| --- |" + " ---: |" * len(columns)]
    for part in dict.fromkeys([*report["parts"], *(case["part"] for case in report["cases"])]):
        counts = Counter(case["outcome"] for case in report["cases"] if case["part"] == part)
        cells = [str(counts[one] or "") for one in (*FINAL, NOT_RUN)]
        cells.append(f"{report['part_seconds'][part]:.0f}" if part in report["part_seconds"] else "")
        lines.append(f"| {part} | {' | '.join(cells)} |")
    wrong = [case for case in report["cases"] if case["outcome"] in {"failed", "crashed", "timeout"}]
    if wrong:
        lines += ["", "## Failures", ""]
    for case in wrong:
        lines += [f"### {case['name']}: {case['outcome']}", "", "```", case["reason"].strip(), "```", ""]
    lines += _figures(report["cases"])
    for outcome, title in (("skipped", "Skipped"), (NOT_RUN, "Not run")):
        lines += _by_reason(title, [case for case in report["cases"] if case["outcome"] == outcome])
    longest = sorted((case for case in report["cases"] if case["seconds"]), key=lambda case: -case["seconds"])
    if longest:
        lines += ["", "## Longest cases", "", "| case | part | seconds |", "| --- | --- | ---: |"]
    lines += [f"| {case['name']} | {case['part']} | {case['seconds']:.1f} |" for case in longest[:_LONGEST]]
    return "\n".join(lines) + "\n"


def _figures(cases: Iterable[Mapping[str, Any]]) -> list[str]:
    """One table per kind of measurement, with the same columns."""
    tables: dict[tuple[str, tuple[str, ...]], list[Mapping[str, Any]]] = {}
    for case in cases:
        if case["values"] and case["outcome"] == "passed":
            tables.setdefault((case["part"], tuple(case["values"])), []).append(case)
    lines: list[str] = []
    titles: set[str] = set()
    for (part, columns), rows in sorted(tables.items(), key=lambda table: table[0][0]):
        if part not in titles:
            lines += ["", f"## Figures: {part}"]
            titles.add(part)
        lines += ["", f"| case | {' | '.join(columns)} |", "| --- |" + " ---: |" * len(columns)]
        for case in rows:
            numbers = " | ".join(_number(case["values"][column]) for column in columns)
            lines.append(f"| {case['name'].rpartition('::')[2]} | {numbers} |")
    return lines


def _number(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:,.1f}" if abs(value) >= 100 else f"{value:.3f}" if abs(value) >= 0.01 else f"{value:.2g}"
    return "–" if value is None else str(value)


def _by_reason(title: str, cases: list[Mapping[str, Any]]) -> list[str]:
    if not cases:
        return []
    lines = ["", f"## {title}", ""]
    reasons: dict[str, list[str]] = {}
    for case in cases:
        reasons.setdefault(case["reason"], []).append(case["name"])
    for reason, names in reasons.items():
        more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
        lines.append(f"- {reason}: {len(names)} ({', '.join(names[:_NAMED])}{more})")
    return lines
