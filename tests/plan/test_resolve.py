"""Resolving: the same result by every way, precise errors, identity."""

from __future__ import annotations

import random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dlbs.config.declarations import Parameter
from dlbs.core.errors import DlbsError, ExpressionError, ResolveError
from dlbs.core.experiment import Experiment
from dlbs.language.template import escape
from dlbs.plan.compile import Processor

# Random experiments: constants, and values that refer to names defined before them (so that there is no cycle).

constants = st.sampled_from(
    [0, 1, 1.0, True, False, None, "", "x", "a b", "1", "$", "é'\"\n", [1, "x"], {"k": [True]}, -0.0, 0.0]
)


@st.composite
def experiments(draw: st.DrawFn) -> Experiment:
    made: Experiment = {}
    for number in range(draw(st.integers(1, 8))):
        name = f"n{number}"
        if not made or draw(st.booleans()):
            made[name] = escape(draw(constants))
            continue
        known = st.sampled_from(sorted(made))
        first, second = draw(known), draw(known)
        made[name] = draw(
            st.sampled_from(
                [
                    f"${{{first}}}",
                    f"<$<{first}>-${{{second}}}>",
                    f"$('${{{first}}}' + '${{{second}}}')$",
                    f"$([${{{first}}}, ${{{second}}}])$",
                    f"$(${{{first}}} if ${{{second}}} else '${{{first}}}')$",
                    f"$(str(${{{first}}}).upper())$",
                    [f"${{{first}}}", f"x${{{second}}}"],
                    {"k": f"${{{first}}}"},
                    {"k": f"$(str(${{{first}}}) + 'x')$", "l": [f"${{{second}}}"]},
                    f"$(str(${{{first}}}).upper())$: $(len(str(${{{second}}})))$, ${{{first}}}",
                ]
            )
        )
    return made


def same(a: Any, b: Any) -> bool:
    """Equal, and of the same types all the way down: 1, 1.0 and True differ."""
    return repr(a) == repr(b)


@given(experiments())
def test_resolving_is_idempotent(experiment: Experiment) -> None:
    resolved = Processor(environ={}).resolve(experiment)
    assert same(Processor(environ={}).resolve(escape(resolved)), resolved)


@given(experiments(), st.randoms(use_true_random=False))
def test_parameter_order_does_not_matter(experiment: Experiment, source: random.Random) -> None:
    names = list(experiment)
    source.shuffle(names)
    resolved = Processor(environ={}).resolve(experiment)
    shuffled = Processor(environ={}).resolve({name: experiment[name] for name in names})
    assert same({name: shuffled[name] for name in experiment}, resolved)


@pytest.mark.integration
@settings(max_examples=200)
@given(
    experiments(), st.lists(st.dictionaries(st.sampled_from(["n0", "n1", "n2"]), constants, max_size=2), max_size=12)
)
def test_cached_and_uncached_resolving_agree(experiment: Experiment, changes: list[Experiment]) -> None:
    """A plan over one base: some parameters vary, in any order, with values that compare equal but differ in type."""
    processor = Processor(environ={})
    for change in [{}, *changes, *changes]:
        one = {**experiment, **escape(change)}
        try:
            expected = Processor(environ={}).resolve_uncached(one)
        except DlbsError as error:
            with pytest.raises(type(error)):
                processor.resolve(one)
        else:
            resolved = processor.resolve(one)
            assert same({name: resolved[name] for name in expected}, expected)
            assert len(resolved) == len(expected)


def test_computed_names_and_varying_frameworks_share_one_processor() -> None:
    base = {"a.image": "A", "b.image": "B:${n}", "image": "${${fw}.image}", "upper": "$('${${fw}.image}'.upper())$"}
    processor = Processor(environ={})
    for fw in "abab":
        for n in range(4):
            resolved = processor.resolve({"fw": fw, "n": n, **base})
            assert resolved["image"] == ("A" if fw == "a" else f"B:{n}")
            assert resolved["upper"] == resolved["image"].upper()


def test_a_varying_parameter_may_become_a_reference() -> None:
    processor = Processor(environ={})
    values = [1, 2, "${b}", 3, "x${b}", "${b}", 4]
    got = [processor.resolve({"a": value, "b": "B", "c": "<${a}>"})["c"] for value in values]
    assert got == ["<1>", "<2>", "<B>", "<3>", "<xB>", "<B>", "<4>"]


def test_equal_values_of_other_types_are_not_confused() -> None:
    processor = Processor(environ={})
    values = [1, True, 1.0, "1", [1], [True], [1.0], 0.0, -0.0]
    for value in values * 3:
        resolved = processor.resolve({"a": value, "b": "${a}", "c": ["${a}"], "d": "x${a}", "z": 9})
        assert same(resolved["b"], value)
        assert same(resolved["c"], [value])


