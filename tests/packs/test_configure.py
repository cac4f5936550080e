"""One stage makes the configuration of a plan, for the command line and for Python callers."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from dlbs.core.errors import ConfigError
from dlbs.packs.configure import configure
from dlbs.plan.build import build
from tests.conftest import RunDlbs
from tests.packs.test_packs import write_pack


def test_mappings_and_the_texts_of_flags_make_the_same_plan(dlbs: RunDlbs, tmp_path: Path) -> None:
    mappings: dict[str, Any] = {
        "parameters": {"exp.gpus": "0,1", "exp.num_batches": 5, "exp.docker": False},
        "variables": {"exp.model": ["alexnet", "vgg16"]},
        "extensions": [{"condition": {"exp.model": "vgg.*"}, "parameters": {"exp.replica_batch": 8}}],
    }
    texts = {
        "parameters": ["exp.gpus=0,1", "exp.num_batches=5", "exp.docker=false"],
        "variables": ["exp.model=[alexnet,vgg16]"],
        "extensions": [json.dumps(mappings["extensions"][0])],
    }
    made = list(build(configure(**mappings)))
    assert made == list(build(configure(**texts)))
    flags = [f"{flag}{text}" for flag, key in (("-P", "parameters"), ("-V", "variables")) for text in texts[key]]
    assert json.loads(dlbs("build", *flags, "-E", texts["extensions"][0], check=True).stdout) == made


def test_a_text_in_a_mapping_is_a_text() -> None:
    assert configure(parameters={"exp.gpus": "0"}).settings["exp.gpus"].value == "0"


def test_packs_are_part_of_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_pack(tmp_path / "packs" / "one", "one: {tags: [fast], argv: {--batch-size: 8}}")
    write_pack(tmp_path / "packs" / "two", "two: {tags: [fast, slow]}")
    monkeypatch.chdir(tmp_path)
    (named,) = build(configure(parameters={"exp.framework": "pack", "exp.pack": "one"}))
    assert named["argv.batch_size"] == 8
    assert [one["exp.pack"] for one in build(configure(select=["fast"]))] == ["one", "two"]
    (selected,) = build(configure(select=["fast"], exclude=["slow"]))
    assert (selected["exp.framework"], selected["exp.pack"], selected["argv.batch_size"]) == ("pack", "one", 8)
    with pytest.raises(ConfigError, match="no pack is left"):
        configure(select=["fast"], exclude=["fast"])


@pytest.fixture
def three_packs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, tag in (("pa", "fast"), ("pb", "slow"), ("pc", "fast")):
        write_pack(tmp_path / "packs" / name, f"{name}: {{tags: [{tag}]}}")
    monkeypatch.chdir(tmp_path)


def packs_of(**given: Any) -> list[str]:
    return [one["exp.pack"] for one in build(configure(**given))]


PACK = {"exp.framework": "pack"}


@pytest.mark.usefixtures("three_packs")
def test_exclude_removes_packs_from_those_that_are_named(tmp_path: Path) -> None:
    assert packs_of(exclude=["slow"]) == ["pa", "pc"]
    assert packs_of(variables={"exp.pack": ["pa", "pb"]}, exclude=["pb"]) == ["pa"]
    assert packs_of(parameters={**PACK, "exp.pack": "pa"}, exclude=["pb"]) == ["pa"]
    assert packs_of(parameters={"exp.pack": "./packs/pa"}, exclude=["slow"]) == ["./packs/pa"]
    together = {"exp.seed,exp.pack": [[1, "pa"], [2, "pb"]]}
    assert packs_of(parameters=PACK, variables=together, exclude=["slow"]) == ["pa"]
    (tmp_path / "a.yaml").write_text("variables: {exp.pack: [pb, pc]}")
    (tmp_path / "b.yaml").write_text("extensions: [{condition: {}, cases: [{exp.pack: pb}, {exp.pack: pa}]}]")
    assert packs_of(files=["a.yaml"], exclude=["slow"]) == ["pc"]
    assert packs_of(files=["a.yaml"], select=["fast"], exclude=["pc"]) == ["pa"]
    assert packs_of(files=["b.yaml"], exclude=["slow"]) == ["pa"]


@pytest.mark.usefixtures("three_packs")
@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"parameters": {"exp.pack": "pb"}, "exclude": ["slow"]}, "--exclude: no pack is left of -Pexp.pack"),
        ({"variables": {"exp.pack": ["./packs/pb"]}, "exclude": ["slow"]}, "--exclude: no pack is left of -Vexp.pack"),
        ({"parameters": {"exp.pack": "pb"}, "select": ["slow"]}, "--select: -Pexp.pack chooses packs, too"),
        ({"variables": {"exp.pack": ["pb"]}, "select": ["slow"]}, "--select: -Vexp.pack chooses packs, too"),
        ({"parameters": {"exp.framework": "dummy"}, "select": ["slow"]}, "--select, -Pexp.framework: packs are chosen"),
        ({"exclude": ["nothing"]}, "no pack has the name, tag or group 'nothing'"),
    ],
)
def test_packs_that_are_chosen_twice_are_refused(given: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        configure(**given)
