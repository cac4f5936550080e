"""The compiled steps of inference and training, and their compile times."""

from __future__ import annotations

from collections.abc import Callable
from time import perf_counter
from typing import Any, Protocol

import jax

from jax_benchmarks.models.model import Arrays, Model

# As in pytorch_benchmarks: stochastic gradient descent with a small rate, because a benchmark repeats one batch arbitrarily often.
LEARNING_RATE, MOMENTUM = 0.001, 0.9


def _compiled(function: Callable[..., Any], *arguments: Any, donate: tuple[int, ...] = ()) -> tuple[Any, float]:
    """Trace and compile a function for arguments of these shapes; return it and the seconds that this took."""
    begin = perf_counter()
    made = jax.jit(function, donate_argnums=donate).lower(*arguments).compile()
    return made, perf_counter() - begin


class Step(Protocol):
    """The work of one batch.

    Attributes:
        compiled: The compiled computation.
        compile_seconds: Seconds that tracing and compiling it took.
    """

    compiled: Any
    compile_seconds: float

    def __call__(self, batch: Any) -> Any: ...
    def synchronize(self) -> None: ...


class Inference:
    """Forward."""

    def __init__(self, model: Model, parameters: Arrays, buffers: Arrays, batch: Any) -> None:
        def forward(parameters: Arrays, buffers: Arrays, inputs: Any) -> Any:
            return model.apply(parameters, buffers, inputs, False)[0]

        self._state = parameters, buffers
        self.compiled, self.compile_seconds = _compiled(forward, *self._state, batch[0])
        self._last: Any = None

    def __call__(self, batch: Any) -> Any:
        """Return the logits, which may still be in computation."""
        self._last = self.compiled(*self._state, batch[0])
        return self._last

    def synchronize(self) -> None:
        """Wait for the last batch."""
        jax.block_until_ready(self._last)


class Training:
    """Forward, loss, backward and weight update as one computation; new weights reuse the memory of the old ones."""

    def __init__(self, model: Model, parameters: Arrays, buffers: Arrays, batch: Any) -> None:
        def update(
            parameters: Arrays, momenta: Arrays, buffers: Arrays, inputs: Any, targets: Any
        ) -> tuple[Any, Arrays, Arrays, Arrays]:
            (loss, new_buffers), gradients = jax.value_and_grad(model.loss, has_aux=True)(
                parameters, buffers, inputs, targets
            )
            momenta = jax.tree.map(lambda old, gradient: MOMENTUM * old + gradient, momenta, gradients)
            parameters = jax.tree.map(lambda old, momentum: old - LEARNING_RATE * momentum, parameters, momenta)
            return loss, parameters, momenta, new_buffers

        self.state = parameters, jax.tree.map(jax.numpy.zeros_like, parameters), buffers
        self.compiled, self.compile_seconds = _compiled(update, *self.state, *batch, donate=(0, 1, 2))
        self._loss: Any = None

    def __call__(self, batch: Any) -> Any:
        """Return the loss, which may still be in computation."""
        self._loss, *state = self.compiled(*self.state, *batch)
        self.state = tuple(state)
        return self._loss

    def synchronize(self) -> None:
        """Wait for the last batch: its loss, and the weights after it."""
        jax.block_until_ready((self._loss, self.state[0]))


def peak_memory(step: Step, device: Any) -> int | None:
    """Peak bytes of one batch on a GPU: those in use between batches, and those that XLA allocates while the computation runs.

    JAX's own peak cannot be reset: it contains the buffers of XLA's tuning during compilation, up to gigabytes. None on CPUs, and with
    allocators that do not count.
    """
    known = device.memory_stats() if device.platform != "cpu" else None
    if not known or "peak_bytes_in_use" not in known:
        return None
    since_start = int(known["peak_bytes_in_use"])
    plan = step.compiled.memory_analysis()
    if plan is None or "bytes_in_use" not in known:
        return since_start
    added = plan.temp_size_in_bytes + plan.output_size_in_bytes - plan.alias_size_in_bytes
    return min(since_start, int(known["bytes_in_use"]) + int(added))
