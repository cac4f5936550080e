"""A boolean may be written in any of the usual words, wherever one can be written."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from dlbs.config.load import load_config
from dlbs.core.errors import ConfigError, DlbsError
from dlbs.packs.configure import configure
from dlbs.packs.definition import read_definitions
from dlbs.plan.build import build
from dlbs.plan.migrate import migrate
from dlbs.plan.pipeline import processor_for
from dlbs.results.plots.axes import Baseline
from dlbs.results.read.query import compile_query
from dlbs.results.runs import Runs
from dlbs.results.statistics.compare import compare_by
from dlbs.results.statistics.ratio import Rules
from pytorch_benchmarks.options import parse_benchmark_options
from tests.made_logs import declared, make_record

WORDS: dict[Any, bool] = {
    **dict.fromkeys(("true", "t", "yes", "y", "on", "1", "True", "T", "ON", True), True),
    **dict.fromkeys(("false", "f", "no", "n", "off", "0", "False", "F", "OFF", False), False),
}
NUMBERS = [(1, True), (0, False)]  # as JSON and YAML give them; equal to True and False as keys of a dictionary
BOTH = [*WORDS.items(), *NUMBERS]


def resolved(**given: Any) -> list[dict[str, Any]]:
    """Experiments of the framework with the fewest parameters, unless another one is given."""
    if "exp.framework" not in given.get("parameters", {}):
        given["variables"] = {"exp.framework": ["dummy"], **given.get("variables", {})}
    config = configure(**given)
    return list(processor_for(config).resolve_all(build(config)))


def of_parameter(word: Any, directory: Path) -> Any:
    (one,) = resolved(parameters={"exp.docker": word})
    return one["exp.docker"]


def of_flag(word: Any, directory: Path) -> Any:
    (one,) = resolved(parameters=[f"exp.docker={word}"])
    return one["exp.docker"]


def of_variable(word: Any, directory: Path) -> Any:
    (one,) = resolved(variables={"pytorch.cudnn_benchmark": [word]})
    return one["pytorch.cudnn_benchmark"]


def of_extension(word: Any, directory: Path) -> Any:
    (one,) = resolved(extensions=[{"condition": {"exp.model": ".*"}, "parameters": {"pytorch.deterministic": word}}])
    return one["pytorch.deterministic"]


def of_condition(word: Any, directory: Path) -> Any:
    extension = {"condition": {"exp.docker": word}, "parameters": {"exp.project": "met"}}
    met = [
        one
        for one in resolved(variables={"exp.docker": [True, False]}, extensions=[extension])
        if one["exp.project"] == "met"
    ]
    assert len(met) == 1
    return met[0]["exp.docker"]


def of_condition_on_a_list(word: Any, directory: Path) -> Any:
    return of_condition([word], directory)


def of_exclusion(word: Any, directory: Path) -> Any:
    file = directory / "c.json"
    file.write_text(json.dumps({"exclude": [{"exp.docker": word}], "variables": {"exp.docker": ["on", "off"]}}))
    (one,) = resolved(files=[file])
    return not one["exp.docker"]


def of_declaration(word: Any, directory: Path) -> Any:
    file = directory / "c.json"
    file.write_text(json.dumps({"parameters": {"my.path": {"val": "x", "desc": "A path.", "identity": word}}}))
    return load_config([file]).declarations["my.path"].identity


def of_own_declared_parameter(word: Any, directory: Path) -> Any:
    file = directory / "c.json"
    file.write_text(json.dumps({"parameters": {"my.flag": {"val": word, "type": "bool", "desc": "A flag."}}}))
    (one,) = resolved(files=[file])
    return one["my.flag"]


def of_expression(word: Any, directory: Path) -> Any:
    (one,) = resolved(parameters={"my.word": word, "exp.project": "$(boolean(${my.word}))$"})
    return {"true": True, "false": False}[one["exp.project"]]


def pack(directory: Path, **keys: Any) -> Path:
    place = directory / "packs" / "mine"
    place.mkdir(parents=True)
    (place / "main.py").write_text("")
    (place / "pack.yaml").write_text(json.dumps({"mine": keys}))
    return place / "pack.yaml"


def of_enabled_pack(word: Any, directory: Path) -> Any:
    return bool(list(read_definitions(pack(directory, enabled=word))))


def of_network_of_a_pack(word: Any, directory: Path) -> Any:
    (found,) = read_definitions(pack(directory, network=word))
    return found.network


def of_flag_of_a_pack(word: Any, directory: Path) -> Any:
    pack(directory, argv={"--quiet": False, "--verbose": None})
    given = {"exp.framework": "pack", "exp.pack": "mine"}
    (one,) = resolved(parameters={**given, "argv.quiet": word, "argv.verbose": word})
    assert ("--quiet" in one["pack.argv"]) == ("--verbose" in one["pack.argv"])
    return "--quiet" in one["pack.argv"]


def of_filter(word: Any, directory: Path) -> Any:
    fits = compile_query(json.dumps({"exp.docker": word}))
    assert fits({"exp.docker": True}) != fits({"exp.docker": False})
    return fits({"exp.docker": True})


def of_baseline_of_plots(word: Any, directory: Path) -> Any:
    records = [{**make_record(), "exp.docker": meant} for meant in (True, False)]
    baseline = Baseline({"exp.docker": word}, Runs.of(records))
    (one,) = [one for one in records if baseline.has(one)]
    return one["exp.docker"]


def of_baseline_of_comparisons(word: Any, directory: Path) -> Any:
    records = [{**make_record(), "exp.docker": meant} for meant in (True, False)]
    return compare_by(declared(records), Rules(by="exp.docker", baseline=word)).baseline


def of_former_value(word: Any, directory: Path) -> Any:
    migration = migrate(json.dumps({"parameters": {"exp.simulation": word}}), "c.json")
    return migration.document["parameters"] == {"exp.status": "simulate"}


def of_former_rerun(word: Any, directory: Path) -> Any:
    migration = migrate(json.dumps({"parameters": {"exp.rerun": word}}), "c.json")
    return {"always": True, "never": False}[migration.document["parameters"]["exp.rerun"]]


def of_option_of_a_benchmark(word: Any, directory: Path) -> Any:
    return parse_benchmark_options(["--model=alexnet", f"--forward_only={word}"]).forward_only


SURFACES: list[Callable[[Any, Path], Any]] = [
    of_parameter,
    of_flag,
    of_variable,
    of_extension,
    of_condition,
    of_condition_on_a_list,
    of_exclusion,
    of_declaration,
    of_own_declared_parameter,
    of_expression,
    of_enabled_pack,
    of_network_of_a_pack,
    of_flag_of_a_pack,
    of_filter,
    of_baseline_of_plots,
    of_baseline_of_comparisons,
    of_former_value,
    of_former_rerun,
    of_option_of_a_benchmark,
]


@pytest.mark.parametrize("surface", SURFACES, ids=lambda surface: surface.__name__)
def test_every_word_for_a_boolean_is_one(
    surface: Callable[[Any, Path], Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = []
    for number, (word, _) in enumerate(BOTH):
        place = tmp_path / str(number)
        place.mkdir()
        monkeypatch.chdir(place)
        found.append((word, surface(word, place)))
    assert found == BOTH


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"parameters": ["exp.docker=maybe"]}, "exp.docker must be of type bool"),
        ({"parameters": ["exp.docker=2"]}, "exp.docker must be of type bool"),
        ({"parameters": ["exp.project=$(boolean('maybe'))$"]}, "'maybe' is neither true nor false"),
    ],
)
def test_another_word_is_an_error(given: dict[str, Any], said: str) -> None:
    with pytest.raises(DlbsError, match=said):
        resolved(**given)


def test_another_word_for_a_flag_of_a_pack_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pack(tmp_path, argv={"--quiet": False})
    monkeypatch.chdir(tmp_path)
    with pytest.raises(DlbsError, match=r"pack\.argv.*'maybe' is neither true nor false"):
        resolved(parameters={"exp.framework": "pack", "exp.pack": "mine", "argv.quiet": "maybe"})


def test_words_are_booleans_only_where_there_is_one() -> None:
    test = compile_query('{"exp.replica_batch": 1, "exp.model": "on"}')
    assert test({"exp.replica_batch": 1, "exp.model": "on"})
    assert not test({"exp.replica_batch": 1, "exp.model": "yes"})
    assert not compile_query('{"exp.replica_batch": true}')({"exp.replica_batch": 1})
    with pytest.raises(ConfigError, match=r"runtime\.cpus|exp\.replica_batch"):
        load_config(parameters=["exp.replica_batch=on"])
