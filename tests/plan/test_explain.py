"""Explanations of values: the place that set each one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from dlbs.config.config import Config
from dlbs.packs.configure import configure
from dlbs.plan.explain import explained, tree
from tests.packs.test_packs import write_pack

EXTENSIONS = """\
parameters:
  my.a: 1
variables:
  my.b: [1, 2]
extensions:
  - condition: {my.a: 1}
    parameters: {my.b: 3, my.c: 4, my.d: 5}
  - condition: {my.a: 1}
    parameters: {my.c: 6}
    cases:
      - {my.d: 7}
      - {my.d: 8}
  - condition: {my.a: 2}
    parameters: {my.c: 9}
exclude:
  - {my.d: 7}
"""


def set_at(config: Config, name: str) -> tuple[Any, str]:
    """A parameter's value in the first experiment, and the place that set it."""
    document = explained(config, name)["parameters"][name]
    (line,) = [line for line in tree(explained(config, name)) if line.startswith(f"{name} = ") and "(set at" in line]
    assert line.endswith(f"(set at {document['set_at']})")
    return document["value"], document["set_at"]


@pytest.mark.parametrize(("name", "value", "line"), [("my.a", 1, 2), ("my.b", 3, 6), ("my.c", 6, 8), ("my.d", 8, 8)])
def test_the_last_extension_that_set_a_value_is_named(tmp_path: Path, name: str, value: int, line: int) -> None:
    (tmp_path / "c.yaml").write_text(EXTENSIONS)
    config = configure([tmp_path / "c.yaml"], discard_default=True)
    assert set_at(config, name) == (value, f"{tmp_path / 'c.yaml'}:{line}")


def test_an_extension_of_the_command_line_is_named() -> None:
    extension = {"condition": {"exp.framework": "dummy"}, "parameters": {"exp.seed": 7}}
    config = configure(parameters={"exp.framework": "dummy"}, extensions=[extension])
    assert set_at(config, "exp.seed") == (7, "-E")


def test_a_command_sets_its_defaults() -> None:
    config = configure(command=["sleep", "1"])
    assert set_at(config, "exp.docker") == (False, "-- sleep 1")
    assert set_at(config, "command.line") == ("sleep 1", "-- sleep 1")


def test_a_pack_sets_its_parameters(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_pack(tmp_path / "packs" / "one", "one: {max_duration: 5}")
    monkeypatch.chdir(tmp_path)
    value, where = set_at(configure(parameters={"exp.framework": "pack", "exp.pack": "one"}), "exp.timeout")
    assert value == 5
    assert Path(where).parent.name == "one"
