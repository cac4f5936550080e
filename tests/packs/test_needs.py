"""What a pack needs: no README, and no environment of its own unless it has requirements."""

from __future__ import annotations

import json
import os
import shutil
import sys
from pathlib import Path

import pytest

from dlbs.packs.definition import find_pack
from dlbs.packs.kinds import needs_environment
from tests.conftest import ROOT, RunDlbs
from tests.packs.test_packs import experiments, write_pack
from tests.services import BASE_IMAGE

RUN = ("-Pexp.framework=pack", "-Pexp.pack=plain")

ARCHITECTURE = '''
"""A line (Rosenblatt, 1958)."""
from torch import nn
from pytorch_benchmarks.model_factory import register_model
from pytorch_benchmarks.models.model import Model

__all__ = ["Plain"]

@register_model("plain")
class Plain(Model):
    """Rosenblatt, 1958."""
    title = "Plain"
    input_shape = (4,)
    def __init__(self, *, num_classes: int = 10):
        super().__init__()
        self.num_classes = num_classes
        self.line = nn.Linear(4, num_classes)
    def forward(self, x): return self.line(x)
'''


@pytest.mark.parametrize(
    ("files", "needed"),
    [
        ({"main.py": "print(1)"}, False),
        ({"main.py": "print(1)", "requirements.in": "six"}, True),
        ({"main.py": "print(1)", "requirements.cpu.txt": "six==1.16.0"}, True),
        ({"main.py": "import voir"}, True),
        ({"main.py": "print(1)", "voirfile.py": ""}, True),
        ({"main.py": "print(1)", "pack.yaml": "plain: {install_group: shared}"}, True),
        ({"main.py": "print(1)", "prepare.py": "print(1)"}, False),
        ({"benchfile.py": "class B:\n    def command(self, script): ...\n    def prepare(self): ..."}, False),
        ({"benchfile.py": "class B:\n    def install(self): ..."}, True),
        ({"benchfile.py": "class B:\n    async def install(self): ..."}, True),
        ({"architecture.py": ARCHITECTURE}, False),
        ({"architecture.py": ARCHITECTURE, "requirements.txt": "six"}, True),
        ({"Dockerfile": "FROM scratch", "requirements.txt": "six"}, False),  # the image has them
    ],
)
def test_a_pack_needs_an_environment_if_something_names_requirements(
    tmp_path: Path, files: dict[str, str], needed: bool
) -> None:
    (tmp_path / "plain").mkdir()
    for name, content in files.items():
        (tmp_path / "plain" / name).write_text(content)
    assert needs_environment(find_pack(str(tmp_path / "plain"))) is needed


@pytest.mark.integration
def test_an_architecture_is_checked_and_runs(dlbs: RunDlbs, tmp_path: Path) -> None:
    check_and_run(dlbs, tmp_path, "architecture.py", ARCHITECTURE, "training")


def check_and_run(dlbs: RunDlbs, tmp_path: Path, file: str, source: str, phase: str) -> None:
    """Check and run a pack that is one file and needs no environment."""
    pack = tmp_path / "packs" / "plain"
    pack.mkdir(parents=True)
    (pack / file).write_text(source)
    base = {"DLBS_BASE": str(tmp_path / "base")}
    assert "plain: nothing to install" in dlbs("pack", "install", "plain", **base).stderr
    checked = dlbs("pack", "check", "plain", EXPECTTEST_ACCEPT="1", **base)
    assert checked.returncode == 0, checked.stdout
    few = ("-Pexp.num_batches=2", "-Pexp.num_warmup_batches=0", "-Pexp.docker=false", f"-Pexp.phase={phase}")
    done = dlbs("run", *RUN, *few, **base)
    assert done.returncode == 0, done.stderr
    (record,) = json.loads(dlbs("parse", "logs").stdout)["data"]
    assert record["results.throughput"] > 0
    assert not (tmp_path / "base" / "venv").exists()


