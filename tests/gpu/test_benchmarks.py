"""`python -m benchmarks.gpu`: what it reports of a measurement, and of a preparation. No GPU is needed."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from functools import partial
from typing import Any

import pytest
import torch

from benchmarks.gpu import __main__ as program
from benchmarks.gpu.sides import Effort, Measurement


def works(effort: Effort) -> Mapping[str, Any]:
    return {"ms": 2.5}


def needs_too_much(effort: Effort) -> Mapping[str, Any]:
    raise torch.OutOfMemoryError("CUDA out of memory")


@pytest.mark.parametrize(
    ("work", "flags", "code", "line"),
    [
        (works, [], 0, "overhead: one ms 2.500"),
        (works, ["--prepare"], 0, "prepare overhead: one passed"),
        (needs_too_much, [], 1, "overhead: one failed: torch.OutOfMemoryError: CUDA out of memory"),
        (needs_too_much, ["--prepare"], 0, "prepare overhead: one skipped: not enough memory beside other parts"),
    ],
)
def test_a_preparation_has_no_figures_and_may_lack_memory(
    work: Any,
    flags: list[str],
    code: int,
    line: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(sys, "argv", ["benchmarks.gpu", *flags, "overhead"])
    monkeypatch.setattr(program, "_measurements", lambda group: iter([Measurement("one", partial(work))]))
    monkeypatch.setattr(Effort, "tiny", False)
    monkeypatch.setattr(Effort, "of", lambda device: Effort(torch.device("cpu"), 3, 0.4))
    assert program.main() == code
    assert " ".join(capsys.readouterr().out.split()) == line


def test_no_measurement_has_the_name_of_another() -> None:
    names = [f"{group}: {one.name}" for group in program.GROUPS for one in program._measurements(group)]
    assert len(names) == len(set(names)) > 60
    assert all(("compile" in name) == name.startswith("compiled: ") for name in names)
