"""Names of parameters: every way into an experiment × hostile names. A case is a line; each is one clear error, whatever it came through."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from dlbs.core.errors import ConfigError
from dlbs.core.experiment import check_name, check_plan_names
from tests.adversarial.commands import SECONDS, Commands

pytestmark = pytest.mark.integration

MALFORMED: list[str] = [
    "",
    " ",
    ".",
    "..",
    "a.",
    ".a",
    "a..b",
    "a b",
    " a",
    "a ",
    "a\tb",
    "a\nb",
    "a\n",
    "\na",
    "a\nEND_OF_PARAMETERS\ntouch pwned\n",
    "a\rb",
    "a\u2028b",
    "a\u00a0b",
    "a\0b",
    "a\x1b[2J",
    "a\u202eb",
    "a\u200bb",
    "a'b",
    'a"b',
    "a`touch pwned`",
    "$(touch pwned)",
    "${exp.model}",
    "$x",
    "a;touch pwned",
    "a|b",
    "a&b",
    "a>b",
    "a<b",
    "a(b)",
    "a{b}",
    "a[0]",
    "a*",
    "a?",
    "a~",
    "a!",
    "a#b",
    "a%b",
    "a@b",
    "a^b",
    "a+b",
    "a:b",
    "a/b",
    "../a",
    "/etc/passwd",
    "a\\b",
    "a=b",
    "a,b",
    "__a",
    "__class__",
    "__condition.x",
    "__condition.x_1",
    "👩\u200d🔬",
    "a\ud800",
    "\ufeffa",
    "--a b",
]

WELL_FORMED = ["a", "a.b", "a-b", "a_b", "A.B.c-1", "1", "é", "参数", "a.__b", "x" * 10_000, ".".join("ab" * 500)]


@pytest.mark.parametrize("name", MALFORMED, ids=range(len(MALFORMED)))
def test_a_malformed_name(name: str) -> None:
    with pytest.raises(ConfigError, match="is not a parameter name"):
        check_name(name, "here")


@pytest.mark.parametrize("name", WELL_FORMED, ids=range(len(WELL_FORMED)))
def test_a_well_formed_name(name: str) -> None:
    check_name(name, "here")


@pytest.mark.parametrize("name", [None, 1, 1.5, True, ("a",), b"a"], ids=str)
def test_what_is_no_text_is_no_name(name: object) -> None:
    with pytest.raises(ConfigError, match="is not a parameter name"):
        check_name(name, "here")


EXPERIMENT = {"exp.framework": "dummy", "exp.docker": False, "exp.gpus": ""}


def document(key: str) -> Callable[[Path, str], list[str]]:
    """The way through a configuration file with one part."""

    def write(directory: Path, name: str) -> list[str]:
        parts: dict[str, Any] = {
            "parameters": {name: 1},
            "declaration": {name: {"val": 1, "type": "int", "desc": "x"}},
            "variables": {name: [1, 2]},
            "extension": [{"condition": {"exp.framework": "dummy"}, "parameters": {name: 1}}],
            "cases": [{"condition": {"exp.framework": "dummy"}, "cases": [{name: 1}]}],
            "exclude": [{name: 1}],
            "condition": [{"condition": {name: 1}, "parameters": {"my.x": 1}}],
        }
        places = {"declaration": "parameters", "extension": "extensions", "cases": "extensions"}
        place = "extensions" if key == "condition" else places.get(key, key)
        (directory / "c.json").write_text(json.dumps({place: parts[key]}))
        return ["--plan", "c.json"]

    return write


def plan(suffix: str) -> Callable[[Path, str], list[str]]:
    def write(directory: Path, name: str) -> list[str]:
        line = json.dumps({**EXPERIMENT, name: 1})
        (directory / f"plan.{suffix}").write_text(f"[{line}]" if suffix == "json" else f"{line}\n")
        return ["--plan", f"plan.{suffix}"]

    return write


def pack(key: str) -> Callable[[Path, str], list[str]]:
    def write(directory: Path, name: str) -> list[str]:
        (directory / "packs" / "one").mkdir(parents=True)
        (directory / "packs" / "one" / "main.py").touch()
        (directory / "packs" / "one" / "pack.yaml").write_text(json.dumps({"one": {key: {name: 1}}}))
        return ["-Pexp.framework=pack", "-Pexp.pack=one"]

    return write


def flag(text: Callable[[str], str]) -> Callable[[Path, str], list[str]]:
    return lambda directory, name: [text(name)]


# How a name comes into an experiment.
WAYS: dict[str, Callable[[Path, str], list[str]]] = {
    "-P": flag(lambda name: f"-P{name}=1"),
    "-V": flag(lambda name: f"-V{name}=[1,2]"),
    "-V of two": flag(lambda name: f"-Vexp.seed,{name}=[[1,2]]"),
    "-E": flag(lambda name: "-E" + json.dumps({"parameters": {name: 1}})),
    "-E, cases": flag(lambda name: "-E" + json.dumps({"cases": [{name: 1}]})),
    "a plan, JSON": plan("json"),
    "a plan, JSON lines": plan("jsonl"),
    "a file's parameters": document("parameters"),
    "a file's declarations": document("declaration"),
    "a file's variables": document("variables"),
    "a file's extensions": document("extension"),
    "a file's cases": document("cases"),
    "a file's exclusions": document("exclude"),
    "a file's conditions": document("condition"),
    "a pack's voir": pack("voir"),
    "a pack's argv": pack("argv"),
}

THROUGH = [
    "a\nEND_OF_PARAMETERS\ntouch pwned\n",
    "a b",
    "$(touch pwned)",
    "`touch pwned`",
    "a'b",
    "../../x",
    "__class__",
    "__condition.x_1",
    "a\x1b[2J\u202e",
    "x\u200b",
    "${exp.model}",
    "$(1)$",
]

# Options of programs may be called anything; the parameters that they become are names all the same. Behind `voir.`, some are names.
ALLOWED = {"a pack's argv", "a pack's voir"}


@pytest.mark.parametrize("name", THROUGH, ids=range(len(THROUGH)))
def test_a_name_on_its_way_into_an_experiment(commands: Commands, tmp_path: Path, name: str) -> None:
    """On each of the ways, which share a child process."""
    lines, before = [], {}
    for number, (way, make) in enumerate(WAYS.items()):
        directory = tmp_path / str(number)
        directory.mkdir()
        flags = make(directory, name)
        lines.append((directory, ["validate" if flags[-1].startswith("plan.") else "build", *flags]))
        before[way] = {path.name for path in directory.iterdir()}
    for way, (directory, _), done in zip(WAYS, lines, commands.run_all(lines), strict=True):
        assert not done.is_crash(), (way, done)
        assert done.seconds < SECONDS, way
        assert done.is_clear_error() or way in ALLOWED, (way, done)
        assert "\x1b" not in done.errors, way
        if done.code == 0:
            for experiment in json.loads(done.output):
                check_plan_names(experiment, way)
        assert {path.name for path in directory.iterdir()} == before[way], way
