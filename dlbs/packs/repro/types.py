"""Type aliases for the inputs and outputs of text models, as in Repro's `data.types`."""

from __future__ import annotations

from typing import Any, TypeAlias

__all__ = ["DocumentType", "InstanceDict", "MetricsType", "SummaryType", "TextType"]

TextType: TypeAlias = str | list[str]  # a text, or its sentences
DocumentType: TypeAlias = str | list[str]
SummaryType: TypeAlias = str | list[str]
InstanceDict: TypeAlias = dict[str, Any]  # one input: the arguments of `predict` by name
MetricsType: TypeAlias = dict[str, Any]  # numbers by name, or nested mappings
