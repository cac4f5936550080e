"""Pairs that are decided round by round: which are looked at, which experiments the next round needs, and when nothing helps."""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from typing import Any

import pytest

from benchmark_core.turns import PAIR
from dlbs.adaptive.pairs import Pairs, pair_line
from dlbs.config.load import load_config
from dlbs.core.errors import LogError
from dlbs.results.statistics.compare import compare_by
from dlbs.results.statistics.ratio import Rules, pair_ratio
from dlbs.results.tables.comparison import comparison_table, sentences
from tests.made_logs import declared

DECLARATIONS = load_config().declarations

Run = Callable[[dict[str, Any], int], dict[str, Any]]  # experiment, round → what its log says besides


def plan(*mallocs: str, models: tuple[str, ...] = ("resnet18",)) -> list[dict[str, Any]]:
    return [
        {"exp.model": model, "exp.replica_batch": 8, "runtime.malloc": malloc, "exp.repeat": 1}
        for model in models
        for malloc in mallocs
    ]


def pairs_of(experiments: list[dict[str, Any]], **rules: Any) -> Pairs:
    return Pairs(experiments, DECLARATIONS, Rules(by="runtime.malloc", **rules))


def throughput(experiment: dict[str, Any], repeat: int, ratio: float = 1.0) -> dict[str, Any]:
    """Runs that spread by 2 %, differently with each value."""
    step = (repeat * 7 + len(experiment["runtime.malloc"])) % 5 - 2
    return {"exp.status": "ok", "results.throughput": 100.0 * ratio * (1 + 0.01 * step)}


def add_rounds(pairs: Pairs, experiments: list[dict[str, Any]], count: int, run: Run) -> None:
    for repeat in range(1, count + 1):
        pairs.add(
            {
                number: {**experiments[number], "exp.repeat": repeat, **run(experiments[number], repeat)}
                for number in pairs.wanted()
            }
        )


def fast_with(value: str, ratio: float = 1.3) -> Run:
    return lambda experiment, repeat: throughput(
        experiment, repeat, ratio if experiment["runtime.malloc"] == value else 1.0
    )


def test_a_pair_is_decided_by_the_first_round_that_can_tell_and_then_needs_no_more() -> None:
    experiments = plan("system", "keep")
    pairs = pairs_of(experiments)
    add_rounds(pairs, experiments, 4, fast_with("keep"))
    assert pairs.wanted() == [0, 1]
    assert pair_line(pairs, pairs.pairs[0]).endswith(" times as fast, open: at least 1 more round")
    add_rounds(pairs, experiments, 1, fast_with("keep"))
    (pair,) = pairs.pairs
    assert (pair.verdict, pair.rounds, pair.used) == ("faster", 5, (5, 5))
    assert pairs.wanted() == []
    assert pair_line(pairs, pair).startswith("keep vs system: 1.2")
    assert pair_line(pairs, pair).endswith(" times as fast, faster, decided after 5 rounds")


def test_without_a_baseline_of_choice_a_value_that_is_worse_than_the_best_is_measured_no_further() -> None:
    experiments = plan("system", "keep", "other")

    def run(experiment: dict[str, Any], repeat: int) -> dict[str, Any]:
        return throughput(experiment, repeat, {"system": 1.0, "keep": 1.3, "other": 1.02}[experiment["runtime.malloc"]])

    pairs = pairs_of(experiments)
    add_rounds(pairs, experiments, 8, run)
    keep, other = pairs.pairs
    assert keep.verdict == "faster"
    assert (other.verdict, other.beaten_by) == ("inconclusive", "keep")
    assert pairs.wanted() == []
    assert pair_line(pairs, other).endswith("worse than keep")
    assert "not measured further, because it is worse than keep" in " ".join(
        comparison_table(pairs.comparison()).formulas
    )
    chosen = pairs_of(experiments, baseline="system")
    add_rounds(chosen, experiments, 8, run)
    assert chosen.wanted() == [0, 2]


