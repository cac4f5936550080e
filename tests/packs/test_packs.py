"""Packs: what their files mean, what they become, and what is found wrong before anything runs. Nothing here installs anything."""

from __future__ import annotations

import io
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from pack_runner.run import Events, read_events

from dlbs.core.errors import ConfigError
from dlbs.core.experiment import describe
from dlbs.packs.configure import parameters_of
from dlbs.packs.definition import find_pack, find_packs, select
from dlbs.packs.pack import option_name
from tests.conftest import ROOT, RunDlbs


def write_pack(directory: Path, definition: str = "", main: str = "print('__results.throughput__= 5')\n") -> Path:
    """A pack whose main script does no more than it must."""
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "main.py").write_text(main)
    if definition:
        (directory / "pack.yaml").write_text(definition)
    return directory


COLLECTION = """
_defaults:
  weight: 2.0
  tags: [all]
  argv:
    --epochs: 3
_vision:
  inherits: _defaults
  install_group: torch
  tags: [vision]
first:
  inherits: _vision
  definition: one
  argv:
    --batch-size: 16
second:
  inherits: _vision
  definition: two/benchfile.py
  max_duration: 60
third:
  inherits: _defaults
  definition: one
  enabled: false
"""


@pytest.fixture
def collection(tmp_path: Path) -> Path:
    write_pack(tmp_path / "one")
    write_pack(tmp_path / "two")
    (tmp_path / "two" / "benchfile.py").write_text("")
    (tmp_path / "base.yaml").write_text(COLLECTION)
    return tmp_path / "base.yaml"


def test_a_collection_defines_many_and_inherits(collection: Path) -> None:
    packs = find_packs([collection])
    assert list(packs) == ["first", "second"]
    first, second = packs["first"], packs["second"]
    assert first.argv == {"--epochs": 3, "--batch-size": 16}
    assert (first.weight, first.tags, first.install_group) == (2.0, ("all", "vision"), "torch")
    assert second.directory == collection.parent / "two"
    assert second.max_duration == 60
    assert first.where == f"{collection}:11"


def test_a_directory_without_a_file_is_a_pack_by_what_it_holds(tmp_path: Path) -> None:
    write_pack(tmp_path / "packs" / "plain")
    pack = find_packs([tmp_path / "packs"])["plain"]
    assert (pack.kind, pack.install_group, pack.install_variant, pack.weight) == ("benchmark", "plain", "unpinned", 1.0)


def test_packs_are_found_by_name_and_by_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_pack(tmp_path / "elsewhere" / "mine")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError, match="unknown pack 'mine'"):
        find_pack("mine")
    assert find_pack("elsewhere/mine").name == "mine"
    monkeypatch.setenv("DLBS_PACK_PATH", str(tmp_path / "elsewhere"))
    assert find_pack("mine").directory == tmp_path / "elsewhere" / "mine"
    with pytest.raises(ConfigError, match="did you mean 'mine'"):
        find_pack("mien")


@pytest.mark.parametrize(
    ("definition", "said"),
    [
        ("x: {weigth: 1}", r"pack.yaml:1: unknown key 'weigth'.*did you mean 'weight'"),
        ("x: {weight: heavy}", "weight must be a number"),
        ("x: {weight: true}", "weight must be a number"),
        ("x: {argv: word}", "argv must be a mapping or a list"),
        ("x: {plan: {method: twice}}", "plan.method must be one of"),
        ("x: {plan: {method: njobs, n: 0}}", "plan.n must be a number from 1"),
        ("x: {plan: {method: njobs, n: 1000000000}}", "plan.n must be a number from 1 to 10000"),
        ("x: {plan: {method: njobs, n: 1e9}}", "plan.n must be a number from 1"),
        ("x: {enabled: maybe}", "enabled must be true or false, not 'maybe'"),
        ("x: {network: 2}", "network must be true or false, not 2"),
        ("x: {inherits: [a]}", "inherits must be the name of one definition"),
        ("include: [a.yaml]\nx: {}", "a.yaml: no such file"),
        ("1: {}", "key 1 is not a string"),
        ("x: {argv: {--day: 2026-01-02}}", "'2026-01-02' has no equivalent in JSON"),
        ("..: {}", "'..' is not the name of a pack"),
        ("x: {install_group: /etc}", "'/etc' is not an install group"),
        ("x: {install_group: ..}", "'..' is not an install group"),
        ("x: {install_group: a/b}", "'a/b' is not an install group"),
        ("x: {install_variant: ../x}", "'../x' is not an install variant"),
        ("x: {inherits: _nobody}", "inherits from '_nobody', which is not defined"),
        ("x: {inherits: x}", "inherits from itself"),
        ("x: {definition: nowhere}", "has no main.py"),
        ("x: 1", "must be a mapping"),
        ("[1]", "must contain a mapping of packs"),
        ("'a b': {}", "not the name of a pack"),
        ("x: {", "not YAML"),
    ],
)
def test_a_malformed_definition_is_told_with_its_place(tmp_path: Path, definition: str, said: str) -> None:
    write_pack(tmp_path / "x", definition)
    with pytest.raises(ConfigError, match=said):
        find_packs([tmp_path])


