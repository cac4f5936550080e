"""Exported models are found again if nothing that determines them has changed, and several processes may export at a time."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from benchmark_core.exits import BenchmarkError
from onnxruntime_benchmarks import exported
from onnxruntime_benchmarks.options import OnnxOptions


@pytest.mark.parametrize(("dtype", "depends"), [("float32", False), ("float16", False), ("int8", True)])
def test_only_a_quantised_model_depends_on_the_version_of_onnxruntime(
    monkeypatch: pytest.MonkeyPatch, dtype: str, depends: bool
) -> None:
    options = OnnxOptions(model="deep_mnist", dtype=dtype)
    installed = {"torch": "2.13.0", "onnxruntime": "1.20.0"}
    monkeypatch.setattr(exported, "_version", lambda name: installed.get(name, ""))
    before = exported._name(options)
    assert exported._name(options) == before
    installed["onnxruntime"] = "1.21.0"
    assert (exported._name(options) != before) == depends
    installed["torch"] = "2.14.0"
    assert exported._name(options) != before


def test_processes_with_the_same_number_export_side_by_side(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As in two containers that share a cache."""
    options = OnnxOptions(model="deep_mnist", cache_dir=str(tmp_path / "cache"))
    exports: list[Path] = []

    def export(_: OnnxOptions, file: Path) -> None:
        exports.append(file)
        if len(exports) == 1:
            exported.cached_model(options)  # another process, which is faster
        file.write_text("a model")

    monkeypatch.setattr(exported, "_export", export)
    monkeypatch.setattr(os, "getpid", lambda: 7)
    file = exported.cached_model(options)
    assert len(set(exports)) == 2
    assert list((tmp_path / "cache").iterdir()) == [file.parent]
    (tmp_path / "usual").mkdir()
    assert file.parent.stat().st_mode == (tmp_path / "usual").stat().st_mode, "others may read it"
    assert exported.cached_model(options) == file
    assert len(exports) == 2


def test_a_failed_export_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def export(_: OnnxOptions, file: Path) -> None:
        file.write_text("a part of a model")
        raise BenchmarkError("it failed")

    monkeypatch.setattr(exported, "_export", export)
    with pytest.raises(BenchmarkError, match="it failed"):
        exported.cached_model(OnnxOptions(model="deep_mnist", cache_dir=str(tmp_path)))
    assert not list(tmp_path.iterdir())


def test_exports_of_killed_processes_are_removed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    killed: list[Path] = []

    def export(_: OnnxOptions, file: Path) -> None:
        file.write_text("a model")
        killed.append(file.parents[1])

    monkeypatch.setattr(exported, "_export", export)
    first, second = (OnnxOptions(model=name, cache_dir=str(tmp_path)) for name in ("deep_mnist", "alexnet"))
    file = exported.cached_model(first)
    stale, recent = killed[0], tmp_path / f"{killed[0].name[:-8]}recently"
    for directory in (stale, recent, tmp_path / "mine.part12345678"):
        (directory / "exported").mkdir(parents=True)
    for old in (stale, tmp_path / "mine.part12345678", file.parent):
        os.utime(old, (0, 0))
    exported.cached_model(second)
    assert not stale.exists()
    assert all(kept.exists() for kept in (recent, tmp_path / "mine.part12345678", file))


@pytest.mark.parametrize(
    ("variable", "directory"), [("/scratch", "/scratch"), ("", "~/.cache"), ("relative", "~/.cache")]
)
def test_the_default_directory(variable: str, directory: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", variable)
    assert exported._default_directory() == f"{directory}/dlbs/onnx"
