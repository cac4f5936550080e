"""`$(...)$`: what is allowed gives its value, what is not is refused quickly."""

from __future__ import annotations

import re
import time
from typing import Any

import pytest

from dlbs.core.errors import DlbsError, ExpressionError
from dlbs.plan.compile import Processor

VALUES = {"n": 4, "x": 2.5, "yes": True, "name": "alexnet", "items": [3, 1, 2], "table": {"a": 1}, "none": None}


def evaluate(expression: str, **values: Any) -> Any:
    return Processor(environ={"HOME": "/home/me"}).resolve({**VALUES, **values, "result": expression})["result"]


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        ("$(1 + 2 * 3)$", 7),
        ("$(7 // 2 - 1)$", 2),
        ("$(2 ** 10)$", 1024),
        ("$(-${n} % 3)$", 2),
        ("$(${n} << 2)$", 16),
        ("$(${x} * 2)$", 5.0),
        ("$(1 < ${n} <= 4)$", True),
        ("$(${yes} and not ${none})$", True),
        ("$(${yes} is True)$", True),
        ("$('a' if ${n} > 3 else 'b')$", "a"),
        ("$('net' in '${name}')$", True),
        ("$('${name}'[:4])$", "alex"),
        ("$(${items}[-1])$", 2),
        ("$(${table}['a'])$", 1),
        ("$([i * 2 for i in ${items} if i > 1])$", [6, 4]),
        ("$({str(k): v for k, v in zip(['a', 'b'], [1, 2])})$", {"a": 1, "b": 2}),
        ("$((1, 2))$", [1, 2]),
        ("$({3, 1})$", [1, 3]),
        ("$(sorted(${items}, reverse=True))$", [3, 2, 1]),
        ("$(sum(i for i in ${items}))$", 6),
        ("$(max(${items}) + min(1, 2) + abs(-1) + round(2.6))$", 8),
        ("$(len('${name}') + len(${items}))$", 10),
        ("$(int('12') + float('0.5'))$", 12.5),
        ("$('${name}'.upper().replace('EX', '-'))$", "AL-NET"),
        ("$('a,b'.split(','))$", ["a", "b"]),
        ("$('-'.join(['a', 1]))$", "a-1"),
        ("$('%s-%03d' % ('${name}', ${n}))$", "alexnet-004"),
        ("$(re.sub('[aeiou]', '', '${name}'))$", "lxnt"),
        ("$(re.match('(.+)net', '${name}').group(1))$", "alex"),
        ("$(re.findall('[0-9]+', '0:1,2:3'))$", ["0", "1", "2", "3"]),
        ("$(json.loads('[1, 2]'))$", [1, 2]),
        ("$(json.dumps(${table}))$", '{"a": 1}'),
        ("$(env('HOME') + env('NOPE', '!'))$", "/home/me!"),
        ("$(os.path.basename('/a/b.log'))$", "b.log"),
        ("$(list(range(3)))$", [0, 1, 2]),
        ("$('${none}')$", ""),
        ("$('${yes}')$", "true"),
        ("$('${items}')$", "3 1 2"),
        ("$('prefix ${name} and ${n}')$", "prefix alexnet and 4"),
        ("$(re.sub('(e)$', 'x', 'apple'))$", "applx"),
    ],
)
def test_value(expression: str, expected: Any) -> None:
    assert evaluate(expression) == expected


def test_cpu_count_is_a_positive_number() -> None:
    assert evaluate("$(cpu_count())$") >= 1


def test_uuid4_is_new_for_each_experiment() -> None:
    processor = Processor(environ={})
    ids = {processor.resolve({"id": "$(uuid4())$", "copy": "${id}"})["copy"] for _ in range(5)}
    assert len(ids) == 5


