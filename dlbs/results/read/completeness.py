"""Find experiments of a plan with missing or incomplete results."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from dlbs.results.grouping import label_of
from dlbs.results.read.onelog import Record
from dlbs.results.read.records import number, status_of
from dlbs.run.status import read_states
from dlbs.text import text

__all__ = ["Gap", "gaps", "missing_logs"]

USUAL = ("results.time", "results.throughput")


@dataclass(frozen=True, slots=True)
class Gap:
    """A gap in the results.

    Attributes:
        what: Description: `failure: exit code 1`, `lacks results.energy`.
        experiment: Label of the experiment.
    """

    what: str
    experiment: str


def gaps(
    records: Sequence[Record],
    required: Sequence[str] = (),
    planned: Mapping[str, str] | None = None,
    names: Collection[str] = (),
) -> list[Gap]:
    """Find gaps: experiments that did not succeed, missing values, missing experiments of the plan, and duplicate identifiers.

    Args:
        records: Experiments, including failed ones.
        required: Keys that each experiment must have; if empty, a time or a throughput.
        planned: exp.id of each experiment of the plan → its label; None if the plan is unknown.
        names: Parameters that distinguish experiments, for labels.
    """
    found = []
    counts: dict[str, int] = {}
    for record in records:
        label = label_of(record, list(names))
        status = status_of(record)
        identifier = text(record.get("exp.id"))
        if identifier:
            counts[identifier] = counts.get(identifier, 0) + 1
            if counts[identifier] == 2:
                found.append(Gap(f"several results have exp.id {identifier}", label))
        if status != "ok":
            reason = text(record.get("exp.status_msg"))
            found.append(Gap(f"{status}: {reason}" if reason else status, label))
            continue
        lacking = [key for key in required if record.get(key) is None]
        if not required and not any(number(record, key) is not None for key in USUAL):
            lacking = [" and ".join(USUAL)]
        found += [Gap(f"lacks {key}", label) for key in lacking]
    if planned is not None:
        found += [Gap("no result", label) for identifier, label in planned.items() if identifier not in counts]
    return found


def missing_logs(paths: Iterable[str]) -> list[Gap]:
    """Find planned experiments whose logs are missing from log directories.

    Raises:
        LogError: A directory cannot be read.
    """
    return [
        Gap(f"no log: {state.status}", str(state.log))
        for path in paths
        if Path(path).is_dir()
        for state in read_states(Path(path))
        if not state.log.exists()
    ]
