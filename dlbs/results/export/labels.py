"""Labels of experiments in exports, unique for each run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from dlbs.config.declarations import Parameter
from dlbs.experiment import describe
from dlbs.results.grouping import distinguishing_names, hashable
from dlbs.results.read.onelog import Record
from dlbs.text import text

__all__ = ["labels_of", "naming_parameters"]


def naming_parameters(records: Sequence[Record], declarations: Mapping[str, Parameter]) -> list[str]:
    """Parameters that distinguish experiments, with the repeat number last."""
    names = distinguishing_names(records, declarations, without=["exp.effective_batch"])
    repeats = {hashable(record.get("exp.repeat")) for record in records}
    return [*names, "exp.repeat"] if len(repeats) > 1 else names


def labels_of(records: Sequence[Record], declarations: Mapping[str, Parameter]) -> list[str]:
    """Label each experiment; runs with the same parameters are numbered in the order of the records."""
    names = naming_parameters(records, declarations)
    seen: dict[str, int] = {}
    labels = []
    for record in records:
        label = describe(record, names, whole=True) or text(record.get("exp.log_file")) or "experiment"
        seen[label] = seen.get(label, 0) + 1
        labels.append(label if seen[label] == 1 else f"{label} ({seen[label]})")
    return labels
