r"""Texts of parameters that try to run for ever or to fill the memory, and plain ones that must go on working.

Each case is a line: what is written, and what it gives: `REFUSED`, or the value. Each runs in a child process that is killed after
10 s of CPU time or when it asks for 700 MiB more (`BOUNDS`); nothing here needs a tenth of either but where the backstop ends it.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.adversarial.bounded import Ask, children
from tests.conftest import RunDlbs

SECONDS, MIB = 10, 700
REFUSED = object()
ANYTHING = object()  # a value, whatever it is

PROGRAM = """
from dlbs.language import limits
from dlbs.plan.compile import Processor
from tests.adversarial.bounded import serve
import re2, psutil

OTHERS = {
    "big": "x" * 900_000,
    "words": ["word"] * 50_000,
    "a": "x",
    "x": "y",
    "n": 4,
    "digits": "9" * 3000,
    "name": "alexnet",
}

def work(given):
    limits.MAX_SECONDS = given.pop("backstop", limits.MAX_SECONDS)
    return str(Processor(environ={"HOME": "/h"}).resolve({**OTHERS, **given})["result"])[:200]

serve(work)
"""


@pytest.fixture(scope="module")
def evaluate() -> Iterator[Ask]:
    """Resolve `result` beside the parameters of `PROGRAM`, in a child process; the answer has `kind`, `output` or `error`, and `seconds`."""
    with children(PROGRAM, SECONDS, MIB) as ask:
        yield ask


def nested(opening: str, inside: str, closing: str, depth: int) -> str:
    return opening * depth + inside + closing * depth


SYNTAX = [
    (nested("${", "a", "}", 30), REFUSED),
    (nested("${", "a", "}", 10_000), REFUSED),
    ("${" * 100_000, REFUSED),
    ("$<" * 50_000 + "a", REFUSED),
    ("${${a}}", "y"),
    ("\\" * 200_000, "\\" * 200),
    ("\\" * 200_000 + "$x", "\\" * 200),
    ("\\" * 200_000 + "${a}", "\\" * 200),
    ("\\" * 200_001 + "${a}", "\\" * 200),
    ("$(" * 50_000, "$(" * 100),
    ("$(" * 50_000 + ")$", REFUSED),
    ("$(1)$" * 5_000, "1" * 200),
    ("$(1)$ ref" * 5_000, ANYTHING),
    ("ref" + "q" * 200_000 + "$(1)$", "ref" + "q" * 197),
    ("refq" * 50_000 + "$(${n})$", ANYTHING),
    ("$('ref0x' + '${name}')$", "ref0xalexnet"),
    ("$(" + ")$" * 100_000, ")$" * 100),  # the empty tuple, and text
    ("$(" + "1 + " * 50_000 + "1)$", REFUSED),
    ("${a}" * 20_000, "x" * 200),
    ("${big}${big}", REFUSED),
    ("${big}" * 50, REFUSED),
    ("{" * 200_000, "{" * 200),
    ("a$b" * 100_000, ANYTHING),
    ("$(" + "'" * 9_999 + ")$", REFUSED),
    ("$('" + "\\" * 9_000 + "')$", ANYTHING),
    ("$(" + "\n" * 9_000 + "1)$", "1"),
    ("$('\u2028')$", "\u2028"),
    ("$(0x" + "f" * 9_000 + ")$", REFUSED),
    ("$(1e999)$", "inf"),
    ("$(" + "9" * 5_000 + ")$", REFUSED),
]

NESTING = [
    ("$(" + nested("(", "1", ")", 500) + ")$", REFUSED),
    ("$(" + nested("[", "1", "]", 150) + ")$", REFUSED),
    ("$(" + nested("{1:", "1", "}", 150) + ")$", REFUSED),
    ("$(" + "{" * 190 + ")$", REFUSED),
    ("$(" + "f(" * 190 + ")$", REFUSED),
    ("$(" + "not " * 2_000 + "1)$", REFUSED),
    ("$(" + "-" * 9_000 + "1)$", REFUSED),
    ("$(" + "1 if 1 else " * 500 + "1)$", REFUSED),
    ("$('a'" + ".upper()" * 500 + ")$", REFUSED),
    ("$([" + "1," * 4_000 + "])$", ANYTHING),
    ("$(1" + "+1" * 100 + ")$", "101"),
    ("$(" + "1 < " * 2_000 + "1)$", "False"),
    ("$([1 " + "for x in [1] " * 40 + "])$", REFUSED),
    ("$(" + nested("[x for x in ", "[1]", "]", 20) + ")$", REFUSED),
    ("$([a + b + c for a in [1] for b in [2] for c in [3]])$", "[6]"),
    ("$(json.loads('[' * 5000 + ']' * 5000))$", REFUSED),
    ("$(json.loads('[' * 300 + ']' * 300))$", REFUSED),
    ("$(json.loads('[[[]]]'))$", "[[[]]]"),
]

OPERATORS = [
    ("$(9**9**9)$", REFUSED),
    ("$(2**-10**9)$", REFUSED),
    ("$(1 << 10**12)$", REFUSED),
    ("$(10**3000 * 10**3000)$", REFUSED),
    ("$('a' * 10**12)$", REFUSED),
    ("$([0] * 10**9)$", REFUSED),
    ("$([[0] * 1000] * 1000)$", REFUSED),
    ("$('%999s' * 700 % (1,))$", REFUSED),
    ("$('%999s' * 3000 % tuple([1] * 3000))$", REFUSED),
    ("$(len('%999s' * 9000 % tuple(['a'] * 9000)))$", REFUSED),
    ("$('%.999f' % 1)$", ANYTHING),
    ("$('%9999999d' % 1)$", REFUSED),
    ("$('%*d' % (999999999, 1))$", REFUSED),
    ("$('%s' % '${name}')$", "alexnet"),
    ("$('%s-%03d' % ('${name}', ${n}))$", "alexnet-004"),
    ("$([${big} == '${big}' + '' for i in range(100000)][0])$", REFUSED),
    ("$(len([1 for i in range(500000) if int('${digits}') // 7 > 1]))$", REFUSED),
    ("$(sum([int('${digits}') // (3 + i) for i in range(300000)]))$", REFUSED),
    ("$([x in ${words} for x in range(50000)][0])$", REFUSED),
    ("$([i for i in range(100000) if 'nope' in '${big}'])$", REFUSED),
    ("$([${words} == ${words}[:] for i in range(10000)][0])$", REFUSED),
    ("$(len([${words} < ${words}[:] for i in range(10000)]))$", REFUSED),
    ("$([" + "'${big}'[1:]," * 500 + "][0][0])$", REFUSED),
    ("$(len([" + "'${big}' + '${a}'," * 300 + "]))$", REFUSED),
    ("$(len(set(range(90000)) | set(range(90000, 180000))))$", "180000"),
    ("$([set(${words}) | {i} for i in range(100000)])$", REFUSED),
    ("$([a - b for a in range(2000) for b in range(2000)])$", REFUSED),
    ("$([{i: {i: i}} for i in range(10**6)])$", REFUSED),
    ("$(len([[" + "0, " * 2000 + "] for i in range(10**6)]))$", REFUSED),
    ("$(len([[] for i in range(1000000)]))$", ANYTHING),
    ("$(len([" + "0 or " * 1500 + "1 for i in range(900000)]))$", REFUSED),
    ("$(${big} * 2)$", REFUSED),
    ("$(-7 // 2)$", "-4"),
    ("$(7 % 4 - 1.5)$", "1.5"),
    ("$({1, 2} & {2, 3})$", "[2]"),
    ("$([i for i in range(1000) if i in [3, 5]])$", "[3, 5]"),
    ("$(3 in (1, 2, 3) and 'x' not in '${name}'[:3])$", "True"),
    ("$(sum([i * i for i in range(100000)]))$", "333328333350000"),
]

P = "(2**61 - 1)"  # numbers that are its multiples have one hash
LONG = "'a' * 500000"

# One call of Python's own code that would take minutes or hours, and that no signal interrupts.
SINGLE_CALLS = [
    *(
        (f"$(len({expression}))$", REFUSED)
        for expression in (
            f"set([i * {P} for i in range(100000)])",
            f"set(i * {P} for i in range(100000))",
            f"{{i * {P} for i in range(100000)}}",
            f"{{i * {P}: 1 for i in range(100000)}}",
            f"dict([(i * {P}, 1) for i in range(100000)])",
            f"dict(zip([i * {P} for i in range(100000)], range(100000)))",
            f"set([(i * {P},) for i in range(50000)])",
            f"set([((i * {P}, 0), 1) for i in range(50000)])",
            f"set([-i * {P} for i in range(100000)])",
            "set([tuple([-1 - (i // 2**j % 2) for j in range(17)]) for i in range(60000)])",
            f"set([0]).union([i * {P} for i in range(100000)])",
            f"set([0]).difference([i * {P} for i in range(100000)])",
            f"[1 for i in range(3) if set([0]).isdisjoint([i * {P} for i in range(100000)])]",
            f"({LONG}).rsplit('ab' + {LONG})",
            f"({LONG}).rpartition('ab' + 'a' * 250000)",
            f"({LONG}).strip('b' * 500000 + 'a')",
            f"({LONG}).lstrip('b' * 500000 + 'a')",
            f"({LONG}).rstrip('b' * 500000 + 'a')",
            "{((0,) * 100000,) * 1000000}",
            "{((0,) * 100000,) * 1000000: 1}",
            "json.dumps([[0] * 100000] * 1000000)",
            f"set([(tuple([0] * 300), i * {P}) for i in range(1000)])",
            "'%d' * 18000 % tuple([1 << 9990] * 18000)",
            "','.join([1 << 9990] * 1000000)",
        )
    ),
    ("$(('a' * 1000000).rfind('ab' + 'a' * 500000))$", REFUSED),
    ("$(len(('1' * 5000 + '%s') % 1))$", "5001"),
    ("$(('a' * 1000000).rindex('ab' + 'a' * 500000))$", REFUSED),
    ("$([[0] * 100000 + [1]] * 1000000 == [[0] * 100000 + [2]] * 1000000)$", REFUSED),
    ("$(([0] * 100000 + [1]) in [[0] * 100000 + [2]] * 1000000)$", REFUSED),
    ("$(('a' * 999999 + 'b') not in ['a' * 999999 + 'c'] * 1000000)$", REFUSED),
    ("$({1: 2}.get(((0,) * 100000,) * 1000000))$", REFUSED),
    ("$({1: 2}[((0,) * 100000,) * 1000000])$", REFUSED),
    ("$(sorted([[0] * 1000 + [i] for i in range(2000)]))$", REFUSED),
    ("$(max([[0] * 100000] * 1000000))$", REFUSED),
    ("$(int('z' * 5000, 36))$", REFUSED),
    ("$(float('1' * 1000000))$", "inf"),
    ("$(('a' * 1000000).find('a' * 500000 + 'b'))$", "-1"),
    ("$(('a' * 1000000).count('a' * 500000 + 'b'))$", "0"),
    ("$(len(set(['${name}'] * 100000 + [2**70] * 50000 + [(1, 2)] * 50000)))$", "3"),
    ("$(len({i: i for i in range(50000)}))$", "50000"),
    ("$('/a/b/'.strip('/').rsplit('/', 1))$", ANYTHING),
]

FUNCTIONS = [
    ("$(sum(range(10**12)))$", REFUSED),
    ("$(sum([[0]] * 3000, []))$", REFUSED),
    ("$(sum(int('${digits}') for i in range(1000000)))$", REFUSED),
    ("$(max([${words}] * 3000))$", REFUSED),
    ("$([max(${words}) for i in range(5000)][0])$", REFUSED),
    ("$([sorted(${words}) for i in range(5000)][0])$", REFUSED),
    ("$(sorted(range(10**9)))$", REFUSED),
    ("$(list(zip(range(10**7), range(10**7))))$", REFUSED),
    ("$(len(str([${big}] * 5000)))$", REFUSED),
    ("$(str([[[${big}] * 100] * 100] * 100))$", REFUSED),
    ("$('<' + str(['${big}', '${big}', '${big}', '${big}']) + '>')$", REFUSED),
    ("$(json.dumps([${big}] * 5000))$", REFUSED),
    ("$(int('9' * 100000))$", REFUSED),
    ("$(int('z' * 4000, 36))$", REFUSED),
    ("$(len([int('${digits}') for i in range(900000)]))$", REFUSED),
    ("$([os.path.exists('/') for i in range(10**6)])$", REFUSED),
    ("$([docker_available() for i in range(1000)])$", REFUSED),
    ("$([uuid4() for i in range(900000)])$", REFUSED),
    ("$(round(1, -10**9))$", REFUSED),
    ("$(float('1' * 900000))$", "inf"),
    ("$(os.path.join(*['a']))$", REFUSED),
    ("$(os.path.join('${big}', '${big}', '${big}', '${big}'))$", REFUSED),
    ("$(dict(zip(range(10**6), range(10**6))))$", REFUSED),
    ("$(max(3, 1) + min([2, 4]))$", "5"),
    ("$(sum([1, 2], 3))$", "6"),
    ("$(len(list(range(100000))))$", "100000"),
    ("$(sorted(['b', 'a'])[0] + str([1, 'x']))$", "a1 x"),
    ("$(all([]) and any([0, 1]))$", "True"),
]

METHODS = [
    ("$('a'.zfill(10**9))$", REFUSED),
    ("$('a'.center(10**9))$", REFUSED),
    ("$(('a' * 9999).replace('a', 'b' * 9999))$", REFUSED),
    ("$('${big}'.replace('', '${big}'))$", REFUSED),
    ("$(('a' * 9999).join(['b'] * 9999))$", REFUSED),
    ("$(','.join([${big}] * 100))$", REFUSED),
    ("$(['${big}'.count('xx') for i in range(100000)][0])$", REFUSED),
    ("$(['${big}'.startswith(tuple(${words})) for i in range(100000)][0])$", REFUSED),
    ("$('${big}'.startswith(tuple(['x' * 1000 + 'y'] * 300)))$", "False"),
    ("$(['${big}'.upper() for i in range(10000)][0])$", REFUSED),
    ("$([${words}.count('nope') for i in range(10000)][0])$", REFUSED),
    ("$(['${big}'.find('x' * 1000 + 'y') for i in range(1000)][0])$", REFUSED),
    ("$(len([x.split('o') for x in ${words} for i in range(50)]))$", REFUSED),
    ("$('{0.__class__}'.format(1))$", REFUSED),
    ("$('a,b'.split(',')[1].upper())$", "B"),
    ("$('${name}'.replace('alex', 'res').ljust(8, '-'))$", "resnet--"),
    ("$({'a': 1}.get('b', 2))$", "2"),
]

PATTERNS = [
    ("$(re.match('(a+)+$', 'a' * 5000 + 'b'))$", "None"),
    ("$(bool(re.match('(a+)+$', 'a' * 5000 + 'b')))$", "False"),
    ("$(bool(re.match('(a|a)*$', 'a' * 50000 + 'b')))$", "False"),
    ("$(bool(re.search('(.*)(.*)(.*)(.*)(.*)x', '${big}')))$", "True"),
    ("$(bool(re.search('(x+x+)+y', '${big}')))$", "False"),
    ("$(re.sub('x', 'y' * 5000, '${big}'))$", REFUSED),
    (r"$(re.sub('(x*)', '\\1\\1\\1', '${big}'))$", REFUSED),
    ("$(len(re.findall('', '${big}')))$", REFUSED),
    ("$(re.match('((a{100}){100}){100}', 'a'))$", REFUSED),
    ("$(bool(re.match('(((a?){30}){30})', 'a')))$", "True"),
    ("$(bool(re.search('((x?){20}y?){20}(x)?z', '${big}')))$", REFUSED),
    ("$([re.search('(x?){500}z', '${big}') for i in range(100)])$", REFUSED),
    ("$(re.match('a' * 2000, 'a'))$", REFUSED),
    ("$(re.match('[' * 500, 'a'))$", REFUSED),
    ("$(re.match('(' * 500 + ')' * 500, 'a'))$", REFUSED),
    (r"$(re.match('(a)\\1', 'aa'))$", REFUSED),
    ("$(re.match('(?=a)', 'aa'))$", REFUSED),
    (r"$(re.sub('(?P<n>[a-z]+)net', '\\g<n>-\\1', '${name}'))$", "alex-alex"),
    ("$(re.findall('[0-9]+', '0:1,2:3'))$", "['0', '1', '2', '3']"),
    ("$(re.split('[,:]', '0:1,2'))$", "['0', '1', '2']"),
    ("$(re.fullmatch('(.+)net', '${name}').group(1))$", "alex"),
]

CASES = {
    "syntax": SYNTAX,
    "nesting": NESTING,
    "operators": OPERATORS,
    "single calls": SINGLE_CALLS,
    "functions": FUNCTIONS,
    "methods": METHODS,
    "patterns": PATTERNS,
}


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        pytest.param(written, expected, id=f"{surface}-{written[:40].encode('unicode_escape').decode()}-{len(written)}")
        for surface, cases in CASES.items()
        for written, expected in cases
    ],
)
def test_text(evaluate: Ask, written: str, expected: Any) -> None:
    answer = evaluate({"result": written})
    if expected is REFUSED:
        assert answer["kind"] == "refused", answer
    else:
        assert answer["kind"] == "ok", answer
        assert expected is ANYTHING or answer["output"] == expected[:200]


def test_the_backstop_ends_work_that_the_meter_does_not_see(evaluate: Ask) -> None:
    """A search that reads the text to its end from each of its characters, stopped after 0.5 s of CPU time instead of 5 s."""
    written = "$(len(re.findall('x*y|x', '${big}')))$"
    answer = evaluate({"result": written, "backstop": 0.5})
    assert answer["kind"] == "refused", answer
    assert "s of CPU time" in answer["error"], answer


def deep(depth: int) -> Any:
    value: Any = "x"
    for _ in range(depth):
        value = [value]
    return value


VALUES = [
    (deep(90), ANYTHING),
    (deep(150), REFUSED),
    (deep(400), REFUSED),
    ({"k": deep(150)}, REFUSED),
    (["${big}"] * 5, REFUSED),
    (["${a}"] * 5_000, ANYTHING),
    ([["x"] * 1000] * 500, ANYTHING),
    (["x"] * 1_100_000, REFUSED),
    ({"k": "${big}${big}"}, REFUSED),
    ("x" * 5_000_000, ANYTHING),
]


@pytest.mark.parametrize(("value", "expected"), VALUES, ids=range(len(VALUES)))
def test_value(evaluate: Ask, value: Any, expected: Any) -> None:
    answer = evaluate({"result": value})
    assert answer["kind"] == ("refused" if expected is REFUSED else "ok"), answer


CHAINS = [
    ({f"p{i}": f"${{p{i - 1}}}${{p{i - 1}}}" for i in range(1, 60)}, "p59"),
    ({f"p{i}": [f"${{p{i - 1}}}", f"${{p{i - 1}}}"] for i in range(1, 60)}, "p59"),
    ({f"p{i}": [f"${{p{i - 1}}}"] for i in range(1, 5000)}, "p4999"),
    ({f"p{i}": f"$([${{p{i - 1}}}] * 2)$" for i in range(1, 60)}, "p59"),
]


@pytest.mark.parametrize(("chain", "last"), CHAINS, ids=range(len(CHAINS)))
def test_growth_through_a_chain_of_parameters_is_refused(evaluate: Ask, chain: dict[str, Any], last: str) -> None:
    answer = evaluate({"p0": "xx", **chain, "result": f"${{{last}}}"})
    assert answer["kind"] == "refused", answer


def test_there_are_enough_cases() -> None:
    assert sum(map(len, CASES.values())) + len(VALUES) + len(CHAINS) >= 150


WRITTEN = [
    ["-Pmy.a=" + "[" * 400 + "]" * 400],
    ["-Pmy.a=" + "[" * 50_000 + "]" * 50_000],  # no JSON for Python, so a text
    ["-Pmy.a=" + "9" * 5_000],
    ["-Vmy.a=[" + "[" * 400 + "]" * 400 + "]"],
    ['-E{"parameters": {"my.a": ' + "[" * 50_000 + "]" * 50_000 + "}}"],
    ['-E{"parameters": {"my.a": ' + "[" * 400 + "]" * 400 + "}}"],
    ['-E{"parameters": {"my.a": ' + "9" * 5_000 + "}}"],
    ["-Pmy.a=${" * 30 + "x" + "}" * 30],
    ["-Pmy.a=$([i for i in range(10**9)])$"],
]


@pytest.mark.parametrize("flags", WRITTEN, ids=range(len(WRITTEN)))
@pytest.mark.parametrize(
    "verb", [["build", "--resolve"], ["print-config"], ["explain", "my.a"]], ids=lambda verb: verb[0]
)
def test_command_line(dlbs: RunDlbs, verb: list[str], flags: list[str]) -> None:
    done = dlbs(verb[0], *flags, *verb[1:])
    assert done.returncode in (0, 2), done.stderr[-500:]
    assert "Traceback" not in done.stderr
    assert done.returncode == 0 or "error: " in done.stderr


@pytest.mark.parametrize("value", ["[" * 400 + "]" * 400, "[" * 50_000 + "]" * 50_000, "9" * 5_000], ids=range(3))
def test_plan(dlbs: RunDlbs, tmp_path: Path, value: str) -> None:
    (tmp_path / "plan.jsonl").write_text('{"exp.framework": "dummy", "my.a": ' + value + "}\n")
    done = dlbs("validate", "--plan", "plan.jsonl")
    assert done.returncode != 0
    assert "Traceback" not in done.stderr
    assert "error: " in done.stderr
