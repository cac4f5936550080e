"""Regular expressions that try to run for ever or to fill the memory: every place that takes one × hostile patterns. A case is a line."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.adversarial.commands import SECONDS, Commands

pytestmark = pytest.mark.integration

SUBJECT = "a" * 50_000 + "b"
REFUSED, ANSWERED = "is an error", "gives an answer"

PATTERNS: list[tuple[str, str]] = [
    ("(a+)+$", ANSWERED),
    ("(a|a)*$", ANSWERED),
    ("(a*)*$", ANSWERED),
    ("(a|aa)+$", ANSWERED),
    ("(.*a){20}x", ANSWERED),
    ("(.*)(.*)(.*)(.*)(.*)(.*)x", ANSWERED),
    ("^(([a-z])+.)+[A-Z]([a-z])+$", ANSWERED),
    ("(x+x+)+y", ANSWERED),
    ("([a-zA-Z]+)*1", ANSWERED),
    ("(a?){30}a{30}", ANSWERED),
    (".*" * 100, ANSWERED),
    ("a{1000}", ANSWERED),
    ("(a{100}){100}", REFUSED),
    ("((a{100}){100}){100}", REFUSED),
    ("a{1001}", REFUSED),
    ("a{999999999}", REFUSED),
    ("a{1,999999999999999999999}", ANSWERED),
    ("[" * 900, REFUSED),
    ("(" * 900, REFUSED),
    ("(" * 450 + ")" * 450, ANSWERED),
    ("(" * 100 + "a" + ")" * 100, ANSWERED),
    ("a" * 100_000, REFUSED),
    ("a|" * 450, ANSWERED),
    ("[^a]" * 200, ANSWERED),
    ("\\p{L}+", ANSWERED),
    ("\\p{Nonsense}", REFUSED),
    ("(?=a)a", REFUSED),
    ("(?!a)b", REFUSED),
    ("(?<=a)b", REFUSED),
    ("(?<!a)b", REFUSED),
    ("(a)\\1", REFUSED),
    ("(?P<n>a)(?P=n)", REFUSED),
    ("(?P<n>a)(?P<n>a)", ANSWERED),
    ("(?>a+)", REFUSED),
    ("a++", REFUSED),
    ("(?(1)a|b)", REFUSED),
    ("(?#x)a", REFUSED),
    ("(?x) a", REFUSED),
    ("*a", REFUSED),
    ("a**", REFUSED),
    ("+", REFUSED),
    ("[z-a]", REFUSED),
    ("[a", REFUSED),
    ("a)", REFUSED),
    ("\\", REFUSED),
    ("\\C", REFUSED),
    ("a\\q", REFUSED),
    ("\ud800", ANSWERED),
    ("\0", ANSWERED),
    ("\n", ANSWERED),
    ("", ANSWERED),
    ("(?i)A+B", ANSWERED),
    ("(?s).*", ANSWERED),
    ("\\Aa+b\\Z", ANSWERED),
    ("[[:alpha:]]+", ANSWERED),
    ("(?:)", ANSWERED),
    ("é|日本", ANSWERED),
    ("\U0010ffff", ANSWERED),
]


def config(directory: Path, parameters: object = None, **parts: object) -> list[str]:
    document = {"parameters": {"my.text": SUBJECT, **(parameters or {})}, **parts}  # type: ignore[dict-item]
    (directory / "c.json").write_text(json.dumps(document))
    return ["build", "--plan", "c.json", "-Pexp.framework=dummy"]


def declared(directory: Path, pattern: str) -> list[str]:
    declaration = {"val": SUBJECT, "type": "str", "desc": "x", "val_regexp": pattern}
    return config(directory, {"my.checked": declaration})


def condition(directory: Path, pattern: str) -> list[str]:
    return config(directory, extensions=[{"condition": {"my.text": pattern}, "parameters": {"my.x": 1}}])


def exclusion(directory: Path, pattern: str) -> list[str]:
    return config(directory, exclude=[{"my.text": pattern}])


def expression(directory: Path, pattern: str) -> list[str]:
    return [
        *config(directory, {"my.pattern": pattern, "my.x": "$(bool(re.search(${my.pattern}, ${my.text})))$"}),
        "--resolve",
    ]


def filtered(directory: Path, pattern: str) -> list[str]:
    (directory / "logs").mkdir()
    (directory / "logs" / "a.log").write_text(f'__my.text__= "{SUBJECT}"\n__exp.status__= "ok"\n')
    return ["parse", "logs", "--filter-query", json.dumps({"my.text": pattern})]


def helped(pattern: str) -> list[str]:
    return ["help", "--", pattern]


# Where a pattern can be given. A value that matches nothing is no error of the pattern, so only crashes and time count there.
PLACES: dict[str, Callable[[Path, str], list[str]]] = {
    "val_regexp": declared,
    "a condition": condition,
    "an exclusion": exclusion,
    "an expression": expression,
    "a filter": filtered,
}


@pytest.mark.parametrize(("pattern", "expected"), PATTERNS, ids=range(len(PATTERNS)))
def test_a_pattern(commands: Commands, tmp_path: Path, pattern: str, expected: str) -> None:
    """In each of the places, which share a child process."""
    for place in PLACES:
        (tmp_path / place).mkdir()
    lines = [(tmp_path / place, arguments(tmp_path / place, pattern)) for place, arguments in PLACES.items()]
    for place, done in zip(PLACES, commands.run_all(lines), strict=True):
        assert not done.is_crash(), (place, done)
        assert done.seconds < SECONDS, place
        if expected == REFUSED and not (place == "val_regexp" and "\\" in pattern and done.code == 0):
            assert done.is_clear_error(), (place, done)
        else:
            assert (
                done.code == 0
                or (place == "val_regexp" and "does not match" in done.errors)
                or (place == "an exclusion" and "no experiments" in done.errors)
            ), (place, done)


PRINTABLE = [pattern for pattern, _ in PATTERNS if "\0" not in pattern and "\ud800" not in pattern]


def test_a_pattern_of_help(commands: Commands, tmp_path: Path) -> None:
    for pattern, done in zip(
        PRINTABLE, commands.run_all((tmp_path, helped(pattern)) for pattern in PRINTABLE), strict=True
    ):
        assert not done.is_crash(), (pattern, done)
        assert done.code in {0, 2}, (pattern, done)
