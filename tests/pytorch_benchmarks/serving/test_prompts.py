"""Lengths of prompts and answers."""

from __future__ import annotations

import statistics
from pathlib import Path

import pytest

from benchmark_core.exits import UsageError
from pytorch_benchmarks.serving.prompts import draw_lengths


def test_a_number_is_the_length_of_all() -> None:
    assert draw_lengths("--x", "128", 3, seed=1) == [128, 128, 128]


def test_uniform_and_lognormal_lengths() -> None:
    uniform = draw_lengths("--x", "uniform:16:64", 4000, seed=1)
    assert (min(uniform), max(uniform)) == (16, 64)
    assert statistics.fmean(uniform) == pytest.approx(40, abs=1)
    lognormal = draw_lengths("--x", "lognormal:64:0.5", 4000, seed=1)
    assert statistics.median(lognormal) == pytest.approx(64, rel=0.05)
    assert max(draw_lengths("--x", "lognormal:64:0.5:100", 4000, seed=1)) == 100


def test_the_same_seed_gives_the_same_lengths() -> None:
    one, same, other = (draw_lengths("--x", "uniform:1:999", 9, seed) for seed in (1, 1, 2))
    assert one == same != other


def test_a_file_has_a_line_for_each_sample_and_begins_again(tmp_path: Path) -> None:
    path = tmp_path / "lengths.csv"
    path.write_text("128, 16\n\n64 8\n")
    assert draw_lengths("--x", f"file:{path}", 3, seed=1) == [128, 64, 128]
    assert draw_lengths("--x", f"file:{path}", 3, seed=1, column=1) == [16, 8, 16]
    path.write_text("128\n64\n")
    assert draw_lengths("--x", f"file:{path}", 2, seed=1, column=1) == [128, 64]


@pytest.mark.parametrize(
    "words",
    [
        *("", "0", "-1", "x", "1.5", "9" * 30, "normal:3:1", "uniform", "uniform:5", "uniform:9:3", "uniform:0:3"),
        *(
            "uniform:1:2:3",
            "lognormal:64",
            "lognormal:0:1",
            "lognormal:64:99",
            "lognormal:64:0.5:32",
            "lognormal:nan:1",
        ),
    ],
)
def test_what_is_no_length_is_an_error_that_names_the_forms(words: str) -> None:
    with pytest.raises(UsageError, match=r"--x .* is not one of 128, uniform"):
        draw_lengths("--x", words, 3, seed=1)


@pytest.mark.parametrize(
    ("content", "said"), [("", "has no lengths"), ("12\nx\n", r":2: 'x' is not a number of tokens"), ("0", ":1: '0'")]
)
def test_a_bad_line_is_named(tmp_path: Path, content: str, said: str) -> None:
    path = tmp_path / "lengths"
    path.write_text(content)
    with pytest.raises(UsageError, match=said):
        draw_lengths("--x", f"file:{path}", 3, seed=1)


def test_a_file_that_is_not_there_or_no_text(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="No such file"):
        draw_lengths("--x", f"file:{tmp_path / 'none'}", 3, seed=1)
    (tmp_path / "binary").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(UsageError, match="not a text file"):
        draw_lengths("--x", f"file:{tmp_path / 'binary'}", 3, seed=1)
