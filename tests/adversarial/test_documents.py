"""Configuration files and written plans: hostile documents, each a line with what comes of it. Every error is one clear line with exit code 2."""

from __future__ import annotations

import gzip
import json
import os
from collections.abc import Callable, Iterable
from pathlib import Path

import pytest

from tests.adversarial.commands import SECONDS, Commands

pytestmark = pytest.mark.integration

REFUSED, READ = "is an error", "is read"


def nested(opening: str, closing: str, depth: int, inside: str = "1") -> str:
    return opening * depth + inside + closing * depth


def bomb(levels: int, width: int) -> str:
    """Aliases of aliases."""
    lines = [f"  my.a0: &a0 [{', '.join(['x'] * width)}]"]
    lines += [f"  my.a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * width)}]" for n in range(1, levels)]
    return "parameters:\n" + "\n".join(lines)


# YAML documents as bytes or text.
YAML: list[tuple[str | bytes, str | None]] = [
    ("", REFUSED),
    ("# nothing", REFUSED),
    ("---\n...", REFUSED),
    ("parameters:", REFUSED),
    ("parameters: {my.a: 1}", READ),
    ("parameters: {my.a: [1, {b: c}]}", READ),
    ("parameters: {my.a: 'é日本👩'}", READ),
    ("1", REFUSED),
    ("text", REFUSED),
    ("[1, 2]", REFUSED),
    ("null", REFUSED),
    ("true", REFUSED),
    ("parameters: 1", REFUSED),
    ("parameters: []", REFUSED),
    ("parameters: text", REFUSED),
    ("variables: [a]", REFUSED),
    ("variables: {my.a: []}", REFUSED),
    ("variables: {my.a: null}", READ),
    ("variables: {'my.a,my.b': [1]}", REFUSED),
    ("variables: {'my.a,my.b': [[1]]}", REFUSED),
    ("variables: {'my.a,my.a': [[1, 2]]}", REFUSED),
    ("variables: {'my.a,': [[1, 2]]}", REFUSED),
    ("variables: {my.a: [1], 'my.a,my.b': [[1, 2]]}", REFUSED),
    ("extensions: {}", REFUSED),
    ("extensions: [1]", REFUSED),
    ("extensions: [null]", REFUSED),
    ("extensions: [{condition: 1}]", REFUSED),
    ("extensions: [{parameters: [a]}]", REFUSED),
    ("extensions: [{cases: {a: 1}}]", REFUSED),
    ("extensions: [{cases: [1]}]", REFUSED),
    ("extensions: [{conditions: {}}]", REFUSED),
    ("extensions: [{condition: {exp.model: {a: b}}, parameters: {my.a: 1}}]", None),
    ("extensions: [{condition: {exp.model: [[1]]}, parameters: {my.a: 1}}]", None),
    ("extensions: [{condition: {my.nothing: 1}, parameters: {my.a: 1}}]", REFUSED),
    ("extensions: [{parameters: {my.a: '${__condition.x_1}'}}]", REFUSED),
    ("extensions: [{parameters: {__x: 1}}]", REFUSED),
    ("extensions: [{cases: [{__x: 1}]}]", REFUSED),
    ("exclude: [{}]", REFUSED),
    ("exclude: [1]", REFUSED),
    ("exclude: {}", REFUSED),
    ("frameworks: 1", REFUSED),
    ("frameworks: {a: 1}", REFUSED),
    ("frameworks: {a: [b]}", REFUSED),
    ("frameworks: {a: [a]}", None),
    ("frameworks: {a: [b], b: [a]}", READ),
    ("frameworks: [1]", REFUSED),
    ("frameworks: ['']", REFUSED),
    ("include: other.yaml", REFUSED),
    ("1: 2", REFUSED),
    ("null: 2", REFUSED),
    ("? [a]\n: 2", REFUSED),
    ("? {a: b}\n: 2", REFUSED),
    ("parameters: {1: a}", REFUSED),
    ("parameters: {1: a, 01: b}", REFUSED),
    ("parameters: {1.5: a}", REFUSED),
    ("parameters: {true: a}", REFUSED),
    ("parameters: {null: a}", REFUSED),
    ("parameters: {2026-11-22: a}", REFUSED),
    ("parameters: {? [a] : b}", REFUSED),
    ("parameters: {my.a: 2026-11-22}", REFUSED),
    ("parameters: {my.a: 2026-13-45}", REFUSED),
    ("parameters: {my.a: 2026-11-22T10:00:00Z}", REFUSED),
    ("parameters: {my.a: !!binary aGVsbG8=}", REFUSED),
    ("parameters: {my.a: !!set {a, b}}", REFUSED),
    ("parameters: {my.a: !!python/object/apply:os.system ['touch pwned']}", REFUSED),
    ("parameters: {my.a: !!python/name:os.system }", REFUSED),
    ("!!python/object/new:os.system [touch pwned]", REFUSED),
    ("parameters: {my.a: !own x}", REFUSED),
    ("%TAG ! tag:yaml.org,2002:python/\n---\n!object/apply:os.system ['touch pwned']", REFUSED),
    ("parameters: {my.a: 1, my.a: 2}", REFUSED),
    ("parameters: {my.a: {b: 1, b: 2}}", REFUSED),
    ("parameters:\n  my.a: 1\nparameters:\n  my.b: 1", REFUSED),
    ("parameters: &a {my.a: *a}", REFUSED),
    ("parameters: {my.a: &a [*a]}", REFUSED),
    ("parameters: {my.a: *missing}", REFUSED),
    ("parameters: {<<: {my.a: 1}}", None),
    ("parameters: {<<: [1]}", REFUSED),
    ("a: b: c", REFUSED),
    ("parameters: {my.a: 'open", REFUSED),
    ("\tparameters: {}", REFUSED),
    ("parameters: {}\n---\nparameters: {}", REFUSED),
    (nested("[", "]", 100_000), REFUSED),
    ("parameters: {my.a: " + nested("[", "]", 5_000) + "}", REFUSED),
    ("parameters: {my.a: " + nested("[", "]", 200) + "}", REFUSED),
    ("parameters: {my.a: " + nested("[", "]", 50) + "}", READ),
    (nested("{a: ", "}", 100_000), REFUSED),
    ("- " * 50_000 + "a", REFUSED),
    ("? " * 50_000 + "a", REFUSED),
    (bomb(30, 10), REFUSED),
    (bomb(9, 9), REFUSED),
    (bomb(3, 9), READ),
    ("parameters: {my.a: " + "9" * 5_000 + "}", REFUSED),
    ("parameters: {my.a: 0x" + "f" * 5_000 + "}", REFUSED),
    ("parameters: {my.a: 1" + ":59" * 5_000 + "}", READ),
    ("parameters: {my.a: 1e999}", None),
    ("parameters: {my.a: .nan}", None),
    ("parameters: {my.a: .inf}", None),
    ("parameters: {my.a: " + "x" * 1_000_000 + "}", READ),
    ("parameters: {" + "x" * 100_000 + ": 1}", None),
    ("parameters:\n" + "".join(f"  my.a{n}: 1\n" for n in range(3_000)), READ),
    (b"parameters: {my.a: \xff}", REFUSED),
    (b"\xff\xfe" + "parameters: {}".encode("utf-16-le"), REFUSED),
    (b"\xef\xbb\xbfparameters: {my.a: 1}", None),
    (b"parameters: {my.a: \0}", REFUSED),
    (b"parameters: {my.a: \x07}", REFUSED),
    (b"\0" * 1_000, REFUSED),
    ("parameters: {my.a: {val: 1, type: int, identity: 'no'}}", READ),
    ("parameters: {my.a: {val: 1, type: int, identity: 'maybe'}}", REFUSED),
    ("parameters: {my.a: {val: 1, identity: 0}}", READ),
    ("parameters: {my.a: {val: 1, identity: 2}}", REFUSED),
    ("parameters: {my.a: {val: 1, type: number}}", REFUSED),
    ("parameters: {my.a: {val: 1, type: [int]}}", REFUSED),
    ("parameters: {my.a: {val: x, type: int}}", REFUSED),
    ("parameters: {my.a: {val: 1, val_domain: 1}}", REFUSED),
    ("parameters: {my.a: {val: 1, val_domain: [2]}}", REFUSED),
    ("parameters: {my.a: {val: 1, val_regexp: 3}}", REFUSED),
    ("parameters: {my.a: {val: a, val_regexp: '['}}", REFUSED),
    ("parameters: {my.a: {val: 1, desc: [1]}}", None),
    ("parameters: {my.a: {val: 1, option_in: 3}}", REFUSED),
    ("parameters: {my.a: {val: 1, option_in: [a]}}", REFUSED),
    ("parameters: {my.a: {val: 1, option_in: my.a}}", REFUSED),
    ("parameters: {my.a: {val: 1, option_in: exp.model}}", REFUSED),
    ("parameters: {my.a: {val: 1, frameworks: 3}}", REFUSED),
    ("parameters: {my.a: {val: 1, frameworks: [3]}}", REFUSED),
    ("parameters: {my.a: {val: 1, unknown: 3}}", REFUSED),
    ("parameters: {my.a: {type: int}}", None),
    ("parameters: {exp.num_batches: 1e400}", REFUSED),
    ("parameters: {exp.num_batches: .nan}", REFUSED),
    ("parameters: {exp.num_batches: [1]}", REFUSED),
    ("parameters: {exp.repeats: 1.5}", REFUSED),
    ("parameters: {exp.repeats: 0}", REFUSED),
    ("parameters: {exp.repeats: true}", REFUSED),
    ("parameters: {exp.repeats: '${my.a}', my.a: 2}", REFUSED),
    ("parameters: {sys.plan_builder.var_order: 1}", REFUSED),
    ("variables: {my.a: [1, 2]}\nparameters: {sys.plan_builder.var_order: [my.a, my.a]}", REFUSED),
    ("variables: {my.a: [1, 2]}\nparameters: {sys.plan_builder.var_order: [my.b]}", REFUSED),
    ("variables: {my.a: [1, 2]}\nparameters: {sys.plan_builder.var_order: [[my.a]]}", REFUSED),
    ("variables: {my.a: [1, 2]}\nparameters: {sys.plan_builder.var_order: [my.a]}", READ),
    ("parameters: {my.a: '${my.a}'}", None),
    ("parameters: {my.a: '" + "${" * 30 + "a" + "}" * 30 + "'}", None),
]

