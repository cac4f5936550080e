"""Predictions of a model, one value per line: an output for each input, or one result for all inputs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from dlbs.errors import LaunchError
from dlbs.packs.container_model import Model

__all__ = ["one_for_each", "predict_lines"]


def one_for_each(found: object, inputs: Sequence[Any]) -> list[Any] | None:
    """The outputs as a list, if there is one per input; None for a single result, such as a mapping of metrics.

    Raises:
        LaunchError: The list has a different length.
    """
    if isinstance(found, Iterator):
        found = list(found)
    if not isinstance(found, list):
        return None
    if len(found) != len(inputs):
        raise LaunchError(
            f"the model returned {len(found)} outputs for {len(inputs)} inputs",
            hint="predict_batch must return a list with one output per input, or one mapping or tuple for all",
        )
    return found


def predict_lines(model: Model, inputs: Sequence[Any], size: int | None = None) -> Iterator[Any]:
    """Predict, and yield the values of output lines.

    Args:
        model: The model.
        inputs: Its inputs, in order.
        size: Inputs per call; all by default.

    Yields:
        For each input its output, as `{"output": ...}` unless it is a mapping itself. For a model that returns one result for all inputs
        (a mapping or a tuple of metrics) that result, as one line.

    Raises:
        LaunchError: There are more or fewer outputs than inputs, or a single result covers only a part of the inputs.
    """
    step = size or max(1, len(inputs))
    for start in range(0, len(inputs), step):
        batch = inputs[start : start + step]
        found = model.predict_batch(batch)
        outputs = one_for_each(found, batch)
        if outputs is None and len(batch) < len(inputs):
            raise LaunchError(
                f"the model returns one result for all inputs ({type(found).__name__}), but received {len(batch)} of {len(inputs)}",
                hint="remove --batch-size",
            )
        for value in [found] if outputs is None else outputs:
            yield value if isinstance(value, dict) else {"output": value}
