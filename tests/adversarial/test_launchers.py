r"""Values in launchers: every context of a shell script × hostile values, run by a real bash.

A context is a line: what a template says, and what becomes of a value in it. A value is a line. Each context runs with all values in one
child process with limits; a value must arrive as one unchanged word, or be refused by an error that names the template's line, and nothing of
it may run.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import stat
import subprocess
import sys
from pathlib import Path
from random import Random
from typing import Any

import pytest

from dlbs.config.load import load_config
from dlbs.core.errors import LaunchError
from dlbs.core.files import load_json
from dlbs.core.logs import parse_line
from dlbs.launch.script import make_launcher
from dlbs.launch.words import MARK, places, written
from dlbs.plan.build import build
from dlbs.plan.pipeline import processor_for
from tests.waiting import PATIENCE

pytestmark = pytest.mark.integration

SECONDS, MIB = 20, 500  # of CPU time and memory, for all values of a context together

VALUES: dict[str, str] = {
    "plain": "alexnet",
    "empty": "",
    "number": "42",
    "negative number": "-7",
    "octal number": "010",
    "float": "1.5",
    "blanks": "  two  words  ",
    "tab": "\ta\tb\t",
    "newline": "a\nb",
    "newlines around": "\n\na\n\n",
    "only a newline": "\n",
    "carriage return": "a\r\nb\r",
    "newline and command": "a\ntouch pwned\n",
    "newline, tab and command": "a\n\ttouch pwned\n\tEOF\n",
    "single quote": "'",
    "single quotes": "'; touch pwned; '",
    "double quote": '"',
    "double quotes": '"; touch pwned; "',
    "both quotes": "'\"'\"; touch pwned #'\"",
    "ANSI-C quote": "$'\\'; touch pwned; '",
    "command substitution": "$(touch pwned)",
    "backticks": "`touch pwned`",
    "escaped backticks": "\\`touch pwned\\`",
    "escaped substitution": "\\$(touch pwned)",
    "begins like a substitution": "(touch pwned)",
    "closes a substitution": "); touch pwned; (",
    "closes an expansion": "}; touch pwned; {",
    "expansion": "${HOME}",
    "expansion with a command": "${x:-$(touch pwned)}",
    "variable": "$HOME",
    "variable's name": "HOME",
    "arithmetic": "$((1+1))",
    "array subscript": "a[$(touch pwned)]",
    "assignment of a subscript": "a[$(touch pwned)]=1",
    "closes arithmetic": ")); touch pwned; ((",
    "assignment": "LD_PRELOAD=./evil.so",
    "appending assignment": "PATH+=:.",
    "reserved word": "time",
    "reserved word that opens": "if",
    "brace": "{",
    "negation": "!",
    "double brackets": "[[",
    "unary operator": "-f",
    "binary operator": "-eq",
    "option": "--help",
    "end of options": "--",
    "semicolon": "; touch pwned",
    "ampersand": "& touch pwned &",
    "pipe": "| touch pwned",
    "or": "|| touch pwned",
    "redirection": "> pwned",
    "descriptor": "2",
    "here-document": "<<EOF",
    "comment": "# touch pwned",
    "history": "!!",
    "tilde": "~",
    "tilde of a user": "~root/x",
    "name of a user": "root",
    "star": "*",
    "glob": "/*/*/*",
    "brackets": "[a-z]*",
    "brace expansion": "{a,b}",
    "part of a brace expansion": "b,c",
    "range of a brace expansion": "1..3",
    "extended glob": "@(a|b)",
    "backslash": "\\",
    "backslashes": "\\\\\\",
    "backslash at the end": "a\\",
    "backslash and newline": "a\\\nb",
    "backslash and quote": "\\'; touch pwned; \\'",
    "backslash and double quote": '\\"; touch pwned; \\"',
    "terminator": "EOF",
    "terminator alone": "a\nEOF\ntouch pwned\n",
    "terminator first": "EOF\ntouch pwned",
    "terminator in two parts": "E\\\nOF\ntouch pwned\n",
    "terminator with tabs": "\n\t\tEOF\ntouch pwned\n",
    "another terminator": "\nEND_OF_PARAMETERS\ntouch pwned\n",
    "quote and newline": "'\ntouch pwned\n'",
    "terminators that come instead": "\nEOF\nEND_OF_TEXT_1\nEND_OF_TEXT_2\ntouch pwned",
    "format": "%s%n%999999d",
    "template": "{{ exp.model }} {% raw %}",
    "reference": "${exp.model}",
    "mark of a value": "\U000f00000.0\U000f0000",
    "accents": "é日本 \u2028 \u00a0",
    "emoji": "👩\u200d🔬",
    "right to left": "\u202egnp.exe",
    "escape sequence": "\x1b[2J\x07",
    "control characters": "\x01\x02\x7f",
    "surrogate escape": "\udcff",
    "long": "x" * 100_000,
    "long with quotes": "'$(touch pwned)" * 6_600,
    "many lines": "a\n" * 20_000,
    "NUL": "a\0b",
    "NUL and command": "\0; touch pwned",
}

UNCHANGED = "unchanged"  # arrives as it is
LINES = "lines"  # the same, with the line end of a here-string
REFUSED = "refused"  # is an error, whatever the value

OUT = "printf %s "

CONTEXTS: dict[str, tuple[str, str]] = {
    "bare word": (OUT + "{{ my.x }}", UNCHANGED),
    "with the filter": (OUT + "{{ my.x | sh }}", UNCHANGED),
    "of a list": (OUT + "{{ [my.x] | words }}", UNCHANGED),
    "by its full name": (OUT + "{{ parameters['my.x'] }}", UNCHANGED),
    "concatenated": (OUT + "{{ my.x ~ '' }}", UNCHANGED),
    "in a loop": ("{% for x in [my.x] %}\n" + OUT + "{{ x }}\n{% endfor %}", UNCHANGED),
    "in a condition": ("{% if true %}" + OUT + "{{ my.x }}{% endif %}", UNCHANGED),
    "after a long script": ("echo 'a b' \"$HOME\" >/dev/null\n" * 50 + OUT + "{{ my.x }}", UNCHANGED),
    "beside text": ("x=a{{ my.x }}b; x=${x#a}; printf %s \"${x%b}\"", UNCHANGED),
    "twice": ("x={{ my.x }}{{ my.x }}; " + OUT + "{% raw %}\"${x:0:${#x}/2}\"{% endraw %}", UNCHANGED),
    "first word of a command": (
        "{ A=1 {{ my.x }} >/dev/null; } 2>/dev/null; [ -z \"${LD_PRELOAD+set}\" ] && " + OUT + "{{ my.x }}",
        UNCHANGED,
    ),
    "assigned": ("x={{ my.x }}; " + OUT + '"$x"', UNCHANGED),
    "exported": ("export x={{ my.x }}; " + OUT + '"$x"', UNCHANGED),
    "array": ("a=(1 {{ my.x }}); " + OUT + '"${a[1]}"', UNCHANGED),
    "array over lines": ("a=(\n  # first\n  {{ my.x }}\n); " + OUT + '"${a[0]}"', UNCHANGED),
    "function": ('f() { case "$1" in *) printf %s "$1";; esac; }; f {{ my.x }}', UNCHANGED),
    "loop of the shell": ("for x in {{ my.x }}; do " + OUT + '"$x"; done', UNCHANGED),
    "case": ("case {{ my.x }} in *) " + OUT + "{{ my.x }};; esac", UNCHANGED),
    "pattern of case": ("x={{ my.x }}; case $x in {{ my.x }}) " + OUT + '"$x";; esac', UNCHANGED),
    "test": ("if [[ {{ my.x }} == {{ my.x }} ]]; then " + OUT + "{{ my.x }}; fi", REFUSED),
    "quoted in a test": ('if [[ "{{ my.x }}" == \'{{ my.x }}\' ]]; then ' + OUT + "{{ my.x }}; fi", REFUSED),
    "subshell": ("(" + OUT + "{{ my.x }})", UNCHANGED),
    "subshell behind a test": ("x=; if [ -z \"$x\" ]; then (" + OUT + "{{ my.x }}); fi", UNCHANGED),
    "behind closed brackets": ("x=[1]{{ my.x }}; " + OUT + "\"${x#?1?}\"", UNCHANGED),
    "index in an index": ("a=([b[1]+{{ my.x }}]=1)", REFUSED),
    "two subshells": ("( (" + OUT + "{{ my.x }}) )", UNCHANGED),
    "two subshells, side by side": ("((" + OUT + "{{ my.x }}) | cat)", REFUSED),
    "substitution that begins with a subshell": (OUT + "$((" + OUT + "{{ my.x }}) | cat)", REFUSED),
    "group": ("{ " + OUT + "{{ my.x }}; }", UNCHANGED),
    "continued line": (OUT + "\\\n    {{ my.x }} \\\n    2>/dev/null", UNCHANGED),
    "before a redirection": (OUT + "{{ my.x }}>&1", UNCHANGED),
    "behind >&": ("echo >&{{ my.x }}", REFUSED),
    "behind 2>&": ("echo 2>&{{ my.x }}", REFUSED),
    "behind <&": ("cat <& {{ my.x }}", REFUSED),
    "behind a variable": ('A=; ' + OUT + "$A{{ my.x }}", UNCHANGED),
    "behind a variable in quotes": ('A=; ' + OUT + '"$A{{ my.x }}"', REFUSED),
    "behind a variable in braces": ('A=; ' + OUT + '"${A}{{ my.x }}"', REFUSED),
    "behind a tilde": ("x=a~{{ my.x }}; " + OUT + '"${x#a\\~}"', UNCHANGED),
    "in braces": ("x=(a{,{{ my.x }}}); x=${x[1]}; " + OUT + '"${x#a}"', UNCHANGED),
    "single quotes": (OUT + "'{{ my.x }}'", REFUSED),
    "double quotes": (OUT + '"{{ my.x }}"', REFUSED),
    "ANSI-C quotes": (OUT + "$'{{ my.x }}'", REFUSED),
    "quotes beside quotes": ("x='a'\"b\"'{{ my.x }}'\"\"; " + OUT + '"${x#ab}"', REFUSED),
    "behind an escaped dollar": ('x="\\${{ my.x }}"; ' + OUT + '"${x#?}"', REFUSED),
    "list in double quotes": (OUT + '"{{ [my.x] | words }}"', REFUSED),
    "substitution": (': $(printf %s {{ my.x }} >&3)', UNCHANGED),
    "substitution in quotes": (': "$(printf %s {{ my.x }} >&3)"', UNCHANGED),
    "quotes in a substitution in quotes": (': "$(printf %s "{{ my.x }}" >&3)"', REFUSED),
    "quotes in two substitutions": (': "$(: "$(printf %s \'{{ my.x }}\' >&3)")"', REFUSED),
    "case in a substitution": (': "$(case a in a) printf %s {{ my.x }} >&3;; (b) ;; esac)"', REFUSED),
    "comment in a substitution": (": $( # it's a ) comment\nprintf %s {{ my.x }} >&3)", UNCHANGED),
    "substitution in an expansion": (': "${y:-$(printf %s "{{ my.x }}" >&3)}"', REFUSED),
    "process substitution": ("cat <(printf %s {{ my.x }})", UNCHANGED),
    "here-string": ("cat <<< {{ my.x }}", LINES),
    "here-string in quotes": ('cat <<< "{{ my.x }}"', REFUSED),
    "here-document": ("cat <<EOF\n{{ my.x }}\nEOF", REFUSED),
    "here-document, quoted": ("cat <<'EOF'\n{{ my.x }}\nEOF", REFUSED),
    "here-document, double quotes": ('cat <<"EOF"\n{{ my.x }}\nEOF', REFUSED),
    "here-document, backslash": ("cat <<\\EOF\n{{ my.x }}\nEOF", REFUSED),
    "here-document, tabs": ("cat <<-EOF\n\t{{ my.x }}\n\tEOF", REFUSED),
    "here-document, tabs, quoted": ("cat <<-'EOF'\n\t{{ my.x }}\n\tEOF", REFUSED),
    "here-document among others": ("cat >/dev/null <<A; cat <<EOF\nA{{ my.x }}\nA\n{{ my.x }}\nEOF", REFUSED),
    "here-document in a substitution": ('printf %s "$(cat <<EOF >&3\n{{ my.x }}\nEOF\n)"', REFUSED),
    "substitution in a here-document": ("cat <<EOF >/dev/null\n$(printf %s {{ my.x }} >&3)\nEOF", REFUSED),
    "single quotes there": ("cat <<EOF >/dev/null\n$(printf %s '{{ my.x }}' >&3)\nEOF", REFUSED),
    "double quotes there": ('cat <<EOF >/dev/null\n$(printf %s "{{ my.x }}" >&3)\nEOF', REFUSED),
    "here-document there": ("cat <<EOF >/dev/null\n$(cat <<A >&3\n{{ my.x }}\nA\n)\nEOF", REFUSED),
    "substitution in a quoted here-document": ("cat <<'EOF'\n$(printf %s '{{ my.x }}')\nEOF", REFUSED),
    "quotes in a here-document": ("cat <<EOF\n{{ my.x }}\nEOF\n: \"it's\"", REFUSED),
    "behind a here-document": ("cat >/dev/null <<EOF\nit's $(echo) \"\nEOF\n" + OUT + "{{ my.x }}", UNCHANGED),
    "comment": ("# {{ my.x }}", REFUSED),
    "comment behind a command": ("true # '{{ my.x }}", REFUSED),
    "no comment": ("x=a#{{ my.x }}; " + OUT + '"${x#a#}"', UNCHANGED),
    "captured": ("{% set line %}printf %s {{ my.x }}{% endset %}\nbash -c {{ line }}", UNCHANGED),
    "captured in quotes": ('{% set line %}printf %s "{{ my.x }}"{% endset %}\nbash -c "{{ line }}"', REFUSED),
    "macro": ("{% macro line(x) %}printf %s {{ x }}{% endmacro %}\nbash -c {{ line(my.x) }}", UNCHANGED),
    "arithmetic": (OUT + "$(({{ my.x }}))", REFUSED),
    "old arithmetic": (OUT + "$[{{ my.x }}]", REFUSED),
    "arithmetic in quotes": (OUT + '"$(( ({{ my.x }}) + 0 ))"', REFUSED),
    "arithmetic command": ("(( x = {{ my.x }} )); " + OUT + '"$x"', REFUSED),
    "comment behind arithmetic": ("((1))#'\n" + OUT + "{{ my.x }} # '", REFUSED),
    "arithmetic loop": ("for ((i={{ my.x }}; i=={{ my.x }}; i++)); do " + OUT + '"$i"; done', REFUSED),
    "comparison": ("[[ {{ my.x }} -lt 1000 ]] && " + OUT + "{{ my.x }}", REFUSED),
    "comparison in quotes": ("[[ 1000 -gt \"{{ my.x }}\" ]] && " + OUT + "{{ my.x }}", REFUSED),
    "subscript": ("a[{{ my.x }}*0]={{ my.x }}; " + OUT + '"${a[0]}"', REFUSED),
    "expansion": (OUT + "${y:-{{ my.x }}}", REFUSED),
    "expansion in quotes": (OUT + '"${y:-{{ my.x }}}"', REFUSED),
    "quotes in an expansion": (OUT + '"${y:-"{{ my.x }}"}"', REFUSED),
    "name of a variable": (OUT + "{% raw %}${{% endraw %}{{ my.x }}}", REFUSED),
    "behind a dollar": (OUT + "${{ my.x }}", REFUSED),
    "behind a dollar in quotes": (OUT + '"${{ my.x }}"', REFUSED),
    "behind a dollar in a here-document": ("cat <<EOF\n${{ my.x }}\nEOF", REFUSED),
    "behind a backslash": (OUT + "\\{{ my.x }}", REFUSED),
    "behind a backslash in quotes": (OUT + '"\\{{ my.x }}"', REFUSED),
    "behind a backslash in a here-document": ("cat <<EOF\n\\{{ my.x }}\nEOF", REFUSED),
    "backticks": (OUT + "`printf %s {{ my.x }}`", REFUSED),
    "backticks in quotes": (OUT + '"`printf %s \'{{ my.x }}\'`"', REFUSED),
    "backticks in a here-document": ("cat <<EOF\n`echo {{ my.x }}`\nEOF", REFUSED),
    "terminator": ("cat <<{{ my.x }}\nx\n{{ my.x }}", REFUSED),
    "after a comment behind a backslash": ("true \\\n# it's\n" + OUT + "{{ my.x }} # it's", UNCHANGED),
    "evaluated": ("eval {{ my.x }}", REFUSED),
    "evaluated in a substitution": ('eval "$(printf %s {{ my.x }})"', REFUSED),
    "calculated": ("let {{ my.x }}", REFUSED),
    "declared": ("declare x={{ my.x }}", REFUSED),
    "declared by a quoted command": ('"declare" {{ my.x }}', REFUSED),
    "declared by an escaped command": ("\\declare {{ my.x }}", REFUSED),
    "declared by an ANSI-C command": ("$'\\x64eclare' {{ my.x }}", REFUSED),
    "declared behind other words": ("A=1 2>/dev/null command declare {{ my.x }}", REFUSED),
    "declared behind an empty substitution": ("$(true)declare {{ my.x }}", REFUSED),
    "declared behind an empty expansion in quotes": ('"$nothing"declare {{ my.x }}', REFUSED),
    "declared behind an empty word": ("$nothing declare {{ my.x }}", REFUSED),
    "exported without a name": ("export {{ my.x }}", REFUSED),
    "exported in quotes": ('export "x="{{ my.x }}', REFUSED),
    "trap": ("trap {{ my.x }} EXIT", REFUSED),
    "completions": ("compgen -W {{ my.x }}", REFUSED),
    "variable of printf": ("printf -v {{ my.x }} x", REFUSED),
    "format of printf": ("printf {{ my.x }} x", REFUSED),
    "test of a variable": ("[ -v {{ my.x }} ]", REFUSED),
    "test of a variable, in quotes": ('test "-v" {{ my.x }}', REFUSED),
    "operator of a test": ("[ {{ my.x }} {{ my.x }} ]", REFUSED),
    "compared": ("[ {{ my.x }} = {{ my.x }} ] && " + OUT + "{{ my.x }}", UNCHANGED),
    "computed variable": ("RANDOM={{ my.x }}", REFUSED),
    "computed variable, exported": ("export OPTIND={{ my.x }}", REFUSED),
    "computed variable of a loop": ("for HISTCMD in {{ my.x }}; do :; done", REFUSED),
    "computed array": ("SRANDOM=({{ my.x }})", REFUSED),
    "computed for a command": ("OPTIND={{ my.x }} true", REFUSED),
    "declared as a number": ("declare -i x; x={{ my.x }}", REFUSED),
    "declared as a number later": ('f() { x={{ my.x }}; }; declare "-i" x; f', REFUSED),
    "declared as another": ("declare -n x=RANDOM; x={{ my.x }}", REFUSED),
    "another variable than a number": ("declare -i n=1; x={{ my.x }}; " + OUT + '"$x"', REFUSED),
    "name of a function": ("{{ my.x }}() { :; }", REFUSED),
    "name of a loop": ("for {{ my.x }} in a; do :; done", REFUSED),
    "after an alias": ("shopt -s expand_aliases; alias x='echo \"'; " + OUT + "{{ my.x }}", REFUSED),
    "open quotes": (OUT + "'{{ my.x }}", REFUSED),
    "open double quotes": (OUT + '"{{ my.x }}', REFUSED),
    "open substitution": (OUT + "$(echo {{ my.x }}", REFUSED),
    "open here-document": ("cat <<EOF\n{{ my.x }}\n", REFUSED),
}  # fmt: skip


@pytest.fixture(scope="module")
def dummy() -> dict[str, Any]:
    return experiment("dummy")


def experiment(framework: str, *flags: str) -> dict[str, Any]:
    config = load_config(parameters=[f"exp.framework={framework}", "exp.docker=false", "exp.gpus=", *flags])
    return processor_for(config).resolve(next(build(config)))


def expected(kind: str, value: str) -> str | None:
    """What is printed; None if the value is refused."""
    if "\0" in value or kind == REFUSED:
        return None
    return f"{value}\n" if kind == LINES else value


def run_all(directory: Path) -> None:
    """Run each `NUMBER.sh` of a directory in a subshell of a bash with limits; its output is in `NUMBER.out`.

    A subshell costs a third of another bash, and a function that prints its input as much less than the program `cat`.
    """
    body = f"""
    cat() {{ local text; IFS= read -r -d "" text <"${{1:-/dev/stdin}}"; printf %s "$text"; }}
    ulimit -t {SECONDS}
    ulimit -v {MIB << 10}
    for script in scripts/*.sh; do
        name=${{script##*/}}
        (. "$script") >"outputs/${{name%.sh}}.out" 2>"errors/${{name%.sh}}.err" </dev/null
    done
    """
    subprocess.run(["bash", "-c", body], cwd=directory, check=False, timeout=PATIENCE)


@pytest.mark.parametrize(("template", "kind"), CONTEXTS.values(), ids=CONTEXTS)
def test_values_in_a_context(tmp_path: Path, dummy: dict[str, Any], template: str, kind: str) -> None:
    path = tmp_path / "own.sh"
    path.write_text(f"exec 3>&1\n{template}\n")
    for name in ("scripts", "outputs", "errors"):
        (tmp_path / name).mkdir()
    before = sorted(one.name for one in tmp_path.iterdir())
    wanted: dict[str, tuple[str, str]] = {}
    for number, (name, value) in enumerate(VALUES.items()):
        output = expected(kind, value)
        one = {**dummy, "dummy.launcher": str(path), "my.x": value}
        if output is None:
            with pytest.raises(LaunchError) as refused:
                make_launcher(one, tmp_path)
            assert re.match(rf"{re.escape(str(path))}:\d+$", refused.value.where), name
            assert refused.value.hint, name
            continue
        source = make_launcher(one, tmp_path).source
        (tmp_path / "scripts" / f"{number}.sh").write_bytes(source.encode("utf-8", "surrogateescape"))
        wanted[str(number)] = (name, output)
    run_all(tmp_path)
    for number, (name, output) in wanted.items():
        printed = (tmp_path / "outputs" / f"{number}.out").read_bytes()
        said = (tmp_path / "errors" / f"{number}.err").read_text(errors="replace")
        assert (printed, said) == (output.encode("utf-8", "surrogateescape"), ""), name
    assert sorted(one.name for one in tmp_path.iterdir()) == before  # nothing of a value ran


# Parts of random scripts; VALUE is where a value is.
PARTS = [
    "show VALUE", "show aVALUE", "x=VALUE", "VALUE", "show 'it'VALUE", ' "', "'", "# it's", "#", ' # "', "\\\n", "\\", "\n", "\n", "; ", " ",
    "`", "$(", ")", "(", "((", "))", "$((1+1))", "${x:-", "${x#", "}", "{", "[[ ", " ]]", "[ ", " ]", "case a in ", " a) ", ";;", " esac ",
    "cat <<E\n", "cat <<'E'\n", "cat <<-E\n", "\nE\n", "\tE\n", "E)", "<<E ", "if true; then ", " fi ", "f() ", "a=(", "a[", "]", "]=", "$",
    "$'", "$x", '$"', "echo ", "true ", "eval ", "declare ", "command ", "export x=", "export ", "printf ", "-v ", "%s ", "for x in ", " do ",
    " done ", "<(", "> /dev/null ", "2>&1 ", "<<< ", "| cat ", "&& ", "!", "@(", "a|b", "-i n", "n=", " =~ ", "$[", "it", "'s", "\t", '"$(',
    ')"', "'$(", "\\'", '\\"', "\\`", "${", "é", "x=$(", "while false; do ",
]  # fmt: skip
LAST = ["", "\n", "'", '"', " # it's", '\n"', ")", ')"', "; esac", "}", "\nE\n", "\nE\nshow VALUE # it's\n"]
RUN_NOTHING = """
PATH=/nonexistent
cat() { local text; IFS= read -r -d "" text; printf %s "$text"; }
show() { if [[ "$*" == *pwned* && "$*" != *"$value"* ]]; then echo "changed: $name"; fi; }
for script in scripts/*; do
    name=${script##*/} value=$(<"values/$name")
    (. "$script") </dev/null 2>/dev/null
    if [ -e pwned ]; then echo "pwned: $name"; command -p rm -f pwned; fi
