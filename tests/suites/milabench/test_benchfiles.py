"""Benchfiles that were written for milabench: what they install, prepare and run. Nothing of it is started here."""

from __future__ import annotations

import importlib
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from dlbs.core.errors import LaunchError
from dlbs.packs.benchfile import BenchmarkPack, benchfile_of
from dlbs.packs.definition import find_pack
from dlbs.packs.kinds import kind_of
from dlbs.suites.milabench import MODULES
from dlbs.suites.milabench.plans import XPath, assemble_options, merge, select_nodes

PLAIN = """
from milabench.pack import Package

class Plain(Package):
    base_requirements = "requirements.in"
    prepare_script = "prepare.py"
    main_script = "main.py"

__pack__ = Plain
"""


@pytest.fixture(autouse=True)
def _places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DLBS_BASE", str(tmp_path / "base"))
    for name in ("CUDA_VISIBLE_DEVICES", "DLBS_VOIR_OPTIONS", "DLBS_PACK_PYTHON"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(os, "environ", os.environ.copy())  # a command sets variables of the process that becomes it


def written(
    directory: Path, benchfile: str = PLAIN, definition: str = "", files: tuple[str, ...] = ("main.py",)
) -> BenchmarkPack:
    directory.mkdir(parents=True)
    (directory / "benchfile.py").write_text(benchfile)
    if definition:
        (directory / "dev.yaml").write_text(definition)
    for name in files:
        (directory / name).parent.mkdir(parents=True, exist_ok=True)
        (directory / name).touch()
    own = benchfile_of(find_pack(str(directory)))
    assert own is not None
    return own


def run(own: BenchmarkPack, *arguments: str) -> tuple[list[str], list[str]]:
    """Options of the program that takes the events, and the command that it starts."""
    words = own.command(["main.py", *arguments])
    middle = words.index("--")
    assert words[0] == sys.executable
    assert words[1].endswith("pack_runner/run.py")
    return words[2:middle], words[middle + 1 :]


def test_a_plain_benchfile_runs_its_script_under_voir(tmp_path: Path) -> None:
    own = written(tmp_path / "plain")
    assert kind_of(own.pack).name == "milabench"
    python = str(tmp_path / "base" / "venv" / "plain" / "bin" / "python")
    options, command = run(own, "--batch-size", "64")
    assert options == ["--events", "--stop", "60", "--batch", "64"]
    assert command == [python, "-m", "voir", str(tmp_path / "plain" / "main.py"), "--batch-size", "64"]
    assert own.working_directory == tmp_path / "plain"
    assert os.environ["MILABENCH_DIR_DATA"] == str(tmp_path / "base" / "data")
    assert json.loads(os.environ["MILABENCH_CONFIG"])["name"] == "plain"
    assert os.environ["PATH"].startswith(f"{Path(python).parent}:")
    assert os.environ["VOIRFILE"].endswith("pack_runner/voirfile.py")


def test_a_voirfile_of_its_own_decides_when_it_ends(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DLBS_VOIR_OPTIONS", '{"stop": 7, "skip": 2}')
    own = written(tmp_path / "own", files=("main.py", "voirfile.py"))
    options, command = run(own)
    assert options == ["--events"]
    file = command[command.index("--config") + 1]
    assert json.loads(Path(file).read_text()) == {"options": {"stop": 7, "skip": 2}}
    assert (os.environ["VOIR_EARLYSTOP_COUNT"], os.environ["VOIR_EARLYSTOP_SKIP"]) == ("7", "2")
    assert "VOIRFILE" not in os.environ


@pytest.mark.parametrize(
    ("body", "options", "command"),
    [
        ("def build_run_plan(self): return super().build_run_plan().use_stdout()", ["--stdout"], ["PYTHON", "-m", "voir", "CODE/main.py", "--x", "1"]),
        ("main_script = 'sub/train.py'", [], ["PYTHON", "-m", "voir", "CODE/sub/train.py", "--x", "1"]),
        ("main_script = 'bench'", [], ["PYTHON", "-m", "voir", "-m", "bench", "--x", "1"]),
        ("def build_run_plan(self): return PackCommand(self, *self.argv, lazy=True).use_stdout()", ["--stdout"], ["PYTHON", "CODE/main.py", "--x", "1"]),
        ("def build_run_plan(self): return TorchRunCommand(super().build_run_plan(), use_stdout=True)", ["--stdout"], ["PYTHON", "-m", "voir", "CODE/main.py", "--x", "1"]),
        ("def build_run_plan(self): return TorchrunAllNodes(super().build_run_plan()).use_stdout()", ["--stdout"], ["PYTHON", "-m", "voir", "CODE/main.py", "--x", "1"]),
        ("def build_run_plan(self): return VoirCommand(CmdCommand(self, '-m', 'tune', 'run'), cwd=self.dirs.code)", [], ["PYTHON", "-m", "voir", "-m", "tune", "run"]),
        ("def build_run_plan(self): return CmdCommand(self, 'tune', *self.argv)", [], ["tune", "--x", "1"]),
        ("async def run(self): return await super().run()", [], ["PYTHON", "-m", "voir", "CODE/main.py", "--x", "1"]),
        ("async def run(self): return await self.voir('sub/train.py', args=['a'])", [], ["PYTHON", "-m", "voir", "CODE/sub/train.py", "a"]),
        ("argv = property(lambda self: [*super().argv, '--out', self.dirs.data])", [], ["PYTHON", "-m", "voir", "CODE/main.py", "--x", "1", "--out", "DATA"]),
        ("def build_run_plan(self): return NJobs(PerGPU(super().build_run_plan()), 3)", [], ["PYTHON", "-m", "voir", "CODE/main.py", "--x", "1"]),
        ("def build_run_plan(self): return SSHCommand(DockerRunCommand(super().build_run_plan(), 'image'), '10.0.0.1')", [], ["PYTHON", "-m", "voir", "CODE/main.py", "--x", "1"]),
    ],
)  # fmt: skip
def test_plans_come_to_one_command(tmp_path: Path, body: str, options: list[str], command: list[str]) -> None:
    source = f"from milabench.pack import Package\nfrom milabench.commands import *\nclass Own(Package):\n    {body}\n__pack__ = Own\n"
    own = written(tmp_path / "own", source, "own: {argv: {--x: 1}}", ("main.py", "sub/train.py", "bench/__main__.py"))
    known = {"PYTHON": str(own.python), "CODE": str(tmp_path / "own"), "DATA": str(tmp_path / "base" / "data")}
    for name, value in known.items():
        command = [word.replace(name, value) for word in command]
    found, words = run(own, "--x", "1")
    assert ([word for word in found if word == "--stdout"], words) == (options, command)


def test_a_benchfile_finds_the_keys_of_its_entry_that_only_milabench_knows(tmp_path: Path) -> None:
    source = """
from milabench.pack import Package
from milabench.utils import assemble_options
class Server(Package):
    @property
    def argv(self):
        return [*assemble_options(self.config["server"]["argv"]), "--", *assemble_options(self.config["client"]["argv"])]
__pack__ = Server
"""
    definition = """
_server: {server: {argv: {model: true, --gpus: "{gpu_count}"}}, client: {argv: {--prompts: 9}}, definition: .}
own: {inherits: _server, client: {argv: {--label: x}}, group: g}
"""
    own = written(tmp_path / "own", source, definition)
    assert run(own)[1][-8:] == ["model", "--gpus", "0", "--", "--prompts", "9", "--label", "x"]
    assert json.loads(os.environ["MILABENCH_CONFIG"])["group"] == "g"


def test_an_option_that_an_entry_does_not_have_is_none_by_default(tmp_path: Path) -> None:
    source = """
from milabench.pack import Package
class Own(Package):
    def make_env(self): return {**super().make_env(), "CPUS": str(self.resolve_argument("--cpus"))}
__pack__ = Own
"""
    run(written(tmp_path / "own", source))
    assert os.environ["CPUS"] == "None"


def test_several_gpus_get_a_process_each(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1")
    source = """
from milabench.commands import AccelerateAllNodes, PackCommand, TorchrunAllGPU
from milabench.pack import Package
class Own(Package):
    def build_run_plan(self):
        if "accelerate" in self.argv:
            return AccelerateAllNodes(PackCommand(self, "a"))
        return TorchrunAllGPU(super().build_run_plan())
__pack__ = Own
"""
    own = written(tmp_path / "own", source, "own: {argv: [plain]}")
    script = str(tmp_path / "own" / "main.py")
    assert run(own, "plain")[1] == ["torchrun", "--nproc_per_node=2", "--no-python", "--", "voir", script, "plain"]
    words = run(own, "accelerate")[1]
    assert words[:2] == ["accelerate", "launch"]
    assert {"--multi_gpu", "--num_processes=2", "--num_machines=1"} < set(words)
    assert words[-2:] == [script, "a"]


def test_it_knows_its_directories_and_options(tmp_path: Path) -> None:
    source = """
from milabench.pack import Package
class Own(Package):
    @property
    def working_directory(self):
        return self.dirs.code / "src"
    def make_env(self):
        return {**super().make_env(), "OMP_NUM_THREADS": str(self.config["argv"]["--cpus"]), "LEVEL": str(self.resolve_argument("--level", 3))}
__pack__ = Own
"""
    own = written(tmp_path / "own", source, "own: {argv: {--cpus: 8, --fast: null}}")
    run(own, "--cpus", "2", "--fast")
    assert (os.environ["OMP_NUM_THREADS"], os.environ["LEVEL"]) == ("2", "3")
    assert own.working_directory == tmp_path / "own" / "src"


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("from milabench.magic import x\n", "milabench.magic is not provided by DLBS"),
        ("__pack__ = 5\n", "__pack__ is not a subclass of milabench.pack.Package"),
        ("class A: pass\n", "defines no subclass of BenchmarkPack"),
    ],
)
def test_what_is_no_benchfile_says_so(tmp_path: Path, source: str, said: str) -> None:
    with pytest.raises(LaunchError, match=said):
        written(tmp_path / "own", source)


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (
            "def build_run_plan(self): return ListCommand(CmdCommand(self, 'a'), CmdCommand(self, 'b'))",
            "the plan has 2 commands",
        ),
        ("def build_run_plan(self): return VoidCommand(self)", "the plan has 0 commands"),
        ("async def run(self): pass", r"run\(\) returns no plan"),
        (
            "def run(self, args, voirargs, env): pass",
            "takes args, voirargs, env, as in the early interface of milabench",
        ),
        ("main_script = 'none.py'", "none.py does not exist"),
        ("def build_run_plan(self): return CmdCommand(self, 1 / 0)", "run: ZeroDivisionError"),
    ],
)
def test_plans_that_cannot_run_say_why(tmp_path: Path, body: str, said: str) -> None:
    source = f"from milabench.pack import Package\nfrom milabench.commands import *\nclass Own(Package):\n    {body}\n__pack__ = Own\n"
    with pytest.raises(LaunchError, match=said):
        run(written(tmp_path / "own", source))


