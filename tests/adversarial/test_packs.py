"""Definitions of packs: hostile YAML files and directories, each a line with what comes of it. Nothing of a pack runs, and nothing is removed."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.adversarial.commands import SECONDS, Commands

pytestmark = pytest.mark.integration

REFUSED, READ = "is an error", "is read"

# Definitions in pack.yaml; the directory also has a pack without one, which is listed whatever the other is.
DEFINITIONS: list[tuple[str | bytes, str | None]] = [
    ("one: {}", READ),
    ("one: {weight: 2, tags: [a], argv: {--x: 1}}", READ),
    ("one: {argv: [--x, '', 'a b']}", READ),
    ("one: {argv: {--x: ''}}", READ),
    ("one: {argv: {--x: null, --y: true, --z: false}}", READ),
    ("one: {tags: word}", READ),
    ("one: {plan: {method: njobs, n: 2}}", READ),
    ("_base: {weight: 2}\none: {inherits: _base}", READ),
    ("one: {enabled: true}", READ),
    ("", REFUSED),
    ("[]", REFUSED),
    ("one", REFUSED),
    ("one: 1", REFUSED),
    ("one: []", REFUSED),
    ("one: null", REFUSED),
    ("1: {}", REFUSED),
    ("1.5: {}", REFUSED),
    ("true: {}", REFUSED),
    ("null: {}", REFUSED),
    ("2026-11-22: {}", REFUSED),
    ("? [a]\n: {}", REFUSED),
    ("one: {1: a}", REFUSED),
    ("one: {}\none: {}", REFUSED),
    ("one: {}\ntwo: {}", REFUSED),
    ("include: other.yaml", REFUSED),
    ("include: [other.yaml]\none: {}", REFUSED),
    ("one: {enabled: 'maybe'}", REFUSED),
    ("one: {enabled: 0}", READ),
    ("one: {enabled: 2}", REFUSED),
    ("one: {enabled: [false]}", REFUSED),
    ("one: {inherits: [a]}", REFUSED),
    ("one: {inherits: {a: b}}", REFUSED),
    ("one: {inherits: 3}", REFUSED),
    ("one: {inherits: missing}", REFUSED),
    ("one: {inherits: one}", REFUSED),
    ("_a: {inherits: _b}\n_b: {inherits: _a}\none: {inherits: _a}", REFUSED),
    ("\n".join([f"_p{n}: {{inherits: _p{n + 1}}}" for n in range(100)] + ["one: {inherits: _p0}"]), REFUSED),
    ("one: {plan: {method: njobs, n: 1e9}}", REFUSED),
    ("one: {plan: {method: njobs, n: 1000000000}}", REFUSED),
    ("one: {plan: {method: njobs, n: 0}}", REFUSED),
    ("one: {plan: {method: njobs, n: -1}}", REFUSED),
    ("one: {plan: {method: njobs, n: '2'}}", REFUSED),
    ("one: {plan: {method: njobs, n: true}}", REFUSED),
    ("one: {plan: {method: njobs, n: .inf}}", REFUSED),
    ("one: {plan: {method: njobs, n: [2]}}", REFUSED),
    ("one: {plan: {method: all}}", REFUSED),
    ("one: {plan: {method: [njobs]}}", REFUSED),
    ("one: {plan: {method: {a: b}}}", REFUSED),
    ("one: {plan: njobs}", REFUSED),
    ("one: {plan: {n: 3}}", REFUSED),
    ("one: {weight: heavy}", REFUSED),
    ("one: {weight: true}", REFUSED),
    ("one: {weight: .nan}", REFUSED),
    ("one: {weight: .inf}", REFUSED),
    ("one: {weight: " + "9" * 400 + "}", REFUSED),
    ("one: {weight: [1]}", REFUSED),
    ("one: {max_duration: soon}", REFUSED),
    ("one: {max_duration: " + "9" * 400 + "}", REFUSED),
    ("one: {max_duration: .nan}", REFUSED),
    ("one: {max_duration: -1}", REFUSED),
    ("one: {tags: 3}", REFUSED),
    ("one: {tags: {a: b}}", REFUSED),
    ("one: {argv: text}", REFUSED),
    ("one: {argv: 3}", REFUSED),
    ("one: {voir: [a]}", REFUSED),
    ("one: {voir: {stop: 1, 'a b': 2}}", None),
    ("one: {description: [a]}", REFUSED),
    ("one: {image: [a]}", REFUSED),
    ("one: {build_args: [a]}", REFUSED),
    ("one: {network: 'maybe'}", REFUSED),
    ("one: {network: 1}", READ),
    ("one: {network: 2}", REFUSED),
    ("one: {command: [a]}", REFUSED),
    ("one: {unknown: 1}", REFUSED),
    ("one: {install_group: /tmp/x}", REFUSED),
    ("one: {install_group: ../x}", REFUSED),
    ("one: {install_group: ..}", REFUSED),
    ("one: {install_group: .}", REFUSED),
    ("one: {install_group: ''}", REFUSED),
    ("one: {install_group: 'a/b'}", REFUSED),
    ("one: {install_group: 'a\\0b'}", None),
    ('one: {install_group: "a\\0b"}', REFUSED),
    ('one: {install_group: "a\\nb"}', REFUSED),
    ("one: {install_group: ~}", READ),
    ("one: {install_group: '~'}", REFUSED),
    ("one: {install_group: -rf}", REFUSED),
    ("one: {install_group: '*'}", REFUSED),
    ("one: {install_group: 3}", REFUSED),
    ("one: {install_variant: ../x}", REFUSED),
    ("one: {install_variant: /x}", REFUSED),
    ("one: {install_variant: [cpu]}", REFUSED),
    ("..: {}", REFUSED),
    (".: {}", REFUSED),
    ("'': {}", REFUSED),
    ("' ': {}", REFUSED),
    ("/tmp/x: {}", REFUSED),
    ("a/b: {}", REFUSED),
    ("-rf: {}", REFUSED),
    ("'*': {}", READ),  # the entry that changes all others
    ("'*': 5\none: {}", REFUSED),
    ("'*': {weigth: 1}\none: {}", REFUSED),
    ("'**': {}", REFUSED),
    ("'~': {}", REFUSED),
    ("'$(touch pwned)': {}", REFUSED),
    ('"a\\nb": {}', REFUSED),
    ('"a\\0b": {}', REFUSED),
    ('"\\e[2J": {}', REFUSED),
    ("x" * 1_000 + ": {}", None),
    ("one: {definition: missing}", REFUSED),
    ("one: {definition: /etc}", REFUSED),
    ("one: {definition: ../../../../../../etc/passwd}", REFUSED),
    ("one: {definition: [a]}", REFUSED),
    ('one: {definition: "a\\0b"}', REFUSED),
    ("one: {definition: " + "x" * 5_000 + "}", REFUSED),
    ("one: !!python/object/apply:os.system [touch pwned]", REFUSED),
    ("one: {argv: {--x: 2026-11-22}}", REFUSED),
    ("one: {argv: {--x: " + "9" * 5_000 + "}}", REFUSED),
    ("one: {argv: {'--$(touch pwned)': 1}}", READ),
    ("one: {argv: [" + ",".join(["x"] * 50_000) + "]}", READ),
    ("one: &a {argv: *a}", REFUSED),
    ("[" * 100_000, REFUSED),
    ("one: " + "[" * 500 + "]" * 500, REFUSED),
    ("one: {", REFUSED),
    (b"\xff\xfe", REFUSED),
    (b"\0" * 100, REFUSED),
]


# What reads the pack; one child process runs them, in this order.
VERBS = [["pack", "list"], ["pack", "show", "./packs/one"], ["build", "-Pexp.framework=pack", "-Pexp.pack=./packs/one"]]


@pytest.mark.parametrize(("definition", "expected"), DEFINITIONS, ids=range(len(DEFINITIONS)))
def test_a_definition(commands: Commands, tmp_path: Path, definition: str | bytes, expected: str | None) -> None:
    for name in ("packs/one", "packs/other", "base"):
        (tmp_path / name).mkdir(parents=True)
        (tmp_path / name / "main.py").write_text("import os; os.system('touch pwned')\n")
    path = tmp_path / "packs" / "one" / "pack.yaml"
    path.write_bytes(definition if isinstance(definition, bytes) else definition.encode())
    before = sorted(path.relative_to(tmp_path) for path in tmp_path.rglob("*"))
    listed, *rest = commands.run_all([(tmp_path, verb) for verb in VERBS], DLBS_BASE="base")
    assert not listed.is_crash(), listed
    assert "other" in listed.output, listed  # one malformed pack does not hide the others
    assert "\x1b" not in listed.output + listed.errors
    for verb, done in zip(VERBS[1:], rest, strict=True):
        assert not done.is_crash(), (verb, done)
        assert done.seconds < SECONDS
        assert done.code == 0 or done.is_clear_error(), (verb, done)
        assert expected is None or (done.code == 0) == (expected == READ), (verb, done)
    assert sorted(path.relative_to(tmp_path) for path in tmp_path.rglob("*")) == before


def pipe(path: Path) -> None:
    path.unlink(missing_ok=True)
    os.mkfifo(path)


def zero(path: Path) -> None:
    path.unlink(missing_ok=True)
    path.symlink_to("/dev/zero")


def loop(path: Path) -> None:
    path.unlink(missing_ok=True)
    path.symlink_to(path.name)


def directory(path: Path) -> None:
    path.unlink(missing_ok=True)
    path.mkdir()


def binary(path: Path) -> None:
    path.write_bytes(bytes(range(256)) * 1000)


FILES = [
    "pack.yaml",
    "dev.yaml",
    "main.py",
    "__init__.py",
    "architecture.py",
    "benchfile.py",
    "voirfile.py",
    "Dockerfile",
]


@pytest.mark.parametrize("put", [pipe, zero, loop, directory, binary], ids=lambda put: put.__name__)
@pytest.mark.parametrize("name", FILES)
def test_a_file_of_a_pack_that_is_none(
    commands: Commands, tmp_path: Path, name: str, put: Callable[[Path], None]
) -> None:
    for pack in ("one", "other"):
        (tmp_path / "packs" / pack).mkdir(parents=True)
        (tmp_path / "packs" / pack / "main.py").touch()
    put(tmp_path / "packs" / "one" / name)
    listed, *rest = commands.run_all([(tmp_path, verb) for verb in VERBS])
    assert not listed.is_crash(), listed
    assert "other" in listed.output, listed
    for verb, done in zip(VERBS[1:], rest, strict=True):
        assert not done.is_crash(), (verb, done)
        assert done.code == 0 or done.is_clear_error(), (verb, done)


def test_a_collection_that_holds_itself(commands: Commands, tmp_path: Path) -> None:
    (tmp_path / "packs" / "one").mkdir(parents=True)
    (tmp_path / "packs" / "one" / "main.py").touch()
    (tmp_path / "packs" / "again").symlink_to(".")
    done = commands.run(tmp_path, "pack", "list")
    assert done.code == 0, done
    assert done.output.count("one") == 1
