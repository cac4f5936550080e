"""Documents that `dlbs migrate` is given: each is a line, and one answer within the bounds. Nothing but the file and its `.orig` is written."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.adversarial.commands import SECONDS, Commands

PRECIOUS = "two years of work\n"

DOCUMENTS: dict[str, str | bytes] = {
    "empty": "",
    "no JSON": "{",
    "null": "null",
    "bytes": b"\xff\xfe\x00",
    "NULs": b"\0" * 1000,
    "deep": "[" * 100_000 + "]" * 100_000,
    "deep objects": '{"parameters": ' * 50_000,
    "5,000 digits": '{"parameters": {"exp.seed": ' + "9" * 5_000 + "}}",
    "half of a surrogate pair": '{"parameters": {"exp.model": "\\ud800"}}',
    "comments that do not end": "/*" * 50_000,
    "texts that do not end": '"\\"' * 50_000,
    "texts on lines": ('"\\"' * 500 + "\n") * 100,
    "many comments": "{\n" + "// a \"b\n" * 50_000 + "}",
    "comment in a text": '{"parameters": {"exp.model": "a // b /* c */ # d"}}',
    "expressions that do not end": '{"parameters": {"my.x": "' + "$(" * 50_000 + '"}}',
    "references that do not end": '{"parameters": {"my.x": "' + "${" * 50_000 + '"}}',
    "long reference": '{"parameters": {"my.x": "${' + "a" * 1_000_000 + '}"}}',
    "conditions that do not end": '{"parameters": {"my.x": "' + "${__condition." * 20_000 + '"}}',
    "backticks": '{"parameters": {"my.x": "$(' + "`" * 50_000 + ')$"}}',
    "names": '{"parameters": {"a\\nEND_OF_PARAMETERS\\ntouch pwned": 1, "$(touch pwned)": 2, "\\u001b[2J": 3}}',
    "many names": '{"parameters": {' + ", ".join(f'"my.x{n}": {n}' for n in range(5_000)) + "}}",
    "many names of ours": "[{" + ", ".join(f'"exp.x{n}": ""' for n in range(1_000)) + "}]",
    "many experiments": "[" + ", ".join('{"exp.framework": "tensorflow", "exp.proj": "x"}' for _ in range(1_000)) + "]",
    "frameworks": "[" + ", ".join(f'{{"exp.framework": "f{n}"}}' for n in range(100)) + "]",
    "framework with NUL": '[{"exp.framework": "a\\u0000b"}]',
    "framework that is a path": '[{"exp.framework": "../../../etc/passwd"}]',
    "long framework": '[{"exp.framework": "' + "x" * 5_000 + '"}]',
    "framework that is a list": '[{"exp.framework": ["dummy"]}]',
    "framework that is an expression": '[{"exp.framework": "$(__import__(\'os\').system(\'touch pwned\'))$"}]',
    "framework of a configuration": '{"parameters": {"exp.framework": "' + "x" * 5_000 + '"}}',
    "cases that are an object": '{"extensions": [{"cases": {"exp.framework": 1}}]}',
    "cases that are texts": '{"extensions": [{"cases": ["exp.framework"]}]}',
    "cases that are null": '{"extensions": [{"cases": [null]}]}',
    "conditions that are lists": '{"extensions": [{"condition": {"exp.framework": [[1], {"a": 2}]}}]}',
    "condition with a pattern": '{"parameters": {"exp.model": "' + "a" * 5_000 + '"}, "extensions": [{"condition": {"exp.model": "(a+)+$"}}]}',
    "condition with a large pattern": '{"extensions": [{"condition": {"exp.model": "((a{100}){100}){100}"}}]}',
    "condition with a malformed pattern": '{"extensions": [{"condition": {"exp.model": "("}}]}',
    "condition with a group of its own": '{"extensions": [{"condition": {"exp.model": "(?P<a>.)(?P<a>.)"}, "parameters": {"my.x": "${__condition.exp.model_9}"}}]}',
    "declaration of strange types": '{"parameters": {"my.x": {"val": [1], "type": {}, "desc": [[1], null]}}}',
    "declarations": '{"parameters": {"my.x": {"type": "int"}, "my.y": {"desc": 3}, "my.z": {"val": null, "val_regex": 3}}}',
    "variables that are no lists": '{"variables": {"exp.model": 3, "exp.status": null, "exp.rerun": {"a": 1}}}',
    "variables of lists": '{"variables": {"exp.rerun": [[true], {"a": 1}, null]}}',
    "values that are containers": '{"parameters": {"exp.rerun": [true], "exp.data": {"a": 1}, "exp.sys_info": [1]}}',
    "status that is a list": '[{"exp.status": ["disabled"]}]',
    "parts that are null": '{"parameters": null, "variables": null, "extensions": null}',
    "an unknown part": '{"parameters": {}, "__proto__": {}}',
    "the same key twice": '{"parameters": {"exp.proj": 1, "exp.proj": 2}}',
    "what becomes one parameter": '{"parameters": {"exp.proj": 1, "exp.project": 2}}',
    "comment keys": '{"parameters": {"//": 1, "#": {"a": 2}, "__comment__": [1], "____": 2}}',
}  # fmt: skip


def test_a_document(commands: Commands, tmp_path: Path) -> None:
    contents = {name: one if isinstance(one, bytes) else one.encode() for name, one in DOCUMENTS.items()}
    directories = [tmp_path / str(number) for number in range(len(contents))]
    for directory, content in zip(directories, contents.values(), strict=True):
        directory.mkdir()
        (directory / "c.json").write_bytes(content)
    ended = commands.run_all((directory, ["migrate", "c.json"]) for directory in directories)
    for (name, content), directory, done in zip(contents.items(), directories, ended, strict=True):
        assert not done.is_crash(), (name, done)
        assert done.seconds < SECONDS, name
        assert done.code in {0, 1} or done.is_clear_error(), (name, done)
        assert "\x1b" not in done.output + done.errors, name
        assert {path.name for path in directory.iterdir()} <= {"c.json", "c.json.orig"}, name
        kept = directory / ("c.json.orig" if (directory / "c.json.orig").exists() else "c.json")
        assert kept.read_bytes() == content, name


def pipe(path: Path) -> None:
    os.mkfifo(path)


def zero(path: Path) -> None:
    path.symlink_to("/dev/zero")


def loop(path: Path) -> None:
    path.symlink_to(path.name)


def directory(path: Path) -> None:
    path.mkdir()


def dangling(path: Path) -> None:
    path.symlink_to("elsewhere")


def precious(path: Path) -> None:
    path.write_text(PRECIOUS)


@pytest.mark.parametrize("put", [pipe, zero, loop, directory, dangling], ids=lambda put: put.__name__)
def test_a_document_that_is_no_file(commands: Commands, tmp_path: Path, put: Callable[[Path], None]) -> None:
    put(tmp_path / "c.json")
    done = commands.run(tmp_path, "migrate", "c.json")
    assert done.is_clear_error(), done
    assert done.seconds < SECONDS
    assert [path.name for path in tmp_path.iterdir()] == ["c.json"]


# What is there already where the original is to be kept.
@pytest.mark.parametrize("put", [pipe, zero, loop, directory, dangling, precious], ids=lambda put: put.__name__)
def test_what_is_there_already_is_not_replaced(commands: Commands, tmp_path: Path, put: Callable[[Path], None]) -> None:
    (tmp_path / "c.json").write_text('{"parameters": {"exp.proj": "x"}}')
    put(tmp_path / "c.json.orig")
    before = (tmp_path / "c.json.orig").lstat()
    done = commands.run(tmp_path, "migrate", "c.json")
    assert done.is_clear_error(), done
    after = (tmp_path / "c.json.orig").lstat()
    assert (after.st_ino, after.st_mode, after.st_size) == (before.st_ino, before.st_mode, before.st_size)
    assert (tmp_path / "c.json").read_text() == '{"parameters": {"exp.proj": "x"}}'
    assert not (tmp_path / "elsewhere").exists()
