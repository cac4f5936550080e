"""Collections of packs in the form of milabench: includes, inheritance, matrices, names in braces."""

from __future__ import annotations

from pathlib import Path

import pytest

from dlbs.core.errors import ConfigError
from dlbs.packs.configure import parameters_of
from dlbs.packs.definition import find_pack, find_packs, select
from dlbs.packs.kinds import needs_environment
from tests.conftest import RunDlbs
from tests.packs.test_packs import experiments, write_pack

SUITE = """
_defaults:
  max_duration: 600
  num_machines: 1
  voir: {options: {stop: 60, interval: 1s}}
  validation: {usage: {gpu_load_threshold: 0.5}}
_one:
  inherits: _defaults
  definition: ../benchmarks/one
  group: ones
  plan: {method: per_gpu}
  argv:
    --data: "{milabench_data}/FakeImageNet"
    --num-workers: "auto({n_worker}, 8)"
    "train.batch=auto_batch(32)": true
plain:
  inherits: _one
  voir: {options: {stop: 30}}
two-machines:
  inherits: _one
  num_machines: 2
  plan: {method: njobs, n: 1}
"""


@pytest.fixture
def suite(tmp_path: Path) -> Path:
    """A folder with collections, as milabench has them."""
    write_pack(tmp_path / "benchmarks" / "one")
    (tmp_path / "config").mkdir()
    (tmp_path / "config" / "base.yaml").write_text(SUITE)
    return tmp_path / "config"


def test_a_collection_of_the_suite_loads(suite: Path) -> None:
    packs = find_packs([suite / "base.yaml"])
    assert list(packs) == ["plain", "two-machines"]
    plain = packs["plain"]
    assert plain.directory == suite.parent / "benchmarks" / "one"
    assert plain.voir == {"stop": 30, "interval": "1s"}
    assert plain.max_duration == 600


def test_tags_are_inherited_and_one_entry_may_override_all_others(suite: Path) -> None:
    (suite / "tagged.yaml").write_text(
        "include: base.yaml\n_one: {tags: [vision]}\nplain: {tags: fast}\ntwo-machines: {tags: [slow]}\n'*': {weight: 7}\n"
    )
    packs = find_packs([suite / "tagged.yaml"])
    assert {name: (pack.tags, pack.weight) for name, pack in packs.items()} == {
        "plain": (("fast", "vision"), 7.0),
        "two-machines": (("slow", "vision"), 7.0),
    }
    assert [pack.name for pack in select(packs.values(), ["vision"], ["slow"])] == ["plain"]


@pytest.mark.parametrize(
    ("definition", "said"),
    [
        ("include: 5", "include must be a file or a list of files"),
        ("include: {a: b}", "include must be a file or a list of files"),
        ("'*': 5\nx: {definition: .}", "must be a mapping"),
        ("defaults: &d {plan: {method: njobs}}\nbenchmarks:\n  x: {<<<: *d, definition: .}", "early form of milabench"),
    ],
)
def test_what_is_no_collection_of_the_present_form_says_so(suite: Path, definition: str, said: str) -> None:
    (suite / "odd.yaml").write_text(definition)
    with pytest.raises(ConfigError, match=said):
        find_packs([suite / "odd.yaml"])


def test_a_collection_includes_others_and_changes_their_entries(suite: Path) -> None:
    (suite / "standard.yaml").write_text(
        "include: [base.yaml]\nplain: {weight: 3, argv: {--lr: 1}}\ntwo-machines: {enabled: false}\n"
    )
    packs = find_packs([suite / "standard.yaml"])
    assert list(packs) == ["plain"]
    assert packs["plain"].weight == 3
    assert packs["plain"].argv["--lr"] == 1
    assert packs["plain"].argv["--data"] == "{milabench_data}/FakeImageNet"
    assert packs["plain"].where == f"{suite / 'standard.yaml'}:2"
    (suite / "again.yaml").write_text("include: [again.yaml]\n")
    with pytest.raises(ConfigError, match=r"again.yaml includes itself"):
        find_packs([suite / "again.yaml"])


