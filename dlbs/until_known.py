"""The Python API of `dlbs run --until-known`."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from dlbs.arguments import one_or_several, with_arguments
from dlbs.config.config import Config
from dlbs.errors import ConfigError, LaunchError
from dlbs.executors.registry import load_executor
from dlbs.inquiry import Inquiry, Known
from dlbs.results.statistics.pairs import Question
from dlbs.run.events import Callback, Event
from dlbs.run.policies import Policies

__all__ = ["run_until_known"]


@with_arguments
def run_until_known(
    config: Config,
    *,
    by: str,
    baseline: Any = None,
    metric: str | None = None,
    threshold: float = 0.03,
    confidence: float = 0.95,
    ignore: str | Sequence[str] = (),
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
    """Repeat experiments until each value of a parameter has a verdict of faster, slower or same relative to the baseline.

    >>> config = dlbs.load_config(
    ...     parameters={"exp.framework": "dummy", "exp.docker": False, "exp.gpus": ""},
    ...     variables={"exp.replica_batch": [16, 32]},
    ... )
    >>> known = dlbs.run_until_known(config, by="exp.replica_batch", budget=600, on_line=print)
    round 5: replica_batch=32 vs replica_batch=16: 2.000 ± 0.000 times faster, decided after 5 rounds
    >>> known.rounds, known.is_decided, known.comparison.counts
    (5, True, {'32': {'faster': 1}})

    Each round runs one repeat of each experiment of an undecided pair. The confidence level applies to all verdicts together, for any number of rounds
    and pairs. Make the same call again to continue: repeats that have a log are not run again.

    Args:
        config: Makes the plan, with one repeat of each experiment.
        by: The parameter whose values are compared.
        baseline: The value to compare the others with; None for the first one in the plan.
        metric: Key of the quantity; None for the throughput, or the time if no experiment has a throughput.
        threshold: Ignore differences up to this share; with 0 no verdict is `same`.
        confidence: Confidence level of all verdicts together.
        ignore: Parameters that do not distinguish experiments.
        trust_doubtful: Also use runs with warnings.
        budget: Seconds after which no experiment is started; None for no limit.
        max_repeats: Maximum repeats of an experiment; None for 100 without a budget, unlimited with one.
        executor: A name of `dlbs run --executor`, or `module:Class`.
        jobs: Experiments to run in parallel; None for the executor's default.
        order_seed: Seed of the order within rounds.
        retries: Number of retries of a failed experiment.
        max_failures: Start no more experiments after this many failures; 0 for no limit.
        time_limit: Seconds after which running experiments are stopped; None for no limit.
        validation: Validate before anything runs.
        wait: If another run writes to the same log directories, wait for its end instead of raising an error.
        on_event: Called when an experiment starts, is retried, or ends.
        on_line: Called with a line of text for each pair after each round.

    Returns:
        The comparison, and the undecided pairs.

    Raises:
        ConfigError: The plan has problems, or repeats cannot be distinguished; nothing was run.
        LogError: There is nothing to compare, a parameter is unknown, or a share is out of range.
        LaunchError: Another run writes to the same logs, the executor cannot run anything, or the caller is not in the main thread.
    """
    if threading.current_thread() is not threading.main_thread():
        raise LaunchError("a plan can run only in the main thread, because signals stop it", where="run_until_known")
    for name, value, least in (("threshold", threshold, 0.0), ("confidence", confidence, 0.5)):
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not least <= value < 1:
            raise ConfigError(
                f"must be a number from {least} to below 1, not {value!r}", where=name, hint="3 % is 0.03"
            )
    for name, count in (("jobs", jobs), ("max_repeats", max_repeats), ("budget", budget)):
        if count is not None and count <= 0:
            raise ConfigError(f"{count} is too small", where=name, hint="must be positive, or None")
    ignored = tuple(one_or_several(ignore))
    question = Question(by, baseline, metric, threshold, confidence, ignored, trust_doubtful)
    inquiry = Inquiry(config, question, budget=budget, max_repeats=max_repeats, seed=order_seed, tell=on_line)
    chosen = load_executor(executor)(Path.cwd(), jobs)
    inquiry.look_through(chosen, validate=validation)
    deadline = None if time_limit is None else time.monotonic() + time_limit
    policies = Policies(retries, max_failures, deadline)
    return inquiry.run(Callback(on_event), chosen, policies=policies, wait=wait)
