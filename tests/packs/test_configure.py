"""One stage makes the configuration of a plan, for the command line and for Python callers."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from dlbs.errors import ConfigError
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