done | command -p grep -aE '^(pwned|changed): '
"""


@pytest.mark.parametrize("seed", range(5))
def test_values_in_random_scripts_run_nothing_and_are_not_changed(tmp_path: Path, seed: int) -> None:
    random = Random(seed)
    hostile = [
        "'; : >pwned; '",
        "$(: >pwned)",
        "a[$(: >pwned)]",
        "\n: >pwned\n;",
        "\nE\n: >pwned;",
        '"; : >pwned; "',
        "' $(: >pwned) \" `: >pwned`",
    ]
    (tmp_path / "scripts").mkdir()
    (tmp_path / "values").mkdir()
    sources = {}
    for number in range(1500):
        script = "".join(random.choice(PARTS) + random.choice(["", "", " "]) for _ in range(random.randint(2, 14)))
        pieces = f"{script} show VALUE{random.choice(LAST)}".split("VALUE")
        parts = [pieces[0]]
        for piece, place in zip(pieces[1:], places(MARK.join(pieces)), strict=True):
            if place.refused:
                parts[-1] += f"y{piece}"
            else:
                parts.append(piece)
        if len(parts) > 1 and not any(place.refused for place in places(MARK.join(parts))):
            value = random.choice(hostile)
            sources[str(number)] = source = written(parts, [value] * (len(parts) - 1), str)
            (tmp_path / "scripts" / str(number)).write_text(source)
            (tmp_path / "values" / str(number)).write_text(value)
    assert len(sources) > 200
    done = subprocess.run(
        ["bash", "-c", RUN_NOTHING], cwd=tmp_path, capture_output=True, text=True, timeout=PATIENCE, check=False
    )
    assert {line: sources[line.split()[1]] for line in done.stdout.splitlines()} == {}


# Notes what it was called with, and in which environment, as a line of JSON for each call.
SHOWS = f"""#!{sys.executable} -S
import json, os, sys
with open("calls", "a") as calls:
    print(json.dumps([sys.argv[1:], dict(os.environ)]), file=calls)