JSON: list[tuple[str | bytes, str | None]] = [
    ("{}", READ),
    ('{"parameters": {"my.a": 1}}', READ),
    ("", REFUSED),
    ("null", REFUSED),
    ("[]", REFUSED),
    ("1", REFUSED),
    ('"text"', REFUSED),
    ("{", REFUSED),
    ('{"parameters": {"my.a": 1,}}', REFUSED),
    ('{"parameters": {"my.a": 1, "my.a": 2}}', REFUSED),
    ('{"parameters": {}, "parameters": {}}', REFUSED),
    ("{'parameters': {}}", REFUSED),
    ('{"parameters": {"my.a": "' + "x" * 1_000_000 + '"}}', READ),
    ('{"parameters": {"my.a": ' + nested("[", "]", 100_000) + "}}", REFUSED),
    ('{"parameters": {"my.a": ' + nested("[", "]", 200) + "}}", REFUSED),
    ('{"parameters": {"my.a": ' + nested("[", "]", 50) + "}}", READ),
    (nested('{"a":', "}", 100_000), REFUSED),
    (nested("[", "]", 1_000_000), REFUSED),
    ("[" * 1_000_000, REFUSED),
    ('{"parameters": {"my.a": ' + "9" * 5_000 + "}}", REFUSED),
    ('{"parameters": {"my.a": -' + "9" * 5_000 + "}}", REFUSED),
    ('{"parameters": {"my.a": 1e' + "9" * 5_000 + "}}", None),
    ('{"parameters": {"my.a": 0.' + "9" * 5_000 + "}}", READ),
    ('{"parameters": {"my.a": NaN}}', READ),
    ('{"parameters": {"my.a": "\\ud800"}}', READ),
    ('{"parameters": {"my.a": "\\u0000"}}', READ),
    ('{"parameters": {' + ", ".join(f'"my.a{n}": {n}' for n in range(30_000)) + "}}", READ),
    ('{"parameters": {"my.a": [' + ", ".join(f'"\\"{n}\\": "' for n in range(50_000)) + "]}}", READ),
    ('{"parameters": {"\\ud800": 1}}', REFUSED),
    ('{"parameters": {"my.\\u0000": 1}}', REFUSED),
    ('{"parameters": {"__proto__": 1}}', REFUSED),
    (b'{"parameters": {"my.a": "\xff"}}', REFUSED),
    (b"\0" * 1_000, REFUSED),
    (b"\xff\xfe{\0}\0", REFUSED),
    (b"\xef\xbb\xbf{}", None),
]


