"""Instruments: the rate, its log, and the end after enough measurements."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from voir import configurable
from voir.instruments import dash, early_stop, log, rate


@dataclass
class Config:
    """Options of voir."""

    # Show a dashboard in the terminal
    dash: bool = False
    # How often the rate is measured
    interval: str = "1s"
    # Rates that are warm-up
    skip: int = 5
    # Rates after which the script ends
    stop: int = 20


@configurable
def instrument_main(ov: Any, options: Config) -> Iterator[Any]:
    yield ov.phases.init
    if options.dash:
        ov.require(dash)
    ov.require(
        log("value", "progress", "rate", "units", "loss", context="task"),
        rate(interval=options.interval, skip=options.skip),
        early_stop(n=options.stop, key="rate", task="train"),
    )