"""

# What one program can get: every value as an argument of its own, or all of them in one.
LIST = [value for value in VALUES.values() if "\0" not in value and len(value) < 20_000]
JOINED = "".join(value for value in LIST if len(value) < 1000)
VARIABLES = {f"V{number}": value for number, value in enumerate(LIST) if value}

# A launcher of ours: the framework, the parameters that have the values, and the arguments and variables that the program gets.
LAUNCHERS: dict[str, tuple[str, dict[str, Any], list[str], dict[str, str]]] = {
    "an executable": (
        "dummy",
        {f"my.x{number}": value for number, value in enumerate(LIST)},
        [word for number, value in enumerate(LIST) for word in (f"--my_x{number}", value)],
        {},
    ),
    "arguments": ("pytorch", {"pytorch.args": LIST}, LIST, {}),
    "options": (
        "pytorch",
        {"pytorch.options": VARIABLES},
        [f"--{name}={value}" for name, value in VARIABLES.items()],
        {},
    ),
    "runtime.launcher": ("pytorch", {"runtime.launcher": ["env", f"JOINED={JOINED}"]}, [], {"JOINED": JOINED}),
    "variables": ("pytorch", {"pytorch.env": VARIABLES}, [], VARIABLES),
    "variables as directives": ("pytorch", {"pytorch.env": f"export JOINED={shlex.quote(JOINED)}"}, [], {}),
    "runtime.env": ("pytorch", {f"runtime.env.{name}": value for name, value in VARIABLES.items()}, [], VARIABLES),
    "search paths": (
        "pytorch",
        {"pytorch.host_python_path": JOINED, "pytorch.host_libpath": JOINED, "pytorch.bench_path": "/b"},
        [],
        {"PYTHONPATH": f"/b:{JOINED}", "LD_LIBRARY_PATH": JOINED},
    ),
    "train.py": ("train", {"train.args": LIST}, LIST, {}),
    "docker": ("docker", {"exp.docker_args": LIST}, LIST, {}),
    "docker: image": ("docker", {"exp.docker_image": JOINED}, [JOINED], {}),
    "docker: program": ("docker", {"pytorch.args": LIST}, LIST, {}),
    "docker: variables": (
        "docker",
        {"pytorch.env": VARIABLES},
        [word for name, value in VARIABLES.items() for word in ("--env", f"{name}={value}")],
        {},
    ),
    "docker: limits": (
        "docker",
        {"exp.cpus": JOINED},
        ["--cpuset-cpus", JOINED],
        {},
    ),
    "several nodes": ("pytorch", {"pytorch.args": LIST, "exp.num_nodes": 2}, LIST, {}),
    "pack": ("pack", {"pack.argv": LIST}, LIST, {}),
    "pack: options of voir": (
        "pack",
        {"pack.uses_voir": True, "pack.voir_options": ["stop"], "voir.stop": JOINED},
        ["--option", f"stop={JOINED}"],
        {},
    ),
}


def shown(name: str, directory: Path, given: dict[str, Any]) -> subprocess.CompletedProcess[bytes]:
    """Run a launcher of ours with a program that notes what it gets in `calls`."""
    program = directory / "shows"
    program.write_text(SHOWS)
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    base = {**experiment("pytorch" if name in {"docker", "pack"} else name), "runtime.python": str(program)}
    if name == "dummy":
        base["dummy.launcher"] = str(program)
    elif name == "docker":
        base |= {"exp.docker": True, "exp.docker_launcher": str(program)}
    elif name == "pack":
        base |= {
            "exp.framework": "pack",
            "pack.kind": "benchmark",
            "pack.start": False,
            "pack.uses_voir": False,
            "pack.has_voirfile": True,
            "pack.batch": "",
            "pack.argv": [],
            "pack.voir_options": [],
            "pack.dir": str(directory),
            "pack.python": str(program),
            "pack.runner": "/runner",
        }
    (directory / "srun").write_text('#!/bin/sh\nshift\nexec "$@"\n')
    (directory / "scontrol").write_text("#!/bin/sh\necho localhost\n")
    for one in ("srun", "scontrol"):
        (directory / one).chmod(0o755)
    source = make_launcher({**base, **given}, directory).source
    (directory / "run.sh").write_bytes(source.encode("utf-8", "surrogateescape"))
    command = f"ulimit -t {SECONDS}; ulimit -v {MIB << 10}; exec bash run.sh"
    environment = {**os.environ, "PATH": f"{directory}:{os.environ['PATH']}", "SLURM_JOB_ID": "1"}
    environment |= {"SLURM_JOB_NODELIST": "localhost", "PYTHONPATH": "", "LD_LIBRARY_PATH": ""}
    return subprocess.run(
        ["bash", "-c", command], cwd=directory, capture_output=True, timeout=PATIENCE, check=False, env=environment
    )


@pytest.mark.parametrize(("name", "given", "arguments", "variables"), LAUNCHERS.values(), ids=LAUNCHERS)
def test_values_through_a_launcher_of_ours(
    tmp_path: Path, name: str, given: dict[str, Any], arguments: list[str], variables: dict[str, str]
) -> None:
    done = shown(name, tmp_path, given)
    assert done.returncode == 0, done.stderr.decode(errors="replace")[-2000:]
    argv, environment = json.loads((tmp_path / "calls").read_text().splitlines()[-1])
    starts = [start for start in range(len(argv) + 1) if argv[start : start + len(arguments)] == arguments]
    assert starts, argv
    assert {name: environment.get(name) for name in variables} == variables
    lines = map(parse_line, done.stdout.decode().splitlines())
    logged = dict(pair for pair in lines if pair is not None)
    assert {key: logged[key] for key in given} == load_json(json.dumps(given))
    made = {"shows", "srun", "scontrol", "run.sh", "calls"}
    assert {one.name for one in tmp_path.iterdir()} == made


@pytest.mark.parametrize(
    "given",
    [
        {"pytorch.args": ["a\0b"]},
        {"pytorch.options": {"x": "a\0b"}},
        {"runtime.launcher": ["a\0b"]},
        {"pytorch.env": {"V": "a\0b"}},
        {"runtime.env.V": "a\0b"},
        {"pytorch.host_python_path": "a\0b"},
    ],
    ids=lambda given: next(iter(given)),
)
def test_a_nul_character_is_an_error(tmp_path: Path, given: dict[str, Any]) -> None:
    with pytest.raises(LaunchError, match="NUL"):
        shown("pytorch", tmp_path, given)


# Names that no experiment should have: even so the log's parameters cannot be left.
NAMES = [
    "a\nEND_OF_PARAMETERS\ntouch pwned\n",
    "END_OF_PARAMETERS",
    "a\nEND_OF_PARAMETERS",
    "'; touch pwned; '",
    "$(touch pwned)",
]


@pytest.mark.parametrize("name", NAMES, ids=range(len(NAMES)))
def test_parameters_cannot_leave_their_here_document(tmp_path: Path, dummy: dict[str, Any], name: str) -> None:
    source = make_launcher({**dummy, name: 1}, tmp_path).source
    done = subprocess.run(["bash", "-c", source], cwd=tmp_path, capture_output=True, timeout=PATIENCE, check=False)
    assert (done.returncode, done.stderr) == (0, b"")
    assert f"__{name}__= 1\n" in done.stdout.decode()
    assert list(tmp_path.iterdir()) == []


# Templates that are malformed in ways of their own, and what the error says.
TEMPLATES = {
    '{% include "own.sh" %}': "must not include or extend itself",
    '{% extends "own.sh" %}': "must not include or extend itself",
    '{% include "missing.sh" %}': "missing.sh",
    '{% include "/etc/passwd" %}': "/etc/passwd",
    '{% include "../../../../../../etc/passwd" %}': "etc/passwd",
    "{% for %}": "malformed template",
    "{{ my.nothing }}": "my.nothing",
    "{{ my.x.__class__ }}": "unsafe",
    "{{ ''.__class__.__mro__ }}": "unsafe",
    "{{ cycler.__init__.__globals__ }}": "unsafe",
    "{{ 1 / 0 }}": "ZeroDivisionError",
    "{{ range(10**9) | list }}": "cannot be rendered",
    "{{ my.x | nothing }}": "malformed template",
    "{{ my.x | words }}": "No closing quotation",
    "$(" * 100 + "{{ my.x }}": "not closed",
    "$((" * 100 + "{{ my.x }}": "arithmetic",
    '"$(' * 100 + "{{ my.x }}": "not closed",
    "${x:-" * 100 + "{{ my.x }}": "behind '${x'",
    "a[" * 5_000 + "{{ my.x }}": "not closed",
    "[[ " + '"$a"' * 3_000 + "{{ my.x }}": "behind",
    "[[ " + "${$a" * 3_000 + "{{ my.x }}": "behind",
    '"' + "$ab" * 3_000 + "{{ my.x }}": "not closed",
    "$(" * 20_000 + "{{ my.x }}": "nested",
    "(" * 5_000 + "{{ my.x }}" + ")" * 5_000: "arithmetic",
    "'" * 10_001 + "{{ my.x }}": "not closed",
    "{% filter upper %}{{ my.x }}{% endfilter %}": "",
    "{% filter truncate(20, True) %}{{ my.x }}{{ my.x }}{% endfilter %}": "damaged",
    "\U000f0000 {{ my.x }}": "U+F0000",
}


@pytest.mark.parametrize(("template", "message"), TEMPLATES.items(), ids=[name[:40] for name in TEMPLATES])
def test_a_template_that_cannot_be_rendered_is_one_clear_error(
    tmp_path: Path, dummy: dict[str, Any], template: str, message: str
) -> None:
    path = tmp_path / "own.sh"
    path.write_text(template)
    one = {**dummy, "dummy.launcher": str(path), "my.x": "a'b"}
    if not message:
        make_launcher(one, tmp_path)
        return
    with pytest.raises(LaunchError) as caught:
        make_launcher(one, tmp_path)
    assert message in str(caught.value)
    assert str(path) in caught.value.where