REFUSED = [
    "().__class__",
    "().__class__.__bases__[0].__subclasses__()",
    "'{0.__class__}'.format(1)",
    "'{}'.format_map({'a': 1})",
    "getattr('', 'upper')",
    "__import__('os')",
    "eval('1')",
    "exec('1')",
    "open('/etc/passwd')",
    "globals()",
    "vars()",
    "type('')",
    "print(1)",
    "os.system('true')",
    "os.environ",
    "re.compile('a')",
    "json.loads.__globals__",
    "lambda: 1",
    "[x := 1]",
    "f'{1}'",
    "b'bytes'",
    "[*range(10)]",
    "{**{}}",
    "len",
    "undefined",
    "exp.model",
    "''.translate({})",
    "''.encode()",
    "'a'.__add__('b')",
    "[].append(1)",
    "(x for x in [1]).gi_frame",
    "(yield)",
    "...",
    "1j",
    "sorted([1], key=len)",
    "json.dumps(1, default=len)",
    "max(*[1, 2])",
    "[__a for __a in [1]]",
]


@pytest.mark.parametrize("expression", REFUSED)
def test_what_is_not_on_the_list_is_refused(expression: str) -> None:
    with pytest.raises(ExpressionError):
        evaluate(f"$({expression})$")


BOUNDED = [
    "9**9**9",
    "2**100000",
    "(10**1000)**1000",
    "1 << 10**9",
    "'a' * 10**9",
    "[0] * 10**9",
    "10**9 * 'a'",
    "(('a' * 100000) * 100000)",
    "'%999999999d' % 1",
    "'%*d' % (999999999, 1)",
    "'a'.zfill(10**9)",
    "'a'.ljust(10**9)",
    "'a'.center(10**9, 'b')",
    "list(range(10**12))",
    "sum(range(10**9))",
    "[[1 for x in range(10000)] for y in range(10000)]",
    "[1 for a in range(1000) for b in range(1000) for c in range(1000)]",
    "len([x for x in range(99999) for y in range(99999)])",
    "['a' * 9999 for x in range(99999)]",
    "('a' * 9999).replace('a', 'b' * 9999)",
    "('a' * 9999).join(['b'] * 9999)",
    "re.sub('a', 'b' * 5000, 'a' * 5000)",
    "round(1, -10**9)",
    "int('9' * 100000)",
    "json.loads('[' * 100000)",
    "(" * 300 + ")" * 300,
    "not " * 5000 + "1",
    "1" + "+1" * 6000,
    "-" * 9000 + "1",
]


@pytest.mark.parametrize("expression", BOUNDED, ids=lambda text: text[:40])
def test_work_is_bounded(expression: str) -> None:
    start = time.process_time()
    with pytest.raises(ExpressionError):
        evaluate(f"$({expression})$")
    assert time.process_time() - start < 5  # unbounded would be hours; this allows for a slow machine


def test_text_cannot_grow_by_doubling_through_parameters() -> None:
    chain = {f"p{i}": f"${{p{i - 1}}}${{p{i - 1}}}" for i in range(1, 60)}
    with pytest.raises(ExpressionError, match="larger than"):
        Processor(environ={}).resolve({"p0": "x" * 100, **chain})


def test_lists_cannot_grow_by_doubling_through_parameters() -> None:
    chain = {f"p{i}": [f"${{p{i - 1}}}", f"${{p{i - 1}}}"] for i in range(1, 60)}
    with pytest.raises(ExpressionError, match="larger than"):
        Processor(environ={}).resolve({"p0": "x", **chain})


@pytest.mark.parametrize("expression", ["[${big} for x in range(1000)]", "[${big}] * 1000", "${big} * 100"])
def test_one_reference_cannot_be_multiplied_without_bound(expression: str) -> None:
    for processor in (Processor(environ={}), Processor(environ={}, varying=["n"])):
        for n in (1, 2):
            with pytest.raises(ExpressionError):
                processor.resolve({"n": n, "big": "x" * 100_000, "result": f"$({expression})$", "of": "${n}"})


def test_doubling_is_refused_in_compiled_experiments_too() -> None:
    chain = {f"p{i}": f"${{p{i - 1}}}${{p{i - 1}}}" for i in range(1, 16)}
    processor = Processor(environ={}, varying=["p0"])
    for size in (1, 2, 3):
        assert len(processor.resolve({"p0": "x" * size, **chain})["p15"]) == size * 2**15
    with pytest.raises(ExpressionError, match="larger than"):
        processor.resolve({"p0": "x" * 1000, **chain})