def test_a_malformed_definition_does_not_hide_the_other_packs(dlbs: RunDlbs, tmp_path: Path) -> None:
    write_pack(tmp_path / "packs" / "bad", "bad: {weight: heavy}")
    write_pack(tmp_path / "packs" / "good")
    done = dlbs("pack", "list")
    assert done.returncode == 1
    assert "good  benchmark" in done.stdout
    assert "packs/bad/pack.yaml:1: weight must be a number" in done.stderr
    assert dlbs("pack", "show", "good").returncode == 0
    assert "weight must be a number" in dlbs("pack", "show", "bad").stderr


def test_selection_by_name_tag_and_group(collection: Path) -> None:
    packs = list(find_packs([collection]).values())
    assert [pack.name for pack in select(packs, ["vision"])] == ["first", "second"]
    assert [pack.name for pack in select(packs, ["torch"], ["second"])] == ["first"]
    assert [pack.name for pack in select(packs, ["second"])] == ["second"]
    with pytest.raises(ConfigError, match="did you mean 'vision'"):
        select(packs, ["vison"])


@pytest.mark.parametrize(
    ("option", "name"),
    [("--batch-size", "argv.batch_size"), ("-n", "argv.n"), ("--a.b", "argv.a_b"), ("--x_", "argv.x")],
)
def test_options_are_parameters(option: str, name: str) -> None:
    assert option_name(option) == name


def experiments(dlbs: RunDlbs, *flags: str, **environment: str) -> list[dict[str, Any]]:
    done = dlbs("build", "--resolve", "-Pexp.docker=false", *flags, **environment)
    assert done.returncode == 0, done.stderr
    found: list[dict[str, Any]] = json.loads(done.stdout)
    return found


ARGV = """
mine:
  weight: 3
  max_duration: 50
  tags: [fast]
  argv: {--batch-size: 8, --name: "a b", --verbose: null, --quiet: false, --lr: 0.1}
"""


def test_a_pack_becomes_ordinary_parameters(dlbs: RunDlbs, tmp_path: Path) -> None:
    write_pack(tmp_path / "packs" / "mine", ARGV)
    (one,) = experiments(dlbs, "-Pexp.framework=pack", "-Pexp.pack=mine")
    assert one["pack.argv"] == ["--batch-size", 8, "--name", "a b", "--verbose", None, "--lr", 0.1]
    assert (one["exp.model"], one["exp.weight"], one["exp.timeout"], one["exp.replica_batch"]) == ("mine", 3.0, 50.0, 8)


def test_what_the_user_sets_wins_and_grids_go_over_options(dlbs: RunDlbs, tmp_path: Path) -> None:
    write_pack(tmp_path / "packs" / "mine", ARGV)
    pack = ("-Pexp.framework=pack", "-Pexp.pack=mine")
    made = experiments(
        dlbs, *pack, "-Vargv.batch_size=[1,2]", "-Pexp.timeout=7", "-Pargv.quiet=true", "-Pargv.verbose=false"
    )
    assert [one["pack.argv"][1] for one in made] == [1, 2]
    assert [one["exp.replica_batch"] for one in made] == [1, 2]
    assert made[0]["exp.timeout"] == 7.0
    assert "--quiet" in made[0]["pack.argv"]
    assert "--verbose" not in made[0]["pack.argv"]
    made = experiments(dlbs, *pack, "-Vexp.replica_batch=[4,5]")
    assert [one["pack.argv"][1] for one in made] == [4, 5]