Case = tuple[Path, list[str], str | None]  # a directory, the command line that runs there, and what comes of it


def check(commands: Commands, cases: Iterable[Case]) -> None:
    """Run the command lines of a table, in one child process."""
    cases = list(cases)
    before = [sorted(path.name for path in directory.iterdir()) for directory, _, _ in cases]
    ended = commands.run_all((directory, argv) for directory, argv, _ in cases)
    for (directory, argv, expected), names, done in zip(cases, before, ended, strict=True):
        case = f"number {directory.name}: {argv}"
        assert not done.is_crash(), (case, done)
        assert done.seconds < SECONDS, case
        assert sorted(path.name for path in directory.iterdir()) == names, case
        assert done.code == 0 or done.is_clear_error(), (case, done)
        assert expected is None or (done.code == 0) == (expected == READ), (case, done)
        assert len(done.errors) < 20_000, case


def check_documents(
    commands: Commands, root: Path, table: list[tuple[str | bytes, str | None]], name: str, argv: list[str]
) -> None:
    """Give each document of a table to a command line, under this name."""
    for number, (document, _) in enumerate(table):
        (root / str(number)).mkdir()
        written(root / str(number) / name, document)
    check(commands, ((root / str(number), argv, expected) for number, (_, expected) in enumerate(table)))