def test_requirements_of_variants(tmp_path: Path) -> None:
    own: Any = written(tmp_path / "own")
    package, code = own.package, tmp_path / "own"
    assert package.requirements_files() == [code / "requirements.in"]
    assert package.requirements_files("cuda") == [code / "requirements.cuda.txt"]


def test_options_nodes_and_configurations() -> None:
    assert assemble_options({"--a": 1, "--b": None, "--c": True, "--d": False, "--": ["x"], "--e": [1, 2]}) == [
        "--a", "1", "--b", "--c", "--e", "1,2", "x",
    ]  # fmt: skip
    assert assemble_options(["a", 1]) == ["a", "1"]
    assert merge({"a": {"b": 1, "c": 2}, "d": 3}, {"a": {"b": 5}, "d": {}}) == {"a": {"b": 5, "c": 2}, "d": {}}
    assert select_nodes([{"name": "w"}, {"name": "m", "main": True}], 1) == [{"name": "m", "main": True}]


NAMES = {  # module of milabench → the names that files import from it
    "milabench.commands": "AccelerateAllNodes AccelerateLaunchCommand ActivatorCommand CmdCommand Command DockerRunCommand ForeachNode ListCommand NJobs PackCommand PerGPU SSHCommand SequenceCommand SimpleCommand SingleCmdCommand TorchRunCommand TorchrunAllGPU TorchrunAllNodes VoidCommand VoirCommand WorkingDir WrapperCommand select_nodes",
    "milabench.fs": "XPath",
    "milabench.merge": "assemble_options merge select_nodes",
    "milabench.pack": "BasePackage Package",
    "milabench.utils": "assemble_options merge select_nodes",
}  # fmt: skip