def test_scripts_run_on_bare_metal_unless_an_image_is_given(dlbs: RunDlbs, tmp_path: Path) -> None:
    write_pack(tmp_path / "packs" / "mine")
    for flags, expected in (
        ((), False),
        (("-Pexp.docker_image=i",), True),
        (("-Pexp.docker_image=i", "-Pexp.docker=false"), False),
    ):
        done = dlbs("build", "--resolve", "-Pexp.framework=pack", "-Pexp.pack=mine", *flags)
        assert json.loads(done.stdout)[0]["exp.docker"] is expected


def test_odd_options_are_text(dlbs: RunDlbs, tmp_path: Path) -> None:
    write_pack(tmp_path / "packs" / "mine", 'mine: {argv: {"--it\'s": null}}')
    (one,) = experiments(dlbs, "-Pexp.framework=pack", "-Pexp.pack=mine")
    assert one["pack.argv"] == ["--it's"]


def test_what_needs_no_environment_gets_none(dlbs: RunDlbs, tmp_path: Path) -> None:
    (tmp_path / "packs" / "box").mkdir(parents=True)
    (tmp_path / "packs" / "box" / "Dockerfile").touch()
    write_pack(tmp_path / "packs" / "net")
    done = dlbs("pack", "install", "box", "net", DLBS_BASE=str(tmp_path / "base"))
    assert done.returncode == 0
    assert "box: a container; build it with dlbs pack build" in done.stderr
    assert "net: nothing to install" in done.stderr
    assert not (tmp_path / "base").exists()


def test_a_container_infers(dlbs: RunDlbs, tmp_path: Path) -> None:
    directory = tmp_path / "packs" / "boxed"
    directory.mkdir(parents=True)
    (directory / "Dockerfile").write_text("FROM scratch\n")
    (one,) = experiments(dlbs, "-Pexp.framework=pack", "-Pexp.pack=boxed")
    assert one["exp.phase"] == "inference"
    assert "training" not in one["exp.log_file"]


def test_a_batch_size_that_nobody_knows_is_in_no_name() -> None:
    known = {"exp.model": "net", "exp.phase": "training", "exp.replica_batch": 16, "pack.own_batch": False}
    assert describe(known) == "net, training, batch 16"
    assert describe({**known, "pack.own_batch": True}) == "net, training"


def test_argv_may_be_a_list_with_references(dlbs: RunDlbs, tmp_path: Path) -> None:
    write_pack(tmp_path / "packs" / "mine", 'mine: {argv: [train, "--dtype", "${exp.dtype}", 5]}')
    (one,) = experiments(dlbs, "-Pexp.framework=pack", "-Pexp.pack=mine", "-Pexp.dtype=float16")
    assert one["pack.argv"] == ["train", "--dtype", "float16", "5"]


def test_plans_make_several_experiments(dlbs: RunDlbs, tmp_path: Path) -> None:
    write_pack(tmp_path / "packs" / "jobs", "jobs: {plan: {method: njobs, n: 3}}")
    made = experiments(dlbs, "-Pexp.framework=pack", "-Pexp.pack=jobs")
    assert [one["exp.job"] for one in made] == [0, 1, 2]
    assert len({one["exp.id"] for one in made}) == 3
    write_pack(tmp_path / "packs" / "each", "each: {plan: {method: per_gpu}}")
    made = experiments(dlbs, "-Pexp.framework=pack", "-Pexp.pack=each", CUDA_VISIBLE_DEVICES="0,1,3")
    assert [one["exp.gpus"] for one in made] == ["0", "1", "3"]
    assert len(experiments(dlbs, "-Pexp.framework=pack", "-Pexp.pack=each", "-Pexp.gpus=0")) == 1


def test_select_runs_a_few_of_many(dlbs: RunDlbs, collection: Path) -> None:
    path = {"DLBS_PACK_PATH": str(collection)}
    assert [one["exp.pack"] for one in experiments(dlbs, "--select", "vision", **path)] == ["first", "second"]
    assert [one["exp.pack"] for one in experiments(dlbs, "--select", "vision", "--exclude", "second", **path)] == [
        "first"
    ]
    assert dlbs("build", "--select", "nothing", **path).returncode == 2


def test_environment_variables_tell_scripts_where_things_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DLBS_BASE", str(tmp_path / "base"))
    monkeypatch.delenv("DLBS_DATA_DIR", raising=False)
    variables = parameters_of(find_pack(str(write_pack(tmp_path / "mine"))))["pack.variables"]
    assert variables["DLBS_DATA_DIR"] == str(tmp_path / "base" / "data")
    assert variables["XDG_CACHE_HOME"] == str(tmp_path / "base" / "cache")


