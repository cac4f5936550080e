"""What rounds of runs have told so far, a line for each pair."""

from __future__ import annotations

from dlbs.results.statistics.pairs import Pair, Pairs
from dlbs.text import counted, duration

__all__ = ["outlook", "pair_line"]


def pair_line(pairs: Pairs, pair: Pair, seconds: float | None = None) -> str:
    """One pair: `keep vs system: 1.031 ± 0.040, open, about 6 more rounds`.

    Args:
        pairs: All of them.
        pair: One of them.
        seconds: Time that a round of this pair takes, if it is to be said.
    """
    base, value = pair.names
    words = [f"{value} vs {base}: {_ratio(pair)}"]
    if pair.given_up:
        words += [pair.verdict, pair.given_up]
    elif pair.is_decided:
        words += [pair.verdict, f"decided after {counted(pair.rounds, 'round')}"]
    else:
        words += ["open", outlook(pairs, pair, seconds)]
        left_out = sum(pair.doubtful)
        if left_out:
            total = left_out + sum(pair.used)
            words.append(f"{left_out} of {counted(total, 'run')} doubtful")
    return (f"{pair.label}: " if pairs.several_groups else "") + ", ".join(words)


def outlook(pairs: Pairs, pair: Pair, seconds: float | None = None) -> str:
    """What would decide an open pair."""
    if not all(pair.used):
        doubtful = any(pair.doubtful)
        return (
            "too few runs without warnings (--trust-doubtful uses the others)"
            if doubtful
            else "no values on both sides"
        )
    rounds = pairs.rounds_left(pair)
    if rounds is None:
        return "too close to the threshold for a reasonable number of rounds"
    time = f" ({duration(rounds * seconds)})" if seconds else ""
    no_interval = pair.estimate is not None and pair.estimate.interval is None
    return f"{'at least' if no_interval else 'about'} {counted(rounds, 'more round')}{time}"


def _ratio(pair: Pair) -> str:
    if pair.estimate is None:
        return "no ratio"
    interval = pair.estimate.interval
    if interval is None:
        return f"{pair.estimate.ratio:.3f}"
    return f"{pair.estimate.ratio:.3f} ± {(interval.high - interval.low) / 2:.3f}"