def test_experiments_with_other_names_in_between() -> None:
    processor = Processor(environ={})
    for n in range(20):
        assert processor.resolve({"n": n, "m": "${n}!"}) == {"n": n, "m": f"{n}!"}
        assert processor.resolve({"n": n, "k": "${n}?"}) == {"n": n, "k": f"{n}?"}


def test_a_long_chain_is_no_deep_recursion() -> None:
    chain = {f"p{i}": f"${{p{i - 1}}}" for i in range(1, 5000)}
    assert Processor(environ={}).resolve({**dict(reversed(chain.items())), "p0": "end"})["p4999"] == "end"


# Errors


def failure(experiment: Experiment, declarations: dict[str, Parameter] | None = None) -> DlbsError:
    with pytest.raises(DlbsError) as raised:
        Processor(declarations, environ={"HOME": "/h"}).resolve(experiment)
    return raised.value


def test_a_cycle_is_reported_as_the_cycle() -> None:
    error = failure({"x": "${a}", "a": "${b}", "b": "$('${c}')$", "c": "${a}"})
    assert isinstance(error, ResolveError)
    assert "a → b → c → a" in str(error)


def test_a_self_reference_is_a_cycle() -> None:
    assert "a → a" in str(failure({"a": "${a}"}))


def test_an_undefined_name_is_reported_with_the_chain_that_needed_it_and_the_closest_names() -> None:
    error = failure({"exp.model": "m", "a": "${b}", "b": "x${exp.modle}"})
    assert "a → b" in str(error)
    assert "did you mean 'exp.model'" in str(error)


def test_errors_in_compiled_experiments_are_as_precise() -> None:
    processor = Processor(environ={})
    base = {"b": "$(10 / ${a})$", "c": "${b}"}
    assert [processor.resolve({"a": a, **base})["c"] for a in (1, 2, 5)] == [10, 5, 2]
    with pytest.raises(ExpressionError, match="ZeroDivisionError") as raised:
        processor.resolve({"a": 0, **base})
    assert raised.value.where == "b"
    assert processor.resolve({"a": 10, **base})["c"] == 1


def test_an_error_leaves_nothing_behind_for_the_next_experiment() -> None:
    """The function of a shape keeps what the slow parameters decide; an experiment that fails must not leave half of it."""
    processor = Processor(environ={}, varying=["a", "n"])
    base = {"b": "<${a}>", "c": "$(10 / ${a})$", "d": "${b}${n}"}
    assert [processor.resolve({"a": 5, "n": n, **base})["d"] for n in range(3)] == ["<5>0", "<5>1", "<5>2"]
    with pytest.raises(ExpressionError, match="ZeroDivisionError"):
        processor.resolve({"a": 0, "n": 1, **base})
    assert [processor.resolve({"a": 5, "n": n, **base})["d"] for n in range(3)] == ["<5>0", "<5>1", "<5>2"]


@pytest.mark.parametrize("defect", [KeyError, NameError, TypeError, AssertionError])
def test_a_defect_of_a_compiled_function_is_visible(defect: type[Exception]) -> None:
    """Falling back to value by value would only be slow, and nobody would know."""

    def broken(experiment: Experiment) -> Experiment:
        raise defect("a defect")

    processor = Processor(environ={}, varying=["n"])
    for n in range(2):
        processor.resolve({"n": n, "m": "${n}!"})
    assert processor.last is not None
    processor.last.resolve = broken
    with pytest.raises((RuntimeError, defect)) as raised:
        processor.resolve({"n": 2, "m": "${n}!"})
    assert not isinstance(raised.value, DlbsError)
    assert "a defect" in str(raised.value) or "a defect" in str(raised.value.__cause__)


@pytest.mark.parametrize(
    ("declaration", "value", "said"),
    [
        (Parameter("p", type="int", default=1), "x", "must be of type int"),
        (Parameter("p", type="int", default=1), 1.5, "must be of type int"),
        (Parameter("p", type="int", default=1), True, "must be of type int"),
        (Parameter("p", type="int", default=1), None, "must be of type int"),
        (Parameter("p", type="bool", default=True), "maybe", "must be of type bool"),
        (Parameter("p", type="str", default="a", domain=("train", "infer")), "trian", "did you mean 'train'"),
        (Parameter("p", type="str", default="", regexp="[0-9,]*"), "0;1", "does not match"),
    ],
)
def test_types_domains_and_patterns_are_checked(declaration: Parameter, value: Any, said: str) -> None:
    assert said in str(failure({"p": value}, {"p": declaration}))
    processor = Processor({"p": declaration}, environ={}, varying=["n"])
    for n in range(3):  # the same in a compiled shape, computed from something that varies
        with pytest.raises(DlbsError) as raised:
            processor.resolve({"n": n, "raw": value, "p": "$(${raw} if ${n} >= 0 else 0)$"})
        assert said in str(raised.value)