def test_every_name_of_milabench_is_provided() -> None:
    assert {module for module, ours in MODULES.items() if ours} == NAMES.keys()
    for module, names in NAMES.items():
        ours = importlib.import_module(MODULES[module])
        assert [name for name in names.split() if not hasattr(ours, name)] == [], module


@pytest.mark.integration
def test_a_commit_of_a_repository_is_cloned(tmp_path: Path) -> None:
    remote = tmp_path / "remote"
    (remote / "part").mkdir(parents=True)
    (remote / "part" / "file").write_text("one")
    git = ["git", "-C", str(remote), "-c", "user.name=x", "-c", "user.email=x@y"]
    for words in (["init", "-q"], ["add", "."], ["commit", "-qm", "one"]):
        subprocess.run([*git, *words], check=True)
    commit = subprocess.run([*git, "rev-parse", "HEAD"], check=True, capture_output=True, text=True).stdout.strip()
    (remote / "part" / "file").write_text("two")
    subprocess.run([*git, "commit", "-qam", "two"], check=True)
    XPath(tmp_path / "whole").clone_subtree(str(remote), commit)
    assert (tmp_path / "whole" / "part" / "file").read_text() == "one"
    XPath(tmp_path / "part").clone_subtree(str(remote), "HEAD", "part")
    assert (tmp_path / "part" / "file").read_text() == "two"
    XPath(tmp_path / "part" / "file").sub("t.", "T")
    assert (tmp_path / "part" / "file").read_text() == "To"
    for arguments, said in (((commit, "none"), "has no directory none"), (("0" * 40,), "git checkout failed")):
        with pytest.raises(LaunchError, match=said):
            XPath(tmp_path / "other").clone_subtree(str(remote), *arguments)
    assert sorted(path.name for path in tmp_path.iterdir() if path.name != "base") == ["part", "remote", "whole"]
