"""Wrap the loader, the criterion and the optimizer of a training loop to report its rates and losses."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

from voir.helpers import current_overseer

from benchmate.metrics import LazyLossPusher, TimedIterator, give_push, sumggle_push


class BenchObserver:
    """Report rates and losses of a training loop.

    Args:
        arguments, options: Arguments of TimedIterator.
        backward_callback: Called after each backward pass.
        step_callback: Called after each optimizer step.
        stdout: Hide events in standard output, for scripts that run without voir.
        rank: Rank of this process; rank 0 reports.
    """

    def __init__(
        self,
        *arguments: Any,
        backward_callback: Callable[[], None] | None = None,
        step_callback: Callable[[], None] | None = None,
        stdout: bool = False,
        rank: int | None = None,
        **options: Any,
    ) -> None:
        self.arguments, self.options = arguments, options
        self.backward_callback, self.optimizer_step_callback = backward_callback, step_callback
        self.rank = int(os.getenv("RANK", "0")) if rank is None else rank
        self.task = "train"
        self.stdout = stdout
        self.losses = LazyLossPusher(self.task)
        # Under voir, events go to its pipe; otherwise to standard output.
        self.pusher = sumggle_push() if stdout else give_push()
        self.instance: TimedIterator | None = None

    def on_iterator_stop_iterator(self) -> None:
        """Report the stored losses."""
        self.losses.push(self.pusher)

    def record_loss(self, loss: Any) -> Any:
        """Store a loss, and return it."""
        if not self.rank:
            self.losses.record(loss)
        return loss

    def override_return_value(self, function: Any, override: Callable[[Any], Any]) -> None:
        """Override the return value of a function of the script.

        Raises:
            RuntimeError: voir does not run this script.
        """
        import ptera

        overseer = current_overseer.get()
        if overseer is None:
            raise RuntimeError("only voir can override what functions return: run the script under it")
        probe = overseer.probe(f"{ptera.refstring(function)}() as retval", overridable=True)
        probe["retval"].override(override)

    def iterate(self, iterator: Any) -> Any:
        """An alias of `loader`."""
        return self.loader(iterator)

    def loader(self, loader: Any) -> Any:
        """The same batches, timed. Later calls return the first iterator."""
        if self.instance is None:
            self.instance = TimedIterator(loader, *self.arguments, rank=self.rank, push=self.pusher, **self.options)
            self.instance.task = self.task
            self.instance.on_iterator_stop_iterator = self.on_iterator_stop_iterator  # type: ignore[method-assign]
        return self.instance

    def criterion(self, criterion: Callable[..., Any]) -> Callable[..., Any]:
        """Wrap a criterion to report its losses."""

        def observed(*arguments: Any, **options: Any) -> Any:
            loss = criterion(*arguments, **options)
            if self.backward_callback is not None:
                original = loss.backward

                def backward(*more: Any, **others: Any) -> None:
                    original(*more, **others)
                    self.backward_callback()

                loss.backward = backward
            return self.record_loss(loss)

        return observed

    def optimizer(self, optimizer: Any) -> Any:
        """Wrap an optimizer to call the callback after each step."""
        if self.optimizer_step_callback is not None:
            callback = self.optimizer_step_callback
            optimizer.register_step_post_hook(lambda *_: callback())
        return optimizer
