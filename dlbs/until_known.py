"""The Python API of `dlbs run --until-known`."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from dlbs.config.config import Config
from dlbs.errors import ConfigError, LaunchError
from dlbs.executors.registry import load_executor
from dlbs.inquiry import Inquiry, Known
from dlbs.results.statistics.pairs import Question
from dlbs.run.events import Callback, Event
from dlbs.run.policies import Policies

__all__ = ["run_until_known"]


def run_until_known(
    config: Config,
    *,
    by: str,
    baseline: Any = None,
    metric: str | None = None,
    threshold: float = 0.03,
    confidence: float = 0.95,
    ignore: Sequence[str] = (),
    trust_doubtful: bool = False,
    budget: float | None = None,
    max_repeats: int | None = None,
    executor: str = "local",
    jobs: int | None = None,
    order_seed: int = 1,
    retries: int = 0,
    max_failures: int = 0,
    time_limit: float | None = None,
    validation: bool = True,
    wait: bool = False,
    on_event: Callable[[Event], None] | None = None,
    on_line: Callable[[str], None] | None = None,
) -> Known:
    """Repeat the experiments of a configuration until each value of a parameter is known to be faster or slower than the baseline, or the same.

    >>> config = dlbs.load_config(
    ...     parameters={"exp.framework": "dummy", "exp.docker": False, "exp.gpus": ""},
    ...     variables={"exp.replica_batch": [16, 32]},
    ... )
    >>> known = dlbs.run_until_known(config, by="exp.replica_batch", budget=600, on_line=print)
    round 5: replica_batch=32 vs replica_batch=16: 2.000 ± 0.000, faster, decided after 5 rounds
    >>> known.rounds, known.is_decided, known.comparison.counts
    (5, True, {'32': {'faster': 1}})

    Each round runs one repeat of each experiment whose pair is open. All verdicts together are right with the given confidence, however many rounds and pairs
    there are. The same call goes on where an earlier one ended: repeats that have a log are not run again.

    Args:
        config: Makes the plan, of one repeat of each experiment.
        by: The parameter whose values are compared.
        baseline: The value that others are compared with; None for the first of the plan.
        metric: Key of the quantity; None for the throughput, or the time where no experiment logs a throughput.
        threshold: Share by which a ratio may differ from 1 and count as the same; with 0 nothing is ever the same.
        confidence: Of all verdicts together.
        ignore: Parameters that do not tell experiments apart.
        trust_doubtful: Use runs with warnings too.
        budget: Seconds after which no experiment is started; None for any time.
        max_repeats: Most repeats of an experiment; None for 100 without a budget, and any number with one.
        executor: A name of `dlbs run --executor`, or `module:Class`.
        jobs: Experiments at the same time; None for what suits the executor.
        order_seed: Of the order within rounds.
        retries: How often an experiment that failed is tried again.
        max_failures: After so many failed experiments no more are started; 0 for any number.
        time_limit: Seconds after which what runs is stopped; None for none.
        validation: Look for problems before anything runs.
        wait: Wait until another run that writes to the same log directories has ended, instead of refusing.
        on_event: Is called when an experiment starts, is tried again, or ends.
        on_line: Is called with a line of text for each pair after each round.

    Returns:
        The comparison, and which pairs are still open.

    Raises:
        ConfigError: The plan has problems, or repeats cannot be told apart; nothing was run.
        LogError: There is nothing to compare, or a share is out of range.
        LaunchError: Another run writes to the same logs, the executor cannot run anything, or this is not the main thread.
    """
    if threading.current_thread() is not threading.main_thread():
        raise LaunchError("a plan runs in the main thread only, since signals stop it", where="run_until_known")
    for name, value, least in (("threshold", threshold, 0.0), ("confidence", confidence, 0.5)):
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not least <= value < 1:
            raise ConfigError(f"{value!r} is not a share from {least} to below 1", where=name, hint="3 % is 0.03")
    for name, count in (("jobs", jobs), ("max_repeats", max_repeats), ("budget", budget)):
        if count is not None and count <= 0:
            raise ConfigError(f"{count} is too small", where=name, hint="give a positive number, or None")
    question = Question(by, baseline, metric, threshold, confidence, ignore, trust_doubtful)
    inquiry = Inquiry(config, question, budget=budget, max_repeats=max_repeats, seed=order_seed, tell=on_line)
    chosen = load_executor(executor)(Path.cwd(), jobs)
    inquiry.look_through(chosen, validate=validation)
    deadline = None if time_limit is None else time.monotonic() + time_limit
    policies = Policies(retries, max_failures, deadline)
    return inquiry.run(Callback(on_event), chosen, policies=policies, wait=wait)