@pytest.mark.parametrize(
    ("kind", "value", "expected"),
    [
        ("int", "12", 12),
        ("int", 12.0, 12),
        ("float", 3, 3.0),
        ("bool", "yes", True),
        ("bool", 0, False),
        ("str", 0, "0"),
        ("str", [1, 2], "1 2"),
        ("str", True, "true"),
        ("list", "a 'b c'", ["a", "b c"]),
        ("list", 1, [1]),
        ("dict", '{"a": 1}', {"a": 1}),
        ("dict", "", {}),
    ],
)
def test_declared_types_cast(kind: str, value: Any, expected: Any) -> None:
    declarations = {"p": Parameter("p", type=kind, default=0)}
    resolved = Processor(declarations, environ={}).resolve({"p": value, "q": "${p}"})
    assert same(resolved, {"p": expected, "q": expected})


def test_domains_tell_types_apart() -> None:
    declarations = {"p": Parameter("p", type="any", default=1, domain=(1, "a"))}
    assert failure({"p": True}, declarations)


@pytest.mark.parametrize("numbers", [[1, 2, 3, 4], [4, 3, 2, 1]])
def test_compiled_shapes_check_domains_as_the_first_experiment_does(numbers: list[int]) -> None:
    declarations = {"p": Parameter("p", type="float", default=1, domain=(0.5, 1, 2)).with_domain_cast()}
    processor = Processor(declarations, environ={}, varying=["n"])
    made = [processor.resolve({"n": n, "p": "$(1.0 if ${n} > 2 else 0.5)$"})["p"] for n in numbers]
    assert made == [1.0 if n > 2 else 0.5 for n in numbers]


def test_an_empty_domain_allows_nothing_but_null() -> None:
    processor = Processor({"p": Parameter("p", domain=())}, environ={}, varying=["n", "p"])
    for n in range(3):
        assert processor.resolve({"n": n, "p": None})["p"] is None
    with pytest.raises(ResolveError, match="not one of"):
        processor.resolve({"n": 3, "p": 1})


# Identity

IDENTITY = {"exp.id": "${__identity__}", "log": "${dir}/${exp.id}.log", "copy": "${log}"}
DECLARED = {name: Parameter(name, identity=False, default="") for name in ("dir", "exp.id")}


def identity(**values: Any) -> str:
    return str(Processor(DECLARED, environ={}).resolve({"dir": "d", **IDENTITY, **values})["exp.id"])


def test_identity_is_of_what_the_experiment_is() -> None:
    assert identity(a=1) == identity(a=1)
    assert identity(a=1) == identity(a=1, dir="elsewhere")
    assert identity(a=1, b=2) == identity(b=2, a=1)
    assert len({identity(a=1), identity(a=2), identity(a="1"), identity(a=True), identity(b=1), identity()}) == 6


@pytest.mark.parametrize("written", [list(IDENTITY), list(reversed(IDENTITY))])
def test_identity_can_be_used_in_other_values_whatever_their_order(written: list[str]) -> None:
    processor = Processor(DECLARED, environ={})
    for seed in (1, 2, 3):
        experiment = {"dir": "d", **{name: IDENTITY[name] for name in written}, "a": seed}
        resolved = processor.resolve(experiment)
        assert resolved["copy"] == f"d/{resolved['exp.id']}.log"
        assert resolved == Processor(DECLARED, environ={}).resolve_uncached(experiment)


def test_identity_leaves_fresh_values_out() -> None:
    assert identity(a="$(uuid4())$", b="x${a}") == identity(a="$(uuid4())$", b="x${a}")


def test_identity_is_the_same_by_every_way() -> None:
    processor = Processor(DECLARED, environ={})
    for seed in range(10):
        experiment = {"dir": "d", **IDENTITY, "seed": seed, "twice": "$(${seed} * 2)$"}
        assert processor.resolve(experiment) == Processor(DECLARED, environ={}).resolve_uncached(experiment)


def test_hidden_parameters_are_left_out() -> None:
    assert Processor(environ={}).resolve({"__h.x": "v", "a": "${__h.x}"}) == {"a": "v"}
