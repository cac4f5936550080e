"""Kinds of tables of `dlbs report --type`. Each function takes records, declarations and `explain`."""

from __future__ import annotations

from dlbs.results.registry import Registry

__all__ = ["KINDS"]

KINDS: Registry = {
    "regular": ("dlbs.results.tables.default:default_tables", "varied parameters against replica batch"),
    "weak": ("dlbs.results.tables.scaling:weak_scaling", "scaling over devices with the replica batch fixed"),
    "strong": ("dlbs.results.tables.scaling:strong_scaling", "scaling over devices with the effective batch fixed"),
}