@pytest.mark.parametrize(
    ("expression", "said"),
    [
        ("$(1 +)$", "invalid syntax"),
        ("$(1 / 0)$", "ZeroDivisionError"),
        ("$('a' + 1)$", "TypeError"),
        ("$(${items}[9])$", "IndexError"),
        ("$(lenn('a'))$", "did you mean 'len'"),
        ("$(exp.model)$", "${exp.model}"),
        ("$('a'.uper())$", "did you mean 'upper'"),
        ("$(env('NOT_SET'))$", "NOT_SET"),
        ("$(re.match('a', 'b').group())$", "NoneType"),
        ("$(re.match('a', 'a'))$", "not data"),
        ("$(re.sub('(', '', 'a'))$", "bad regular expression"),
    ],
)
def test_errors_say_what_is_wrong(expression: str, said: str) -> None:
    with pytest.raises(ExpressionError) as raised:
        evaluate(expression)
    assert said in str(raised.value)
    assert raised.value.where == "result"


@pytest.mark.parametrize(
    "hostile", ["'", '"', "') or ('", "\\", "\n", "x' * 10**9 #", "${n}", "$(1)$", "ünï", "a)$b", "\u2028"]
)
def test_a_value_cannot_change_an_expression(hostile: str) -> None:
    processor = Processor(environ={"V": hostile})
    resolved = processor.resolve({"a": "$('[' + '${V}' + ']')$", "b": "$(${V})$", "c": "x${V}y", "d": "$('<${V}>')$"})
    assert resolved == {"a": f"[{hostile}]", "b": hostile, "c": f"x{hostile}y", "d": f"<{hostile}>"}


@pytest.mark.parametrize(
    ("variable", "expression", "expected"),
    [
        ("4", "$(${V} * 2)$", 8),
        ("1e-3", "$(${V} * 2)$", 0.002),
        ("true", "$(not ${V})$", False),
        ("4", "$('${V}' * 2)$", "44"),
        ("4", "${V}", 4),
        ("3.10", "${V}", "3.10"),
        ("3.10", "x${V}", "x3.10"),
        ("abc", "${V}", "abc"),
        ("[1, 2]", "$(${V}[1])$", 2),
    ],
)
def test_environment_variables_are_typed_where_they_stand_bare(variable: str, expression: str, expected: Any) -> None:
    processor = Processor(environ={"V": variable}, varying=["n"])
    for n in range(3):
        resolved = processor.resolve({"n": n, "a": expression, "b": f"{expression}-${{n}}"})
        assert repr(resolved["a"]) == repr(expected)


@pytest.mark.parametrize("expression", ["$(${n} * ${word})$", "$(${word} * 2)$", "$(2 * ${V})$"])
def test_a_bare_text_is_not_multiplied(expression: str) -> None:
    with pytest.raises(ExpressionError, match=r"write int\(\$\{(word|V)\}\)"):
        Processor(environ={"V": "abc"}).resolve({"n": 4, "word": "4", "result": expression})


@pytest.mark.parametrize(
    "expression",
    [
        "$(${n}.real)$",
        "$(${n}())$",
        "$(${n}.foo(1))$",
        "$([1 for ${n} in [1]])$",
        "$(re.sub('a'))$",
        "$('a'.join())$",
        "$(max(i for i in 3))$",
        "${modle} ${__identity__}",
        "$(${n}[0])$",
    ],
)
def test_errors_have_no_internal_names(expression: str) -> None:
    with pytest.raises(DlbsError) as raised:
        Processor(environ={}).resolve({"n": 4, "__hidden.model": 1, "result": expression})
    said = str(raised.value).replace(expression, "")
    assert not re.search(r"\bref\d+x|\b[vtuf]_|call_method|<locals>|op_|__hidden", said), said