def test_files_that_include_each_other_twice_end(suite: Path) -> None:
    for number in range(25):
        (suite / f"f{number}.yaml").write_text(f"include: [f{number + 1}.yaml, f{number + 1}.yaml]\n")
    (suite / "f25.yaml").write_text("_one: {weight: 2}\n")
    with pytest.raises(ConfigError, match="more than 300 files are included"):
        find_packs([suite / "f0.yaml"])


@pytest.mark.parametrize("parent", ["many", "_many"])
def test_a_matrix_that_makes_itself_is_refused(suite: Path, parent: str) -> None:
    (suite / "matrix.yaml").write_text(
        f"_many:\n  matrix: {{w: [2, 4]}}\n  job: {{name: 'one-{{w}}', inherits: {parent}}}\nmany: {{inherits: _many}}\n"
    )
    with pytest.raises(
        ConfigError, match=rf"matrix.yaml:\d: the job of the matrix inherits from '{parent}', which has"
    ):
        find_packs([suite / "matrix.yaml"])


def test_a_matrix_may_make_a_matrix(suite: Path) -> None:
    job = "{name: '{{w}}-{v}', inherits: _one}".replace("{{w}}", "{w}")
    (suite / "matrix.yaml").write_text(
        "_one: {definition: ../benchmarks/one}\n"
        f"many:\n  matrix: {{w: [2, 4]}}\n  job: {{name: 'x{{w}}', inherits: _one, matrix: {{v: [1, 2]}}, job: {job}}}\n"
    )
    assert list(find_packs([suite / "matrix.yaml"])) == ["2-1", "2-2", "4-1", "4-2"]


def test_a_matrix_makes_an_entry_of_each_combination(suite: Path) -> None:
    (suite / "matrix.yaml").write_text(
        "include: [base.yaml]\nplain: {enabled: false}\n_one: {weight: 2}\n"
        "many:\n  matrix: {w: [2, 4], loader: [a, b]}\n"
        "  job: {name: 'one-w{w}-{loader}', inherits: _one, argv: {--loader: '{loader}', --workers: '{w}'}}\n"
    )
    packs = find_packs([suite / "matrix.yaml"])
    assert list(packs) == ["two-machines", "one-w2-a", "one-w2-b", "one-w4-a", "one-w4-b"]
    made = packs["one-w4-b"]
    assert (made.argv["--loader"], made.argv["--workers"], made.weight) == ("b", "4", 2)
    assert made.directory == suite.parent / "benchmarks" / "one"


def test_names_in_braces_in_arguments_have_values(suite: Path, dlbs: RunDlbs, tmp_path: Path) -> None:
    path = {"DLBS_PACK_PATH": str(suite / "base.yaml"), "DLBS_DATA_DIR": str(tmp_path / "data")}
    (one, *_) = experiments(dlbs, "-Pexp.framework=pack", "-Pexp.pack=plain", **path)
    assert one["pack.argv"] == ["--data", f"{tmp_path}/data/FakeImageNet", "--num-workers", "8", "train.batch=32"]


def test_a_pack_of_several_machines_is_refused_where_it_is_run(suite: Path, dlbs: RunDlbs) -> None:
    path = {"DLBS_PACK_PATH": str(suite / "base.yaml")}
    done = dlbs("build", "-Pexp.framework=pack", "-Pexp.pack=two-machines", **path)
    assert done.returncode == 2
    assert "two-machines requires 2 machines; packs run on one machine only" in done.stderr


def test_entries_that_only_describe_others_are_passed_over(suite: Path) -> None:
    (suite / "system.yaml").write_text("include: [base.yaml]\nonly-words: {weight: 1}\n")
    assert "only-words" not in find_packs([suite / "system.yaml"])


def test_a_benchfile_of_milabench_needs_an_environment(tmp_path: Path) -> None:
    (tmp_path / "plain").mkdir()
    (tmp_path / "plain" / "benchfile.py").write_text("from milabench.pack import Package\n__pack__ = Package")
    assert needs_environment(find_pack(str(tmp_path / "plain")))


def test_scripts_find_their_data_by_the_name_of_milabench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DLBS_DATA_DIR", str(tmp_path))
    variables = parameters_of(find_pack(str(write_pack(tmp_path / "mine"))))["pack.variables"]
    assert variables["MILABENCH_DATA_DIR"] == variables["DLBS_DATA_DIR"] == str(tmp_path)