def written(path: Path, document: str | bytes) -> Path:
    path.write_bytes(document if isinstance(document, bytes) else document.encode())
    return path


def test_a_configuration_in_yaml(commands: Commands, tmp_path: Path) -> None:
    check_documents(commands, tmp_path, YAML, "c.yaml", ["build", "--plan", "c.yaml", "-Pexp.framework=dummy"])


def test_a_configuration_in_json(commands: Commands, tmp_path: Path) -> None:
    check_documents(commands, tmp_path, JSON, "c.json", ["print-config", "--plan", "c.json"])


EXPERIMENT = '"exp.framework": "dummy", "dummy.seconds": 0, "dummy.exit_code": 0, "exp.effective_batch": 1, "exp.docker": false, "exp.gpus": "", "exp.log_file": "logs/x.log"'

# Written plans; `READ` is a plan without problems.
PLANS: list[tuple[str | bytes, str | None]] = [
    (f"[{{{EXPERIMENT}}}]", READ),
    (f'[{{{EXPERIMENT}, "my.a": "\\ud800"}}]', READ),
    (f'[{{{EXPERIMENT}, "my.a": "\\u0000"}}]', READ),
    (f'[{{{EXPERIMENT}, "my.a": NaN}}]', READ),
    (f'[{{{EXPERIMENT}, "my.a": {"9" * 3_000}}}]', READ),
    ("", REFUSED),
    ("[]", READ),
    ("{}", READ),  # an empty grid
    ("null", REFUSED),
    ("1", REFUSED),
    ("[1]", REFUSED),
    ("[null]", REFUSED),
    ("[[]]", REFUSED),
    ("[{}]", REFUSED),
    ('[{"exp.framework": "dummy"}]', REFUSED),
    ('[{"exp.framework": "nothing", "exp.log_file": "x.log"}]', REFUSED),
    ('[{"exp.framework": 3, "exp.log_file": "x.log"}]', REFUSED),
    ('[{"exp.framework": ["dummy"], "exp.log_file": "x.log"}]', REFUSED),
    ('[{"exp.framework": null, "exp.log_file": "x.log"}]', REFUSED),
    ('[{"exp.framework": "../../dummy", "exp.log_file": "x.log"}]', REFUSED),
    ('[{"exp.framework": "a\\u0000b", "exp.log_file": "x.log"}]', REFUSED),
    ('[{"exp.framework": "' + "x" * 5_000 + '", "exp.log_file": "x.log"}]', REFUSED),
    ('[{"exp.log_file": "x.log"}]', REFUSED),
    ('[{"exp.framework": "dummy", "exp.log_file": ""}]', REFUSED),
    ('[{"exp.framework": "dummy", "exp.log_file": null}]', REFUSED),
    ('[{"exp.framework": "dummy", "exp.log_file": 3}]', None),
    ('[{"exp.framework": "dummy", "exp.log_file": ["a"]}]', None),
    ('[{"exp.framework": "dummy", "exp.log_file": "."}]', REFUSED),
    ('[{"exp.framework": "dummy", "exp.log_file": "/"}]', REFUSED),
    ('[{"exp.framework": "dummy", "exp.log_file": "a\\u0000b"}]', REFUSED),
    ('[{"exp.framework": "dummy", "exp.log_file": "' + "x" * 5_000 + '"}]', REFUSED),
    ('[{"exp.framework": "dummy", "exp.log_file": "' + "x/" * 5_000 + 'y"}]', REFUSED),
    ('[{"exp.framework": "dummy", "exp.log_file": "/dev/null"}]', REFUSED),
    ('[{"exp.framework": "dummy", "exp.log_file": "/dev/null/x.log"}]', REFUSED),
    ('[{"exp.framework": "dummy", "exp.log_file": "/proc/self/x.log"}]', REFUSED),
    (f'[{{{EXPERIMENT}, "exp.status": "strange"}}]', None),
    (f'[{{{EXPERIMENT}, "exp.timeout": "x"}}]', REFUSED),
    (f'[{{{EXPERIMENT}, "exp.timeout": 1e400}}]', None),
    (f'[{{{EXPERIMENT}, "exp.timeout": -1}}]', None),
    (f'[{{{EXPERIMENT}, "exp.gpus": "any:99999999999999999999"}}]', REFUSED),
    (f'[{{{EXPERIMENT}, "exp.gpus": "x"}}]', REFUSED),
    (f'[{{{EXPERIMENT}, "exp.cpus": "0-99999999999"}}]', None),  # it is set anew when the experiment starts
    (f'[{{{EXPERIMENT}, "runtime.cpus": 99999999999}}]', REFUSED),
    (f'[{{{EXPERIMENT}, "runtime.env.A B": "x"}}]', REFUSED),
    (f'[{{{EXPERIMENT}, "runtime.env.A-B": "x"}}]', REFUSED),
    (f'[{{{EXPERIMENT}, "dummy.env": {{"A B": "x"}}}}]', REFUSED),
    (f'[{{{EXPERIMENT}, "dummy.env": {{"A": "\\u0000"}}}}]', REFUSED),
    (f'[{{{EXPERIMENT}, "dummy.env": "touch pwned"}}]', REFUSED),
    (f'[{{{EXPERIMENT}, "dummy.env": "export A=\'"}}]', REFUSED),
    (f'[{{{EXPERIMENT}, "dummy.env": 3}}]', REFUSED),
    (f'[{{{EXPERIMENT}, "dummy.launcher": "missing.sh"}}]', REFUSED),
    (f'[{{{EXPERIMENT}, "dummy.launcher": "/dev/zero"}}]', REFUSED),
    (f'[{{{EXPERIMENT}, "dummy.launcher": "/"}}]', REFUSED),
    (f'[{{{EXPERIMENT}, "dummy.launcher": "\\u0000"}}]', REFUSED),
    (f'[{{{EXPERIMENT}, "dummy.launcher": 3}}]', REFUSED),
    (f'[{{{EXPERIMENT}, "dummy.seconds": "$(__import__(\'os\'))$"}}]', REFUSED),
    (f'[{{{EXPERIMENT}, "dummy.seconds": "$(().__class__)$"}}]', REFUSED),
    (f'[{{{EXPERIMENT}, "my.a": "${{my.a}}"}}]', REFUSED),
    (f'[{{{EXPERIMENT}, "my.a": "${{my.b}}", "my.b": "${{my.a}}"}}]', REFUSED),
    (f'[{{{EXPERIMENT}, "my.a": "${{nothing.such}}"}}]', REFUSED),
    (f'[{{{EXPERIMENT}, "my.a": "$([i for i in range(10**9)])$"}}]', REFUSED),
    (f'[{{{EXPERIMENT}, "my.a": {"9" * 5_000}}}]', REFUSED),
    (f'[{{{EXPERIMENT}, "my.a": {"[" * 200}{"]" * 200}}}]', REFUSED),
    (f"[{{{EXPERIMENT}}}, {{{EXPERIMENT}}}]", REFUSED),
    ("[" * 100_000, REFUSED),
    (b"\xff", REFUSED),
    (b"\0" * 100, REFUSED),
]


