"""The options of `dlbs run --until-known`, and those that contradict it."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import click

from dlbs.cli.options import names_option

__all__ = ["Asked", "until_known_options"]


@dataclass(frozen=True, slots=True)
class Asked:
    """The options of `--until-known`, as typed."""

    by: str
    baseline: str | None
    metric: str | None
    threshold: str
    confidence: str
    ignore: list[str]
    trust_doubtful: bool
    budget: str | None
    max_repeats: int | None
    fail_on_regression: bool


_DEFAULTS = {"threshold": "3%", "confidence": "95%"}


def until_known_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options; the function gets `asked`, which is None without `--until-known`."""

    @click.option(
        "--until-known", is_flag=True, help="Repeat until each value of --by has a verdict of faster, slower or same."
    )
    @click.option("--by", metavar="NAME", help="Until known: parameter whose values are compared.")
    @click.option("--baseline", metavar="VALUE", help="Until known: value to compare with; by default the first one.")
    @click.option(
        "--metric",
        metavar="KEY",
        help="Until known: quantity to compare; by default the throughput, or the time if no experiment has one.",
    )
    @click.option("--threshold", help="Until known: ignore differences up to this.  [default: 3%]")
    @click.option("--confidence", help="Until known: confidence level of all verdicts together.  [default: 95%]")
    @names_option("--ignore", "Until known: parameters that do not distinguish experiments.")
    @click.option("--trust-doubtful", is_flag=True, help="Until known: also use runs with warnings.")
    @click.option("--budget", metavar="TIME", help="Until known: start no runs after 90m, 2h, ...")
    @click.option(
        "--max-repeats",
        type=click.IntRange(1),
        metavar="N",
        help="Until known: maximum repeats of an experiment; 100 by default without --budget.",
    )
    @click.option(
        "--fail-on-regression", is_flag=True, help="Until known: exit with 3 if anything is slower or broken."
    )
    @functools.wraps(function)
    def wrapped(*args: Any, until_known: bool, **options: Any) -> Any:
        given = {name: options.pop(name) for name in Asked.__slots__}
        if not until_known:
            for name, value in given.items():
                if value:
                    raise click.UsageError(f"--{name.replace('_', '-')} requires --until-known")
            return function(*args, asked=None, **options)
        _check(given, options)
        asked = Asked(**{name: value or _DEFAULTS.get(name, value) for name, value in given.items()})
        return function(*args, asked=asked, **options)

    return wrapped


def _check(given: dict[str, Any], options: dict[str, Any]) -> None:
    """Reject options that contradict each other."""
    if not given["by"]:
        raise click.UsageError("--until-known requires --by NAME: the parameter whose values are compared")
    if given["fail_on_regression"] and given["baseline"] is None:
        raise click.UsageError("--fail-on-regression requires --baseline VALUE")
    if options["dry_run"]:
        raise click.UsageError("--dry-run prints the launchers of a plan: remove --until-known")
    if options["detach"]:
        raise click.UsageError("--until-known must decide about each next round: remove --detach")
    if options["order"] != "plan":
        raise click.UsageError("--until-known runs rounds in random order (--order-seed): remove --order")
