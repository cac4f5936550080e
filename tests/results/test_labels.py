"""Labels hold the parameters that differ, and leave out those that do not: in tables, comparisons, plots and on the page."""

from __future__ import annotations

from typing import Any

import pytest

from dlbs.results.grouping import common_label, distinguishing_names, label_of
from dlbs.results.page.report import page_html
from dlbs.results.plots.kinds import draw
from dlbs.results.statistics.compare import compare, compare_by
from dlbs.results.statistics.ratio import Rules
from dlbs.results.tables.lists import listing_table
from dlbs.results.tables.report import default_tables
from dlbs.results.tables.scores import scores
from tests.made_logs import declared, make_record

Records = list[dict[str, Any]]
SETTINGS = [
    ("system", "1"),
    ("system", "0"),
    ("keep", "1"),
    ("keep", "0"),
]  # neither in the order of the alphabet nor of numbers
LABELS = [f"runtime.malloc={malloc}, runtime.cpus={cpus}" for malloc, cpus in SETTINGS]


def sweep(**more: Any) -> Records:
    """Four settings of one model, three times each."""
    return [
        {**make_record("deep_mnist", repeat=repeat, seed=malloc + cpus, **more), "runtime.malloc": malloc, "runtime.cpus": cpus}
        for malloc, cpus in SETTINGS
        for repeat in (1, 2, 3)
    ]  # fmt: skip


def labels(records: Records) -> list[str]:
    names = distinguishing_names(declared(records))
    return list(dict.fromkeys(label_of(record, names) for record in records))


def test_what_varies_is_named_in_the_plan_s_order_and_nothing_else() -> None:
    assert labels(sweep()) == LABELS
    assert labels(sweep()[:6]) == ["runtime.cpus=1", "runtime.cpus=0"]
    assert common_label(declared(sweep())) == "deep_mnist, training, float32, gpu, batch 16"


def test_a_single_experiment_has_the_usual_label() -> None:
    assert labels(sweep()[:3]) == ["deep_mnist, training, float32, gpu, batch 16"]


def test_declared_parameters_that_vary_together_are_all_named() -> None:
    records = [
        {**make_record(), "runtime.malloc": malloc, "runtime.cpus": cpus} for malloc, cpus in (SETTINGS[0], SETTINGS[3])
    ]
    assert labels(records) == [LABELS[0], LABELS[3]]


def test_what_is_computed_from_others_is_not_named() -> None:
    records = [make_record(batch=batch, my__command=f"run --batch {batch}") for batch in (2, 4)]
    assert labels(records) == ["batch 2", "batch 4"]


def test_long_values_stay_whole() -> None:
    same = "x" * 100
    records = [make_record(exp__model_opts=same + end) for end in "12"]
    assert len(set(labels(records))) == 2


def test_report_makes_swept_parameters_rows_in_the_plan_s_order() -> None:
    (table,) = default_tables(declared(sweep()))
    assert table.header == ["runtime.malloc", "runtime.cpus", "Throughput, images/s", "Batch time, ms"]
    assert table.rows == [list(setting) for setting in SETTINGS]
    assert table.legend[-1] == "all runs: deep_mnist, training, float32, gpu, batch 16"


def test_batch_sizes_are_columns_if_they_vary() -> None:
    records = [*sweep(), *[{**one, "exp.replica_batch": 4, "exp.effective_batch": 4} for one in sweep()]]
    throughput, time = default_tables(declared(records))
    assert throughput.header == ["runtime.malloc", "runtime.cpus", "batch 4", "batch 16"]
    assert throughput.rows == time.rows == [list(setting) for setting in SETTINGS]
    assert throughput.title.startswith("Throughput, images/s; median of 3 runs")


def test_scores_comparisons_and_plots_have_the_same_labels() -> None:
    assert [score.bench for score in scores(declared(sweep()))] == LABELS
    assert sorted(match.label for match in compare(declared(sweep()), sweep()).matches) == sorted(LABELS)
    assert compare_by(declared(sweep()), Rules(by="runtime.malloc")).experiments == [
        "runtime.cpus=1",
        "runtime.cpus=0",
    ]
    bars = draw("bars", declared(sweep()))
    assert [tick.get_text() for tick in bars.axes[0].get_yticklabels()] == LABELS  # bars with long labels lie
    _, subtitle, note = (words.get_text() for words in bars.texts)
    assert subtitle == "deep_mnist, training, float32, gpu, batch 16 · Imaginary GPU"
    assert note == "bars: median of 3 runs; error bars: 75 % confidence interval of the median"
    lines = draw("throughput", declared(sweep())).axes[0].get_legend_handles_labels()[1]
    assert lines == LABELS


@pytest.mark.integration
def test_the_page_has_columns_for_what_varies() -> None:
    page = page_html(declared(sweep()))
    for title in ("memory allocator", "runtime.cpus", "repeat"):
        assert f'"title":"{title}"' in page
    assert '<button type="button">model</button>' not in page


def test_a_list_of_experiments_has_columns_for_what_varies() -> None:
    table = listing_table(declared(sweep()))
    assert table.names == ["runtime.malloc", "runtime.cpus", "exp.repeat"]
    assert "model" not in table.header


@pytest.mark.parametrize("kind", ["bars", "throughput", "weak"])
def test_a_legend_covers_no_data(kind: str) -> None:
    records = [{**one, "exp.num_gpus": gpus} for gpus in (1, 2) for one in sweep()] if kind == "weak" else sweep()
    figure = draw(kind, declared([*records, *[{**one, "exp.model": "other"} for one in records]]))
    figure.draw_without_rendering()
    (legend,) = figure.legends
    assert not legend.get_window_extent().overlaps(figure.axes[0].get_window_extent())


def repeated(batch: int, count: int = 3) -> Records:
    more = {"exp.repeats": count, "exp.effective_batch": batch}
    return [{**make_record("deep_mnist", batch, repeat=repeat), **more} for repeat in range(1, count + 1)]


def test_the_label_of_a_comparison_holds_only_what_both_sides_have_in_common() -> None:
    small, large = repeated(8), repeated(16)
    inside = compare_by(declared([*small, *large]), Rules(by="exp.replica_batch"))
    assert inside.experiments == ["deep_mnist, training, float32, gpu"]
    assert [match.label for match in inside.comparisons[0].matches] == inside.experiments
    between = compare(declared(small), large)
    assert [match.label for match in between.matches] == ["deep_mnist, training, float32, gpu"]
    matched = compare(declared([*small, *large]), [*small, *large], Rules(match=["exp.model"]))
    assert [match.label for match in matched.matches] == ["deep_mnist, training, float32, gpu"]


def test_the_label_of_a_group_names_no_repeat() -> None:
    assert label_of(repeated(8)[0], []) == "deep_mnist, training, float32, gpu, batch 8"
    assert scores(declared(repeated(8)))[0].bench == "deep_mnist, training, float32, gpu, batch 8"
