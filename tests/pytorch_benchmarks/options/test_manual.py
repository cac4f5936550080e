"""The tables of options in the manual are those of the fields."""

from __future__ import annotations

from pathlib import Path

import pytest

from pytorch_benchmarks.training.options import TrainingOptions
from scripts.options_manual import main, options_table, with_tables
from tests.conftest import ROOT


@pytest.mark.parametrize(
    ("page", "kinds"),
    [
        ("pytorch-benchmarks.md", ["CommonOptions", "BenchmarkOptions"]),
        ("serving.md", ["ServingOptions"]),
        ("training.md", ["TrainingOptions"]),
    ],
)
def test_the_manual_is_up_to_date(page: str, kinds: list[str]) -> None:
    text = (ROOT / "docs" / page).read_text()
    assert all(f"<!-- options: {kind} -->" in text for kind in kinds)
    assert with_tables(text) == text, "make docs"


def test_a_table_has_what_a_class_adds_or_changes() -> None:
    table = options_table(TrainingOptions)
    assert "| `--batch_size` | N | `32` | Instances in one batch of one replica |" in table
    assert "| `--lr_scheduler` | `step`, `cosine`, `exponential`, `constant` | `step` |" in table
    assert "--seed" not in table


def test_a_page_is_brought_up_to_date(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("before\n<!-- options: TrainingOptions -->\nstale\n<!-- end of options -->\nafter\n")
    main([str(page)])
    text = page.read_text()
    assert options_table(TrainingOptions) in text
    assert "stale" not in text
    assert text.startswith("before\n")
    assert text.endswith("\nafter\n")
