"""The distinct values of each parameter."""

from __future__ import annotations

from dlbs.results.tables.lists import summary_table
from tests.made_logs import declared, make_record

RECORDS = [make_record(model, batch) for model in ("b", "a") for batch in (16, 8)] + [make_record("b", 4)]


def test_each_parameter_has_its_values_with_how_many_experiments_have_them() -> None:
    table = summary_table(declared(RECORDS))
    found = dict(zip([name for (name,) in table.rows], table.cells, strict=True))
    assert table.title == "Parameters of 5 experiments"
    assert [cell.value for cell in found["exp.model"]] == [2, "b (3), a (2)"]
    assert [cell.value for cell in found["exp.replica_batch"]] == [3, "4 (1), 8 (2), 16 (2)"]
    assert [cell.value for cell in found["exp.dtype"]] == [1, "float32 (5)"]
    assert not any(name.startswith("results.") for name in found)


def test_what_differs_comes_first() -> None:
    table = summary_table(declared(RECORDS))
    counts = [cells[0].value for cells in table.cells]
    assert 1 not in counts[: counts.index(1)]
    assert all(count == 1 for count in counts[counts.index(1) :])


def test_keys_that_are_asked_for_have_all_their_values() -> None:
    records = [make_record("a", batch) for batch in range(1, 41)]
    usual = summary_table(declared(records))
    cells = usual.cells[usual.rows.index(["exp.replica_batch"])]
    assert str(cells[1].value).endswith("20 (1), and 20 more")
    asked = summary_table(declared(records), ["exp.replica_batch", "results.unit"])
    assert [name for (name,) in asked.rows] == ["exp.replica_batch", "results.unit"]
    assert str(asked.cells[0][1].value).endswith("39 (1), 40 (1)")
    assert asked.cells[1][1].value == "images (40)"
