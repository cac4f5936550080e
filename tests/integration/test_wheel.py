"""The wheel, installed where nothing else is, runs an experiment from another directory."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import ROOT

pytestmark = [pytest.mark.integration, pytest.mark.release]


def test_the_wheel_works_outside_any_checkout(tmp_path: Path) -> None:
    def call(*command: str) -> str:
        environment = {name: value for name, value in os.environ.items() if name not in {"PYTHONPATH", "DLBS_ROOT"}}
        done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    call(sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(tmp_path / "dist"), str(ROOT))
    (wheel,) = (tmp_path / "dist").glob("*.whl")
    call(sys.executable, "-m", "venv", str(tmp_path / "venv"))
    python, dlbs = str(tmp_path / "venv" / "bin" / "python"), str(tmp_path / "venv" / "bin" / "dlbs")
    call(python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", str(wheel))
    call(dlbs, "run", "-Pexp.framework=dummy", "-Pexp.docker=false", "-Vexp.replica_batch=[1,2]")
    assert len(list((tmp_path / "logs").glob("*.log"))) == 2
    call(dlbs, "parse", "logs", "--output-file", "results.json")
    assert "2,000" in call(dlbs, "report", "results.json")
    assert "alexnet" in call(dlbs, "help", "--models")
    call(dlbs, "run", "-Pexp.num_batches=2", "-Pexp.log_dir=timed", "--", "echo", "{word}", "-Vword=[a,b]")
    assert len(list((tmp_path / "timed").glob("*.log"))) == 2
    shipped = call(python, "-c", "from dlbs.core.files import dlbs_root; print(dlbs_root())").strip()
    assert (Path(shipped) / "python" / "pytorch_benchmarks" / "benchmarks.py").is_file()