def pair_of_turns(ratio: float, source: random.Random, **more: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    """Two processes that took turns on a machine that slows down by a half in some of them."""
    name, machine = f"{source.random()}", [source.choice([1.0, 1.5]) for _ in range(20)]
    sides = []
    for factor in (1.0, ratio):
        times = [10 * factor * slow * source.gauss(1, 0.01) for slow in machine]
        mean = sum(times) / len(times)
        turns = {"results.turns.times": times, "results.turns.batches": [1] * 20, "results.turns.loads": [0.0] * 20}
        sides.append({"exp.status": "ok", PAIR: name, "results.time": mean, "results.throughput": 1000 / mean, **turns})
    return {**sides[0], **more}, {**sides[1], **more}


def test_a_pair_of_processes_has_the_ratio_of_its_turns() -> None:
    a, b = pair_of_turns(1.1, random.Random(1))
    for metric in ("results.time", "results.throughput"):
        found = pair_ratio(b, a, metric)
        assert found is not None
        assert (found.turns, found.disturbed) == (20, 0)
        assert abs(found.log - math.log(1.1)) < 4 * found.error < 0.03
    disturbed = {**b, "results.turns.loads": [0.5] * 6 + [0.0] * 14}
    disturbed["results.turns.times"] = [3 * one for one in b["results.turns.times"][:6]] + b["results.turns.times"][6:]
    found = pair_ratio(disturbed, a, "results.time")
    assert found is not None
    assert (found.turns, found.disturbed) == (14, 6)
    assert pair_ratio(a, pair_of_turns(1.1, random.Random(2))[1], "results.time") is None


def test_compare_takes_pairs_and_shared_disturbances_are_no_doubt() -> None:
    source = random.Random(3)
    warned = {"results.warnings": ["CPU contention: 50 %, 3 preemptions; rerun on an idle machine"]}
    runs = [
        {"exp.model": "m", "runtime.malloc": malloc, "exp.repeat": repeat, **side}
        for repeat in range(5)
        for malloc, side in zip(("system", "keep"), pair_of_turns(1.05, source, **warned), strict=True)
    ]
    made = compare_by(declared(runs), Rules(by="runtime.malloc", metric="results.time"))
    (match,) = made.comparisons[0].matches
    assert match.verdict == "slower"
    assert match.estimate is not None
    assert match.estimate.source == "pairs"
    assert abs(match.estimate.ratio - 1.05) < 0.03
    assert "pairs of processes that took turns" in " ".join(comparison_table(made).legend)


def changing_machine(experiment: dict[str, Any], repeat: int) -> dict[str, Any]:
    """A machine whose speed changes by a half from round to round, on which `keep` is faster by 15 %."""
    run = throughput(experiment, repeat, 1.15 if experiment["runtime.malloc"] == "keep" else 1.0)
    return {**run, "results.throughput": run["results.throughput"] * (1.5 if repeat % 3 else 1.0)}


def test_a_machine_that_changes_from_round_to_round_does_not_hide_a_difference() -> None:
    experiments = plan("system", "keep")
    pairs = pairs_of(experiments)
    add_rounds(pairs, experiments, 20, changing_machine)
    (pair,) = pairs.pairs
    assert (pair.verdict, pair.rounds) == ("faster", 10)
    legend = comparison_table(pairs.comparison()).legend
    assert (
        "over system: median of the means of the ratios of two rounds (Hodges-Lehmann); interval: bounds of Wilcoxon's signed-rank test"
        in legend
    )


def test_a_round_with_a_doubtful_run_is_not_looked_at_as_a_round() -> None:
    def run(experiment: dict[str, Any], repeat: int) -> dict[str, Any]:
        doubtful = repeat % 2 == 0 and experiment["runtime.malloc"] == "keep"
        return changing_machine(experiment, repeat) | ({"results.warnings": ["drift: 9 %"]} if doubtful else {})

    experiments = plan("system", "keep")
    pairs = pairs_of(experiments)
    add_rounds(pairs, experiments, 30, run)
    (pair,) = pairs.pairs
    assert (pair.verdict, pair.rounds, pair.used, pair.doubtful) == ("faster", 19, (19, 10), (0, 9))


def test_sides_with_several_experiments_are_compared_by_rounds_if_they_have_equally_many() -> None:
    for seeds, method in (((1, 2), "signed ranks"), ((1, 2, 3), "ranks")):
        experiments = [
            {**one, "exp.seed": seed}
            for one in plan("system", "keep")
            for seed in (seeds if one["runtime.malloc"] == "keep" else (1, 2))
        ]
        pairs = pairs_of(experiments, ignore=["exp.seed"])
        add_rounds(pairs, experiments, 10, changing_machine)
        (pair,) = pairs.pairs
        assert pair.sides == ((0, 1), tuple(range(2, 2 + len(seeds))))
        assert pair.estimate is not None
        assert pair.estimate.interval is not None
        assert pair.estimate.interval.method == method


def test_the_baseline_runs_on_while_any_of_its_pairs_is_open() -> None:
    experiments = plan("system", "keep", "tcmalloc")
    pairs = pairs_of(experiments, baseline="system")
    add_rounds(pairs, experiments, pairs.first_round, fast_with("keep"))
    assert {pair.names[1]: pair.verdict for pair in pairs.pairs} == {"keep": "faster", "tcmalloc": "inconclusive"}
    assert pairs.wanted() == [0, 2]
    add_rounds(pairs, experiments, 30, fast_with("keep"))
    assert {pair.names[1]: pair.verdict for pair in pairs.pairs} == {"keep": "faster", "tcmalloc": "same"}
    assert pairs.pairs[0].rounds == pairs.first_round
    assert pairs.pairs[1].rounds > pairs.first_round


def test_groups_are_pairs_of_their_own_and_more_pairs_need_more_runs() -> None:
    experiments = plan("system", "keep", models=("resnet18", "vgg16"))
    pairs = pairs_of(experiments, baseline="keep")
    assert [(pair.label, pair.names) for pair in pairs.pairs] == [
        ("resnet18", ("keep", "system")),
        ("vgg16", ("keep", "system")),
    ]
    assert pairs.first_round > pairs_of(plan("system", "keep")).first_round
    assert pair_line(pairs, pairs.pairs[1]).startswith("vgg16: system vs keep: open: no values yet")


def test_doubtful_runs_do_not_count_unless_they_are_trusted() -> None:
    experiments = plan("system", "keep")

    def doubtful_at_first(experiment: dict[str, Any], repeat: int) -> dict[str, Any]:
        warnings = ["CPU contention: 69 %; rerun on an idle machine"] if repeat <= 3 else []
        return {**fast_with("keep")(experiment, repeat), "results.warnings": warnings}

    pairs, trusting = pairs_of(experiments), pairs_of(experiments, trust_doubtful=True)
    add_rounds(pairs, experiments, 2, doubtful_at_first)
    assert "keep vs system: open: too few runs without warnings" in pair_line(pairs, pairs.pairs[0])
    pairs = pairs_of(experiments)
    for one in (pairs, trusting):
        add_rounds(one, experiments, 7, doubtful_at_first)
    assert trusting.pairs[0].rounds == 5
    (pair,) = pairs.pairs
    assert pair.is_open
    assert (pair.used, pair.doubtful) == ((4, 4), (3, 3))
    assert pair_line(pairs, pair).endswith("open: at least 2 more rounds, 6 of 14 runs doubtful")
    add_rounds(pairs, experiments, 1, fast_with("keep"))
    assert pair.verdict == "faster"
    (match,) = pairs.comparison().comparisons[0].matches
    assert match.doubtful == (3, 3)
    assert match.notes[0] == "system: 3 of 8 runs are doubtful (CPU contention) and left out"


@pytest.mark.parametrize(("broken", "verdict"), [("keep", "broken"), ("system", "fixed"), ("both", "failed")])
def test_a_side_that_fails_three_times_in_a_row_is_given_up(broken: str, verdict: str) -> None:
    experiments = plan("system", "keep")

    def run(experiment: dict[str, Any], repeat: int) -> dict[str, Any]:
        if broken in {experiment["runtime.malloc"], "both"}:
            return {"exp.status": "failure", "exp.status_msg": "exit code 7"}
        return throughput(experiment, repeat)

    pairs = pairs_of(experiments)
    add_rounds(pairs, experiments, 10, run)
    (pair,) = pairs.pairs
    assert (pair.verdict, pair.rounds, pair.is_open, pair.is_decided) == (verdict, 3, False, False)
    assert pairs.wanted() == []
    assert f"{verdict}, given up: " in pair_line(pairs, pair)
    assert "failure 3 times in a row: exit code 7" in pair_line(pairs, pair)


def test_a_side_that_fails_now_and_then_goes_on() -> None:
    experiments = plan("system", "keep")

    def run(experiment: dict[str, Any], repeat: int) -> dict[str, Any]:
        if repeat % 3 and experiment["runtime.malloc"] == "keep":
            return {"exp.status": "failure", "exp.status_msg": "exit code 7"}
        return fast_with("keep")(experiment, repeat)

    pairs = pairs_of(experiments)
    add_rounds(pairs, experiments, 12, run)
    (pair,) = pairs.pairs
    assert pair.used == (12, 4)
    assert pair.is_open
    add_rounds(pairs, experiments, 3, run)
    assert pair.verdict == "faster"


def test_what_was_skipped_or_has_no_value_is_not_run_again_and_again() -> None:
    experiments = plan("system", "keep")
    pairs = pairs_of(experiments)
    add_rounds(pairs, experiments, 5, lambda experiment, repeat: {"exp.status": "skipped", "exp.status_msg": "no bf16"})
    assert pairs.pairs[0].rounds == 1
    pairs = pairs_of(experiments, metric="results.typo")
    add_rounds(pairs, experiments, 5, throughput)
    assert pairs.pairs[0].rounds == 3
    assert "system has no results.typo 3 times in a row" in pair_line(pairs, pairs.pairs[0])


def test_less_is_better_where_it_is() -> None:
    experiments = plan("system", "keep")
    pairs = pairs_of(experiments, metric="results.time")
    run: Run = lambda experiment, repeat: {  # noqa: E731
        "exp.status": "ok",
        "results.time": fast_with("keep")(experiment, repeat)["results.throughput"],
    }
    add_rounds(pairs, experiments, 5, run)
    assert pairs.pairs[0].verdict == "slower"


def test_lines_of_rounds_have_the_direction_of_the_final_sentence_whatever_the_metric() -> None:
    experiments = plan("system", "keep")
    pairs = pairs_of(experiments, metric="results.time")
    run: Run = lambda experiment, repeat: {  # noqa: E731
        "exp.status": "ok",
        "results.time": fast_with("keep")(experiment, repeat)["results.throughput"],
    }
    add_rounds(pairs, experiments, 4, run)
    assert pair_line(pairs, pairs.pairs[0]).startswith("keep vs system: 1.")
    add_rounds(pairs, experiments, 1, run)
    (sentence,) = sentences(pairs.comparison())
    words = sentence.removeprefix("keep took ").removesuffix(" as system")
    assert words.endswith(" times as long")
    assert pair_line(pairs, pairs.pairs[0]) == f"keep vs system: {words}, slower, decided after 5 rounds"


def test_trusted_doubtful_runs_are_explained_below_the_table() -> None:
    experiments = plan("system", "keep")
    pairs = pairs_of(experiments, trust_doubtful=True)
    warned = {"results.warnings": ["CPU contention: 69 %"]}
    add_rounds(pairs, experiments, 5, lambda one, repeat: {**fast_with("keep")(one, repeat), **warned})
    assert "⚠: includes doubtful runs (CPU contention 10)" in comparison_table(pairs.comparison()).legend


def test_at_threshold_0_equal_pairs_stay_open() -> None:
    experiments = plan("system", "keep")
    pairs = pairs_of(experiments, threshold=0.0)
    add_rounds(pairs, experiments, 30, throughput)
    assert pairs.pairs[0].is_open


def test_the_comparison_is_matched_and_labelled_as_that_of_the_logs() -> None:
    experiments = plan("system", "keep", models=("resnet18", "vgg16"))
    records = []

    def run(experiment: dict[str, Any], repeat: int) -> dict[str, Any]:
        found = fast_with("keep")(experiment, repeat)
        records.append({**experiment, "exp.repeat": repeat, **found})
        return found

    pairs = pairs_of(experiments)
    add_rounds(pairs, experiments, 10, run)
    made = pairs.comparison()
    logs = compare_by(declared(records), Rules(by="runtime.malloc"))
    assert (made.experiments, made.values, made.counts) == (logs.experiments, logs.values, logs.counts)
    assert [sentence.split(" ± ")[0] for sentence in sentences(made)] == [
        sentence.split(" ± ")[0] for sentence in sentences(logs)
    ]


def test_several_experiments_of_a_side_are_several_runs_a_round() -> None:
    experiments = [{**one, "exp.seed": seed} for one in plan("system", "keep") for seed in (1, 2)]
    pairs = pairs_of(experiments, ignore=["exp.seed"])
    assert pairs.wanted() == [0, 1, 2, 3]
    assert pairs.first_round == 3
    add_rounds(pairs, experiments, 3, fast_with("keep"))
    assert (pairs.pairs[0].verdict, pairs.pairs[0].used) == ("faster", (6, 6))


def test_experiments_without_a_counterpart_do_not_run() -> None:
    experiments = [*plan("system", "keep"), *plan("keep", models=("vgg16",))]
    pairs = pairs_of(experiments)
    assert pairs.wanted() == [0, 1]
    assert pairs.alone == ["vgg16"]


def test_notes_stand_in_the_comparison() -> None:
    experiments = plan("system", "keep")
    pairs = pairs_of(experiments)
    add_rounds(pairs, experiments, 2, throughput)
    assert pairs.comparison({0: "open after 2 rounds"}).comparisons[0].matches[0].notes == ("open after 2 rounds",)


@pytest.mark.parametrize(
    ("experiments", "rules", "message"),
    [
        (plan("system"), {}, "nothing to compare"),
        (plan("system", "keep"), {"baseline": "kepe"}, "no experiment has runtime.malloc = kepe"),
    ],
)
def test_a_plan_without_pairs_is_refused(
    experiments: list[dict[str, Any]], rules: dict[str, Any], message: str
) -> None:
    with pytest.raises(LogError, match=message):
        pairs_of(experiments, **rules)
