"""What an exported model says about itself, kept in the file beside its graph."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field

__all__ = ["METADATA_KEY", "Description"]

METADATA_KEY = "dlbs"


@dataclass(frozen=True, slots=True)
class Description:
    """Facts that a graph does not tell.

    Attributes:
        title, unit: Of the model, for reports.
        parameters: Trainable values of the model that was exported; its graph may hold other ones, folded or quantised.
        exporter: What wrote the file.
        bounds: Input of whole numbers → one more than the largest that it may hold.
    """

    title: str
    unit: str = "instances"
    parameters: int = 0
    exporter: str = ""
    bounds: Mapping[str, int] = field(default_factory=dict)

    def as_metadata(self) -> str:
        """As a value of the file's metadata."""
        return json.dumps(asdict(self))

    @staticmethod
    def of(metadata: Mapping[str, str]) -> Description | None:
        """That of a file, from its metadata; None if another program wrote it."""
        return Description(**json.loads(metadata[METADATA_KEY])) if METADATA_KEY in metadata else None
