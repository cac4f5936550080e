"""Results in log lines and in a file."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmark_core.log import Log


def test_a_result_file_is_whole(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    log = Log()
    log("results.time", 1.5)
    log.warn("odd")
    log.warn("odder")
    log.end()
    log.write(str(tmp_path / "result.json"))
    written = json.loads((tmp_path / "result.json").read_text())
    assert written == {"results.time": 1.5, "results.warnings": ["odd", "odder"]}
    printed = capsys.readouterr().out
    assert "warning: odder" in printed
    assert printed.count("__results.warnings__") == 1
    with pytest.raises(OSError, match="No such file"):
        log.write(str(tmp_path / "nope" / "result.json"))
