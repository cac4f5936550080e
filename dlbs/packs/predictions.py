"""What a model predicts, one value a line: an output for each input, or one result for all of them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from dlbs.errors import LaunchError
from dlbs.packs.container_model import Model

__all__ = ["one_for_each", "predict_lines"]


def one_for_each(found: object, inputs: Sequence[Any]) -> list[Any] | None:
    """The outputs as a list, if there is one for each input; None if they are one result, such as a mapping of metrics.

    Raises:
        LaunchError: It is a list of another length.
    """
    if isinstance(found, Iterator):
        found = list(found)
    if not isinstance(found, list):
        return None
    if len(found) != len(inputs):
        raise LaunchError(
            f"the model got {len(inputs)} inputs and gave {len(found)} outputs",
            hint="predict_batch must return a list with one output for each, or one mapping or tuple for all",
        )
    return found


def predict_lines(model: Model, inputs: Sequence[Any], size: int | None = None) -> Iterator[Any]:
    """What a model predicts, as values of lines.

    Args:
        model: Gets the inputs.
        inputs: In their order.
        size: Inputs that it gets at once; all by default.

    Yields:
        For each input its output, as `{"output": ...}` unless it is a mapping itself. For a model that gives one result for all inputs
        (a mapping or a tuple of metrics) that result, in one line.

    Raises:
        LaunchError: There are more or fewer outputs than inputs, or one result was given for a part of the inputs.
    """
    step = size or max(1, len(inputs))
    for start in range(0, len(inputs), step):
        batch = inputs[start : start + step]
        found = model.predict_batch(batch)
        outputs = one_for_each(found, batch)
        if outputs is None and len(batch) < len(inputs):
            raise LaunchError(
                f"the model gives one result for all inputs ({type(found).__name__}), and got {len(batch)} of {len(inputs)}",
                hint="leave out --batch-size",
            )
        for value in [found] if outputs is None else outputs:
            yield value if isinstance(value, dict) else {"output": value}
