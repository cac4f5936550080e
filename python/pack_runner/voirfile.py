"""What voir does around main.py: measure the rate, stop after some measurements, watch the GPUs. A pack without a voirfile gets this one."""

# voir reads the types below as they are, so they must not be postponed (from __future__ import annotations).
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from voir import configurable
from voir.instruments import dash, early_stop, gpu_monitor, log, rate


@dataclass
class Options:
    """What can be set on voir's command line."""

    # Show a dashboard in the terminal
    dash: bool = False
    # How often the rate is measured: seconds (1s) or batches (10)
    interval: str = "1s"
    # Measurements that are warm-up
    skip: int = 5
    # Measurements after which the program is ended
    stop: int = 20
    # Seconds between looks at the GPUs
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
        early_stop(n=options.stop - 1, key="rate"),  # it lets one more through than it is told
        gpu_monitor(poll_interval=options.gpu_poll),
    )
    yield overseer.phases.load_script
    overseer.require(rate(interval=options.interval, skip=options.skip, sync=_synchronize()))