def test_a_written_plan(commands: Commands, tmp_path: Path) -> None:
    check_documents(commands, tmp_path, PLANS, "plan.json", ["validate", "--plan", "plan.json"])


def text_as_gzip(path: Path) -> None:
    path.write_text("[]")


def bomb_of_blanks(path: Path) -> None:
    """2 GiB in 2 MiB."""
    block = gzip.compress(b" " * (1 << 24))
    path.write_bytes(block * 128)


def torn_gzip(path: Path) -> None:
    path.write_bytes(gzip.compress(b"[" + b" " * 100_000 + b"]")[:-20])


def garbled_gzip(path: Path) -> None:
    path.write_bytes(gzip.compress(b"[]")[:10] + b"\xff" * 100)


def damaged_gzip(path: Path) -> None:
    path.write_bytes(gzip.compress(b"[]")[:-8] + b"\0" * 8)


def pipe(path: Path) -> None:
    os.mkfifo(path)


def directory(path: Path) -> None:
    path.mkdir()


def zero(path: Path) -> None:
    path.symlink_to("/dev/zero")


def loop(path: Path) -> None:
    path.symlink_to(path.name)


# What a plan or a configuration is instead of a file that can be read.
STRANGE: list[tuple[str, Callable[[Path], None]]] = [
    ("plan.json.gz", text_as_gzip),
    ("plan.json.gz", torn_gzip),
    ("plan.jsonl.gz", torn_gzip),
    ("plan.json.gz", damaged_gzip),
    ("plan.json.gz", garbled_gzip),
    ("plan.jsonl.gz", garbled_gzip),
    ("plan.json", directory),
    ("plan.json", loop),
    ("plan.json", zero),
    ("plan.jsonl", zero),
    ("plan.json.gz", zero),
    ("plan.json.gz", bomb_of_blanks),
    ("plan.jsonl.gz", bomb_of_blanks),
    ("c.yaml", directory),
    ("c.yaml", loop),
    ("c.yaml", zero),
    ("c.yaml", pipe),
    ("c.json", zero),
    ("c.txt", directory),
    ("a\nb.yaml", directory),
]


