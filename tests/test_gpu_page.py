"""The page about measuring on a GPU, which no test runs there: its plan, its commands, and the messages that it quotes."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from dlbs.config.load import load_config
from dlbs.plan.build import build
from dlbs.plan.pipeline import processor_for
from tests.conftest import ROOT

PAGE = (ROOT / "docs" / "measure-on-a-gpu.md").read_text().replace("\\\n      ", "")
COMMANDS = [shlex.split(line) for line in re.findall(r"^    (dlbs .*)$", PAGE, re.MULTILINE)]
RUNS = [words for words in COMMANDS if words[1] in {"run", "validate"}]


def plan_file(directory: Path) -> Path:
    (plan,) = re.findall(r"^```yaml\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
    (directory / "plan.yaml").write_text(plan)
    return directory / "plan.yaml"


def test_its_plan_is_mixed_precision_for_training_only(tmp_path: Path) -> None:
    config = load_config([plan_file(tmp_path)])
    found = list(processor_for(config).resolve_all(build(config)))
    assert len(found) == 2 * 3 * 5
    for one in found:
        options = {**one["pytorch.common_options"], **one["pytorch.options"]}
        assert options["amp"] == (one["exp.phase"] == "training")
        assert (options["device"], options["num_gpus"], options["num_replicas"]) == ("gpu", 1, 1)
        assert (options["dtype"], options["channels_last"], options["sync"]) == ("bfloat16", True, "end")


@pytest.mark.parametrize("words", RUNS, ids=" ".join)
def test_its_commands_name_existing_parameters(tmp_path: Path, words: list[str]) -> None:
    def given(flag: str) -> list[str]:
        return [word.removeprefix(flag) for word in words if word.startswith(flag)]

    files = [plan_file(tmp_path)] if "--plan" in words else []
    config = load_config(files, parameters=given("-P"), variables=given("-V"))
    for one in processor_for(config).resolve_all(build(config)):
        assert one["exp.num_gpus"] >= 1


def test_parameters_and_their_defaults() -> None:
    declared = load_config().declarations
    table = PAGE.partition("| parameter | default |")[2].partition("\n\n")[0]
    rows = re.findall(r"^\| `([\w.]+)` \|(?: (\w+))? \|", table, re.MULTILINE)
    assert len(rows) == 6
    for name, default in rows:
        value = declared[name].default
        assert str(value).lower().removesuffix(".0") == default
    for name in re.findall(r"`((?:exp|pytorch|monitor|runtime|slurm)\.[a-z_]+)[`=]", PAGE):
        assert name in declared or name == "exp.machine_warnings", name


def test_keys_are_in_the_log_format() -> None:
    known = (ROOT / "docs" / "log-format.md").read_text()
    names = set(re.findall(r"\b((?:results|exp\.env|exp\.machine)[._][a-z_.0-9]+\b)", PAGE))
    assert len(names) > 10
    for name in names:
        assert f"`{name}`" in known, name


def test_messages_are_those_of_the_program() -> None:
    sources = "".join(
        (ROOT / path).read_text()
        for path in (
            "dlbs/executors/local.py",
            "python/pytorch_benchmarks/devices.py",
            "python/benchmark_core/program.py",
            "python/pytorch_benchmarks/devices.py",
        )
    )
    table = PAGE.partition("| message | check |")[2]
    for words in ("docker on this machine has no access to GPUs", "not supported", "out of memory", "does not fit"):
        assert words in table
        assert words in sources
    for words in ("this machine has none", "only the cpu", "not found"):
        assert words in table
        assert words in sources
