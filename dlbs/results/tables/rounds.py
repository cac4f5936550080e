"""Intermediate results of rounds of runs, a line for each pair."""

from __future__ import annotations

from dlbs.results.statistics.pairs import Pair, Pairs
from dlbs.results.statistics.verdicts import is_speed
from dlbs.results.tables.sentences import speed_words
from dlbs.text import counted, duration

__all__ = ["outlook", "pair_line"]


def pair_line(pairs: Pairs, pair: Pair, seconds: float | None = None) -> str:
    """Format one pair: `keep vs system: 1.03 ± 0.04 times as fast, open: about 6 more rounds`. The ratio is the one of the final sentence.

    Args:
        pairs: All pairs.
        pair: The pair.
        seconds: Time of a round of this pair, if it is to be shown.
    """
    base, value = pair.names
    ratio = "" if pair.estimate is None else speed_words(pairs.metric, pair.verdict, pair.estimate)
    if not is_speed(pairs.metric) and ratio:
        ratio = f"{pairs.metric} {ratio}"
    words = [ratio] if ratio else []
    if pair.given_up:
        words += [pair.verdict, pair.given_up]
    elif pair.is_decided:
        if not ratio.endswith(pair.verdict):
            words.append(pair.verdict)
        words.append(f"decided after {counted(pair.rounds, 'round')}")
    else:
        words.append(f"open: {outlook(pairs, pair, seconds)}")
        left_out = sum(pair.doubtful)
        if left_out:
            total = left_out + sum(pair.used)
            words.append(f"{left_out} of {counted(total, 'run')} doubtful")
    return (f"{pair.label}: " if pairs.several_groups else "") + f"{value} vs {base}: " + ", ".join(words)


def outlook(pairs: Pairs, pair: Pair, seconds: float | None = None) -> str:
    """Estimate of the rounds that would decide an open pair, or the reason why it stays open."""
    if not all(pair.used):
        doubtful = any(pair.doubtful)
        return "too few runs without warnings (--trust-doubtful uses the others)" if doubtful else "no values yet"
    rounds = pairs.rounds_left(pair)
    if rounds is None:
        return "too close to the threshold"
    time = f" ({duration(rounds * seconds)})" if seconds else ""
    no_interval = pair.estimate is not None and pair.estimate.interval is None
    return f"{'at least' if no_interval else 'about'} {counted(rounds, 'more round')}{time}"
