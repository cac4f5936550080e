"""What ONNX Runtime is asked for with a provider, and what is said if it is not there. tests/gpu/test_onnxruntime.py runs it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import onnxruntime
import pytest

from benchmark_core.exits import OutOfMemoryError, UsageError
from benchmark_core.program import explain
from onnxruntime_benchmarks.options import OnnxOptions
from onnxruntime_benchmarks.session import check_provider, open_session


class Session:
    """Notes what it is made with, and says that it computes with `there`."""

    there: list[str] = ["CUDAExecutionProvider", "CPUExecutionProvider"]  # noqa: RUF012
    asked: list[Any] = []  # noqa: RUF012

    def __init__(self, file: str, settings: Any, providers: list[Any], enable_fallback: int) -> None:
        self.asked[:] = providers
        assert not enable_fallback

    def get_providers(self) -> list[str]:
        return self.there


@pytest.fixture
def session(monkeypatch: pytest.MonkeyPatch) -> type[Session]:
    """In the place of sessions that only a GPU can open."""
    monkeypatch.setattr(onnxruntime, "InferenceSession", Session)
    monkeypatch.setattr(onnxruntime, "preload_dlls", lambda: None)
    monkeypatch.setattr(Session, "there", Session.there)
    return Session


@pytest.mark.parametrize(("dtype", "tf32"), [("float32", "0"), ("float16", "0"), ("tf32", "1")])
def test_cuda_is_the_only_provider_and_uses_tf32_only_if_asked(session: type[Session], dtype: str, tf32: str) -> None:
    open_session(Path("m.onnx"), OnnxOptions(provider="cuda", dtype=dtype))
    assert session.asked == [("CUDAExecutionProvider", {"use_tf32": tf32})]


def test_the_cpu_is_asked_for_by_its_name(session: type[Session]) -> None:
    session.there = ["CPUExecutionProvider"]
    open_session(Path("m.onnx"), OnnxOptions(provider="cpu"))
    assert session.asked == ["CPUExecutionProvider"]


def test_a_session_that_fell_back_to_the_cpu_is_an_error(session: type[Session]) -> None:
    session.there = ["CPUExecutionProvider"]
    with pytest.raises(UsageError, match="--provider cuda: ONNX Runtime cannot start it and would compute on the CPU"):
        open_session(Path("m.onnx"), OnnxOptions(provider="cuda"))


def test_too_little_memory_is_no_wrong_option(session: type[Session], monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: Any, **__: Any) -> None:
        raise RuntimeError("bfc_arena.cc:376 Failed to allocate memory for requested buffer of size 1")

    monkeypatch.setattr(onnxruntime, "InferenceSession", full)
    options = OnnxOptions(model="m", provider="cuda")
    with pytest.raises(RuntimeError) as raised:
        open_session(Path("m.onnx"), options)
    assert isinstance(explain(raised.value, options), OutOfMemoryError)


def test_a_provider_that_does_not_start_is_named_with_its_reason(
    session: type[Session], monkeypatch: pytest.MonkeyPatch
) -> None:
    def failing(*_: Any, **__: Any) -> None:
        raise RuntimeError("\nCUDA failure 100: no CUDA-capable device is detected ; GPU=-1 ; hostname=host\n")

    monkeypatch.setattr(onnxruntime, "InferenceSession", failing)
    with pytest.raises(UsageError, match=r"cannot start it \(CUDA failure 100: no CUDA-capable.*CUDA_VISIBLE_DEVICES"):
        open_session(Path("m.onnx"), OnnxOptions(provider="cuda"))


def test_a_real_session_does_not_fall_back(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """A missing file is an error of a kind for which ONNX Runtime would try again with its default providers."""
    with pytest.raises(UsageError, match="ONNX Runtime cannot run"):
        open_session(tmp_path / "missing.onnx", OnnxOptions())
    assert "Falling back" not in capfd.readouterr().out


def test_a_file_that_cannot_be_run_is_a_wrong_option(tmp_path: Path) -> None:
    (tmp_path / "m.onnx").write_bytes(b"no model")
    with pytest.raises(UsageError, match="ONNX Runtime cannot run"):
        open_session(tmp_path / "m.onnx", OnnxOptions())


def test_versions_that_do_not_load_libraries_of_pypi(session: type[Session], monkeypatch: pytest.MonkeyPatch) -> None:
    """ONNX Runtime 1.20."""
    monkeypatch.delattr(onnxruntime, "preload_dlls")
    open_session(Path("m.onnx"), OnnxOptions(provider="cuda"))


def test_a_provider_that_is_not_built_in_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: ["CPUExecutionProvider"])
    with pytest.raises(UsageError, match="this ONNX Runtime has CPUExecutionProvider; install onnxruntime-gpu"):
        check_provider("cuda")
    check_provider("cpu")
