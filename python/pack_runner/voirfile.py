"""The default voirfile of packs: measure the rate of main.py, stop after some measurements, monitor the GPUs."""

# voir reads the types below at run time, so they must not be postponed (from __future__ import annotations).
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from voir import configurable
from voir.instruments import dash, early_stop, gpu_monitor, log, rate


@dataclass
class Options:
    """Options on voir's command line."""

    # Show a dashboard in the terminal
    dash: bool = False
    # Interval of rate measurements: seconds (1s) or batches (10)
    interval: str = "1s"
    # Number of warm-up measurements
    skip: int = 5
    # Number of measurements after which the program is ended
    stop: int = 20
    # Seconds between samples of the GPUs
    gpu_poll: float = 3.0


def _synchronize() -> Any:
    """A function that waits for the GPU, if the script uses one through torch."""
    import sys

    torch = sys.modules.get("torch")
    return torch.cuda.synchronize if torch is not None and torch.cuda.is_available() else None


@configurable
def instrument_main(overseer: Any, options: Options) -> Iterator[Any]:
    """Measure and stop."""
    yield overseer.phases.init
    if options.dash:
        overseer.require(dash)
    overseer.require(
        log("value", "progress", "rate", "units", "loss", "gpudata", context="task"),
        early_stop(n=options.stop - 1, key="rate"),  # early_stop allows one more than n
        gpu_monitor(poll_interval=options.gpu_poll),
    )
    yield overseer.phases.load_script
    overseer.require(rate(interval=options.interval, skip=options.skip, sync=_synchronize()))