@pytest.mark.integration
@pytest.mark.needs("docker", "base image")
def test_a_container_is_a_dockerfile_and_a_program(dlbs: RunDlbs, tmp_path: Path) -> None:
    tutorial = ROOT / "examples" / "packs" / "tutorial"
    pack = tmp_path / "packs" / "plain"
    (pack / "src").mkdir(parents=True)
    shutil.copy(tutorial / "src" / "run.py", pack / "src")
    (pack / "Dockerfile").write_text(f"FROM {BASE_IMAGE}\nWORKDIR /app\nCOPY src/run.py run.py\n")
    base = {"DLBS_BASE": str(tmp_path / "base")}
    assert dlbs("pack", "build", "plain", **base).returncode == 0
    (tmp_path / "in.jsonl").write_text('{"text": "abc"}\n')
    done = dlbs("pack", "predict", "plain", "--input-files", "in.jsonl", "--output", "out.jsonl", **base)
    assert done.returncode == 0, done.stderr
    assert json.loads((tmp_path / "out.jsonl").read_text()) == {"output": "cba"}
    few = ("-Pexp.replica_batch=1", "-Pexp.num_batches=1", "-Pexp.num_warmup_batches=0")
    done = dlbs("run", *RUN, f"-Ppack.inputs={tmp_path / 'in.jsonl'}", *few, **base)
    assert done.returncode == 0, done.stderr
    assert not (tmp_path / "base").exists()


OWN = r"""
import sys
from dlbs.packs.benchfile import BenchmarkPack

CODE = "import sys; print('__results.throughput__= 5'); print(f'__results.python__= \"{sys.executable}\"')"

class Own(BenchmarkPack):
    def prepare(self): self.run_in_environment("python", "-c", "open('prepared', 'w')")
    def command(self, script): return [str(self.python), "-c", CODE]
"""


@pytest.mark.integration
def test_a_benchfile_without_install_runs_with_the_python_of_dlbs_unless_another_is_given(
    dlbs: RunDlbs, tmp_path: Path
) -> None:
    pack = tmp_path / "packs" / "plain"
    pack.mkdir(parents=True)
    (pack / "benchfile.py").write_text(OWN)
    base = {"DLBS_BASE": str(tmp_path / "base")}
    done = dlbs("pack", "prepare", "plain", **base)
    assert done.returncode == 0, done.stderr
    assert (pack / "prepared").exists()
    other = tmp_path / "other" / "bin" / "python"
    other.parent.mkdir(parents=True)
    other.symlink_to(sys.executable)
    for number, flags in enumerate(((), (f"-Ppack.python={other}",))):
        done = dlbs("run", *RUN, "-Pexp.docker=false", f"-Pexp.log_dir={number}", *flags, **base)
        assert done.returncode == 0, done.stderr
        (record,) = json.loads(dlbs("parse", str(number)).stdout)["data"]
        assert (record["results.python"] == str(other)) is bool(flags)
        assert os.path.samefile(record["results.python"], sys.executable)
    assert not (tmp_path / "base" / "venv").exists()


SHARED = """
_all: {definition: ., argv: {--number: 1}}
first: {inherits: _all}
second: {inherits: _all, argv: {--number: 2}}
"""
BY_NAME = """
from dlbs.packs.benchfile import BenchmarkPack
class Own(BenchmarkPack):
    def command(self, script): return ["echo", f"__results.throughput__= {len(self.pack.name)}{script[-1]}"]
"""


@pytest.mark.integration
def test_entries_of_a_collection_that_share_a_benchfile_run_as_what_they_are(dlbs: RunDlbs, tmp_path: Path) -> None:
    suite = tmp_path / "suite"
    suite.mkdir()
    (suite / "base.yaml").write_text(SHARED)
    (suite / "benchfile.py").write_text(BY_NAME)
    done = dlbs("run", "--select", "first,second", "-Pexp.docker=false", DLBS_PACK_PATH=os.fspath(suite / "base.yaml"))
    assert done.returncode == 0, done.stderr
    records = json.loads(dlbs("parse", "logs").stdout)["data"]
    assert {record["exp.model"]: record["results.throughput"] for record in records} == {"first": 51, "second": 62}


def test_the_launcher_finds_the_definition_of_an_entry_again(dlbs: RunDlbs, tmp_path: Path) -> None:
    write_pack(tmp_path / "suite" / "box").joinpath("Dockerfile").touch()
    (tmp_path / "suite" / "box" / "main.py").unlink()
    (tmp_path / "suite" / "all.yaml").write_text("plain: {definition: box, command: python3 other.py, network: true}")
    (one,) = experiments(dlbs, *RUN, DLBS_PACK_PATH=os.fspath(tmp_path / "suite" / "all.yaml"))
    found = find_pack(one["pack.name"], [Path(one["pack.definition"])])
    assert (found.command, found.network) == ("python3 other.py", True)