@pytest.mark.parametrize(("name", "put"), STRANGE, ids=[f"{name!a} {put.__name__}" for name, put in STRANGE])
def test_a_file_that_cannot_be_read(commands: Commands, tmp_path: Path, name: str, put: Callable[[Path], None]) -> None:
    put(tmp_path / name)
    argv = ["validate", "--plan"] if name.startswith("plan") else ["build", "--plan"]
    check(commands, [(tmp_path, [*argv, name], REFUSED)])


# Command lines that once ended in a traceback.
FLAGS: list[tuple[list[str], str | None]] = [
    (["run", "--discard-default-config", "-Pexp.framework=dummy"], REFUSED),
    (["validate", "--discard-default-config"], REFUSED),
    (["build", "-P"], None),
    (["build", "-Pmy.a"], REFUSED),
    (["build", "-P=1"], REFUSED),
    (["build", "-Vmy.a=a,b"], REFUSED),
    (["build", "-V", "my.a=[]"], REFUSED),
    (["build", "-E{"], REFUSED),
    (["build", "-E[]"], REFUSED),
    (["build", "-E1"], REFUSED),
    (["build", "-Enull"], REFUSED),
    (["build", "-E{}"], None),
    (["build", "-E" + json.dumps({"cases": [1]})], REFUSED),
    (["build", "-Pexp.framework=dummy", "-Pexp.gpus=" + "9" * 5_000], None),
    (["build", "--resolve", "-Pexp.framework=dummy", "-Pexp.gpus=" + "9" * 5_000], None),
    (["build", "-Pexp.num_batches=" + "9" * 5_000], REFUSED),
    (["build", "-Pexp.num_batches=1e999"], REFUSED),
    (["build", "-Pexp.num_batches=NaN"], REFUSED),
    (["build", "-Pexp.timeout=Infinity"], None),
    (["build", "-Pexp.framework="], None),
    (["validate", "-Pexp.framework=["], REFUSED),
    (["validate", "-Pexp.framework=../../etc"], REFUSED),
    (["explain", "a b"], REFUSED),
    (["explain", "${a}"], REFUSED),
    (["explain", ""], REFUSED),
    (["help", "("], None),
    (["help", ""], None),
    (["report", "missing"], REFUSED),
    (["report", "/dev/zero"], REFUSED),
    (["parse", "/dev/null"], None),
    (["compare", "missing", "missing"], REFUSED),
    (["status", "missing"], None),
    (["rerun", "missing"], REFUSED),
    (["rerun", "/dev/zero"], REFUSED),
    (["plot", "missing", "-o", "x.svg"], REFUSED),
    (["run", "--deadline", "soon"], REFUSED),
    (["run", "--deadline", "9" * 400 + "h"], REFUSED),
    (["run", "--deadline", "99999999h"], REFUSED),
    (["run", "--deadline", "9999-12-31T23:59"], REFUSED),
    (["run", "--deadline", "0001-01-01T00:00"], REFUSED),
    (["run", "--executor", "os:system"], REFUSED),
    (["run", "--executor", "missing:X"], REFUSED),
    (["db", "query", "--db", "nothing://x"], REFUSED),
]


def test_a_command_line(commands: Commands, tmp_path: Path) -> None:
    ended = commands.run_all((tmp_path, argv) for argv, _ in FLAGS)
    for (argv, expected), done in zip(FLAGS, ended, strict=True):
        assert not done.is_crash(), (argv, done)
        assert done.seconds < SECONDS, argv
        assert expected is None or done.code == 2, (argv, done)