def test_building_a_plan_runs_nothing_of_a_pack(dlbs: RunDlbs, tmp_path: Path) -> None:
    trap = "open('trapped', 'w')\nraise SystemExit('ran')\n"
    pack = write_pack(tmp_path / "packs" / "trap", main=trap)
    for name in ("benchfile.py", "voirfile.py", "prepare.py"):
        (pack / name).write_text(trap + "class X:\n    def command(self, script): pass\n")
    for verb in (["build"], ["validate", "--log-level", "error"], ["build", "--resolve"]):
        dlbs(*verb, "-Pexp.framework=pack", "-Pexp.pack=trap", "-Pexp.docker=false")
    for verb in (["list"], ["show", "trap"], ["check", "trap"]):
        assert "ran" not in dlbs("pack", *verb).stderr
    assert not list(tmp_path.rglob("trapped"))


def test_a_plain_script_runs_like_any_experiment(dlbs: RunDlbs, tmp_path: Path) -> None:
    main = "import os, sys\nprint(f'__results.throughput__= {10 * int(sys.argv[2])}')\nprint(os.getcwd(), os.environ['DLBS_PACK'])\n"
    write_pack(tmp_path / "packs" / "plain", "plain: {argv: {--batch-size: 4}}", main)
    done = dlbs(
        "run",
        "-Pexp.framework=pack",
        "-Pexp.pack=plain",
        "-Pexp.docker=false",
        f"-Ppack.python={sys.executable}",
        "-Vexp.replica_batch=[1,2]",
    )
    assert done.returncode == 0, done.stderr
    records = json.loads(dlbs("parse", "logs").stdout)["data"]
    assert sorted(record["results.throughput"] for record in records) == [10, 20]
    log = next((tmp_path / "logs").glob("*.log")).read_text()
    assert f"{tmp_path / 'packs' / 'plain'} plain" in log
    assert re.search(r"2 +│ --batch-size 2 │ 20.00", dlbs("report", "logs").stdout)


def test_a_pack_that_is_not_installed_is_found_before_the_run(dlbs: RunDlbs, tmp_path: Path) -> None:
    (write_pack(tmp_path / "packs" / "plain") / "requirements.in").write_text("six\n")
    done = dlbs(
        "run", "-Pexp.framework=pack", "-Pexp.pack=plain", "-Pexp.docker=false", DLBS_BASE=str(tmp_path / "base")
    )
    assert done.returncode == 2
    assert "plain is not installed (run dlbs pack install plain)" in done.stderr


def test_events_become_log_values() -> None:
    events = Events(batch=64)
    stream = io.StringIO(
        "\n".join(
            [
                json.dumps({"$event": "phase", "$data": {"name": "init"}}),
                *(json.dumps({"task": "train", "rate": rate, "units": "items/s"}) for rate in (100.0, 110.0, 90.0)),
                json.dumps({"task": "eval", "rate": 1.0}),
                json.dumps({"task": "train", "loss": 0.5}),
                json.dumps(
                    {
                        "task": "main",
                        "gpudata": {"0": {"memory": [1024, 81920], "load": 0.5, "temperature": 40, "power": 100}},
                    }
                ),
                json.dumps({"$event": "error", "$data": {"type": "StopProgram", "message": ""}}),
                '{"task": "train", "ra',
            ]
        )
    )
    for event in read_events(stream):
        events.take(event)
    found = events.results()
    assert found["results.throughput"] == 100.0
    assert found["results.throughput_std"] == 10.0
    assert found["results.time"] == pytest.approx(1000 * 64 * (1 / 100 + 1 / 110 + 1 / 90) / 3)
    assert found["results.unit"] == "items"
    assert found["results.loss"] == 0.5
    assert found["results.use.gpu_mem_peak"] == [1024 * (1 << 20)]
    assert found["results.use.gpu_util"] == [[50.0]]
    assert not events.errors


@pytest.mark.parametrize(
    "event",
    [
        None,
        1,
        [],
        "x",
        {"rate": "fast"},
        {"rate": True},
        {"rate": -1},
        {"gpudata": 1},
        {"gpudata": {"0": 1}},
        {"$event": "error"},
    ],
)
def test_odd_events_are_passed_over(event: Any) -> None:
    events = Events()
    events.take(event)
    assert events.results() == {}


