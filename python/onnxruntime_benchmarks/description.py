"""Metadata of an exported model, stored in the ONNX file."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field

__all__ = ["METADATA_KEY", "Bound", "Description"]

METADATA_KEY = "dlbs"

Bound = int | list[int]  # of all values of an input, or of each position in its last dimension


@dataclass(frozen=True, slots=True)
class Description:
    """Facts that a graph does not contain.

    Attributes:
        title, unit: Of the model, for reports.
        parameters: Number of trainable values of the exported model; its graph may contain different ones, folded or quantised.
        exporter: The program that wrote the file.
        bounds: Integer input → exclusive upper bound of its values.
    """

    title: str
    unit: str = "instances"
    parameters: int = 0
    exporter: str = ""
    bounds: Mapping[str, Bound] = field(default_factory=dict)

    def as_metadata(self) -> str:
        """Return it as a value of the file's metadata."""
        return json.dumps(asdict(self))

    @staticmethod
    def of(metadata: Mapping[str, str]) -> Description | None:
        """Read it from a file's metadata; None if another program wrote the file."""
        return Description(**json.loads(metadata[METADATA_KEY])) if METADATA_KEY in metadata else None