def test_new_list_show_and_check(dlbs: RunDlbs, tmp_path: Path) -> None:
    done = dlbs("pack", "new", "ornatebench", "--template", "benchmark")
    assert done.returncode == 0, done.stderr
    made = tmp_path / "packs" / "ornatebench"
    assert {path.name for path in made.iterdir()} == {
        "README.md", "benchfile.py", "main.py", "pack.yaml", "prepare.py", "requirements.in", "voirfile.py"
    }  # fmt: skip
    assert "NAME" not in "".join(path.read_text() for path in made.iterdir())
    again = dlbs("pack", "new", "ornatebench")
    assert again.returncode == 2
    assert "packs/ornatebench: already exists" in again.stderr
    assert "ornatebench  benchmark" in dlbs("pack", "list").stdout
    shown = json.loads(dlbs("pack", "show", "ornatebench", "--json").stdout)
    assert shown["parameters"]["argv.batch_size"] == 64
    assert dlbs("pack", "check", "ornatebench").returncode == 0
    (made / "main.py").write_text("def broken(:\n")
    (made / "README.md").unlink()
    (made / "voirfile.py").unlink()
    done = dlbs("pack", "check", "ornatebench")
    assert done.returncode == 1
    assert done.stdout.count("FAIL") == 2  # not the README, which is a matter of taste


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["pack", "new", "1x"], "is not a valid name of a pack"),
        (["pack", "new", "a-b"], "is not a valid name of a pack"),
        (["pack", "show", "nope"], "unknown pack 'nope'"),
        (["pack", "install"], "no pack given"),
        (["pack", "check", "./nowhere"], "./nowhere: no pack in this directory"),
        (["pack", "shell", "plain"], "plain is not installed"),
        (["pack", "prepare", "prepared"], "prepared is not installed"),
        (["pack", "install", "pinned", "--variant", "rocm"], "has no requirements.rocm.txt"),
        (["run", "-Pexp.framework=pack"], "no pack is chosen"),
        (["run", "-Pexp.framework=pack", "-Pexp.pack=nope"], "unknown pack 'nope'"),
        (["build", "--select", "plain", "--exclude", "plain"], "no pack is left"),
    ],
)
def test_bad_input(dlbs: RunDlbs, tmp_path: Path, arguments: list[str], said: str) -> None:
    for name in ("plain", "prepared", "pinned"):
        (write_pack(tmp_path / "packs" / name) / "requirements.in").write_text("six\n")
    (tmp_path / "packs" / "prepared" / "prepare.py").write_text("")
    done = dlbs(*arguments, DLBS_BASE=str(tmp_path / "base"))
    assert done.returncode == 2
    assert said in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.integration
def test_list_imports_nothing_heavy(tmp_path: Path) -> None:
    write_pack(tmp_path / "packs" / "plain")
    code = (
        "import sys\nfrom dlbs.cli.main import cli\ncli(['pack', 'show', 'plain'], standalone_mode=False)\n"
        "print({'torch', 'numpy', 'pandas', 'docker', 'voir'} & set(sys.modules))"
    )
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, env=environment, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip().endswith("set()")


def test_the_tutorial_is_the_template_of_containers(dlbs: RunDlbs, tmp_path: Path) -> None:
    """But for a class of its own, which the template's README speaks of; neither can change without the other."""
    dlbs("pack", "new", "tutorial", "--template", "container", check=True)

    def files(directory: Path, place: str) -> dict[str, str]:
        found = {str(path.relative_to(directory)): path for path in directory.rglob("*") if path.is_file()}
        return {
            name: path.read_text().replace(f"{place}/tutorial", "PLACE")
            for name, path in found.items()
            if "__pycache__" not in name and name != "model.py"
        }

    made = files(tmp_path / "packs" / "tutorial", "packs")
    assert made == files(ROOT / "examples" / "packs" / "tutorial", "examples/packs")
    assert "Dockerfile" in made


def test_a_packs_own_file_may_define_several_variants(tmp_path: Path) -> None:
    write_pack(tmp_path / "packs" / "two", "small: {argv: {--size: 1}}\nlarge: {argv: {--size: 2}}\n")
    assert list(find_packs([tmp_path / "packs"])) == ["small", "large"]
    with pytest.raises(ConfigError, match="several packs in this directory: small, large"):
        find_pack(str(tmp_path / "packs" / "two"))
