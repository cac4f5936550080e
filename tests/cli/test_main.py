"""The command line as a user meets it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from dlbs.cli.main import cli
from dlbs.core.errors import ConfigError
from dlbs.results.keys import known_keys
from tests.conftest import ROOT, RunDlbs

VERBS = ["run", "build", "validate", "print-config", "explain", "help", "sysinfo", "parse", "report", "completion"]


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_has_help_with_examples(dlbs: RunDlbs, verb: str) -> None:
    done = dlbs(verb, "--help")
    assert done.returncode == 0
    assert "Examples:" in done.stdout
    assert "dlbs " in done.stdout
    assert "--log-level" in done.stdout


def test_help_lists_the_verbs(dlbs: RunDlbs) -> None:
    done = dlbs("--help")
    for verb in VERBS:
        assert verb in done.stdout
    assert dlbs("help").stdout.split() == done.stdout.split()


@pytest.mark.integration
def test_help_and_build_import_nothing_heavy() -> None:
    heavy = {"torch", "pandas", "numpy", "matplotlib", "docker", "rich", "jinja2"}
    for arguments, allowed in ((["--help"], {"yaml"}), (["build"], {"yaml"})):
        program = f"""
import sys
sys.argv = ['dlbs', *{arguments!r}]
from dlbs.cli.main import main
try:
    main()
except SystemExit as stop:
    assert not stop.code, stop.code
found = sorted({{name.split('.')[0] for name in sys.modules}} & {heavy!r})
print('IMPORTED', found)
"""
        done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
        assert "IMPORTED []" in done.stdout, (arguments, allowed, done.stdout[-200:])


@pytest.mark.integration
@pytest.mark.parametrize("program", ["experimenter.py", "logparser.py", "report.py", "plotter.py"])
def test_programs_start_as_files_from_anywhere(tmp_path: Path, program: str) -> None:
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    done = subprocess.run(
        [sys.executable, str(ROOT / "dlbs" / program), "--help"],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "Usage" in done.stdout


@pytest.mark.parametrize("flag", ["--log-level", "--log_level"])
def test_options_may_have_dashes_or_underscores(dlbs: RunDlbs, flag: str) -> None:
    assert dlbs("build", flag, "debug").returncode == 0
    assert dlbs("print_config").returncode == 0


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["rnu"], "did you mean 'run'"),
        (["run", "--dry-rum"], "--dry-run"),
        (["run", "-Pexp.modle=a"], "did you mean 'exp.model'"),
        (["run", "--plan", "nope.yaml"], "nope.yaml: no such file"),
        (["run", "--plan", "nope.json"], "no such plan"),
        (["run", "-Pexp.model=${nope}"], "'nope' is neither a parameter"),
        (["run", "-Pexp.model=$(open('x'))$"], "'open' is not allowed"),
        (["explain", "exp.modle"], "did you mean 'exp.model'"),
        (["help", "zzzzz"], "unknown name 'zzzzz'"),
        (["build", "-o", "/nope/plan.json"], "cannot be written"),
    ],
)
def test_errors_are_one_line_with_exit_code_2(dlbs: RunDlbs, tmp_path: Path, arguments: list[str], said: str) -> None:
    done = dlbs(*arguments)
    assert done.returncode == 2
    assert said in done.stderr
    assert "Traceback" not in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_errors_write_no_control_sequences(dlbs: RunDlbs) -> None:
    done = dlbs("run", "-Pexp.docker=false", '-Pexp.framework="a\\u001b[31mb"')
    assert done.returncode == 2
    assert "a?[31mb" in done.stderr
    assert "\x1b" not in done.stderr


def test_debug_shows_the_traceback(dlbs: RunDlbs) -> None:
    done = dlbs("run", "-Pexp.modle=a", "--debug")
    assert done.returncode != 0
    assert "Traceback" in done.stderr


def test_help_of_parameters(dlbs: RunDlbs) -> None:
    done = dlbs("help", "exp.phase")
    assert "training, inference" in done.stdout.replace('"', "")
    assert "exp.num_gpus" in dlbs("help", "exp.num_.*").stdout
    assert "exp.num_warmup_batches" in dlbs("help", "auto-tuners").stdout
    assert "resnet18" in dlbs("help", "--models").stdout
    assert "pytorch" in dlbs("help", "--frameworks").stdout


def test_explain(dlbs: RunDlbs) -> None:
    lines = dlbs("explain", "exp.effective_batch", "-Pexp.gpus=0,1", "-Pexp.replica_batch=8").stdout.splitlines()
    assert lines[0] == "exp.effective_batch = 16"
    assert any("exp.replica_batch = 8  (set at -Pexp.replica_batch)" in line for line in lines)
    assert any("config/base.yaml:" in line for line in lines)
    assert "(environment variable)" in dlbs("explain", "pytorch.bench_path", "-Pexp.docker=false").stdout


def test_print_config_can_be_read_again(dlbs: RunDlbs, tmp_path: Path) -> None:
    done = dlbs("print-config", "--json", "-Pexp.model=vgg16", "-Vexp.replica_batch=[1,2]", check=True)
    (tmp_path / "merged.json").write_text(done.stdout)
    plan = json.loads(dlbs("build", "--plan", "merged.json", check=True).stdout)
    assert [one["exp.replica_batch"] for one in plan] == [1, 2]
    assert plan[0]["exp.model"] == "vgg16"
    assert "# -Pexp.model" in dlbs("print-config", "-Pexp.model=vgg16").stdout
    (tmp_path / "less.yaml").write_text("exclude: [{exp.replica_batch: 2}]")
    shown = dlbs("print-config", "--plan", "less.yaml").stdout
    assert 'exclude {"exp.replica_batch": 2}    # less.yaml:1' in shown


def test_sysinfo(dlbs: RunDlbs) -> None:
    facts = json.loads(dlbs("sysinfo", "--json", check=True).stdout)
    assert facts["cpu.cores_usable"] >= 1
    assert facts["memory.total_bytes"] > 0
    assert "cpu.model" in dlbs("sysinfo").stdout


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion(dlbs: RunDlbs, shell: str) -> None:
    assert "_DLBS_COMPLETE" in dlbs("completion", shell).stdout


def test_completion_knows_verbs_and_parameters(dlbs: RunDlbs) -> None:
    def complete(words: str, count: int) -> str:
        return dlbs(_DLBS_COMPLETE="bash_complete", COMP_WORDS=words, COMP_CWORD=str(count)).stdout

    assert "validate" in complete("dlbs va", 1)
    assert "exp.model=" in complete("dlbs run -P exp.mo", 3)


@pytest.mark.integration
def test_a_closed_pipe_is_no_error(tmp_path: Path) -> None:
    done = subprocess.run(
        f"{sys.executable} -m dlbs build -Vexp.seed='{list(range(3000))}' | head -1",
        shell=True,
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout.strip() == "["
    assert "Traceback" not in done.stderr


@pytest.mark.integration
def test_missing_packages_are_named() -> None:
    program = "import sys; sys.modules['click'] = None; import runpy; runpy.run_path('dlbs/experimenter.py', run_name='__main__')"
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "dlbs needs the Python package 'click'" in done.stderr


def test_help_describes_one_framework(dlbs: RunDlbs) -> None:
    done = dlbs("help", "--frameworks", "dummy", check=True)
    assert "scripts/launchers/dummy.sh" in done.stdout
    assert "dummy.exit_code" in done.stdout
    assert "pytorch." not in done.stdout
    refused = dlbs("help", "--frameworks", "pytroch")
    assert refused.returncode == 2
    assert "did you mean 'pytorch'" in refused.stderr


def test_help_describes_several_names_and_models() -> None:
    printed = CliRunner().invoke(cli, ["help", "exp.phase", "exp.dtype", "resnet18", "dummy"], standalone_mode=False)
    assert [line for line in printed.output.splitlines() if line and line[0] != " "][:3] == [
        "exp.phase",
        "exp.dtype",
        "resnet18 is a model: ResNet with 18 layers.",
    ]
    assert "dlbs help --models" in printed.output
    assert "dummy.seconds" in printed.output


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["help", "resnet81"], "did you mean 'resnet18'"),
        (["help", "exp.phase", "zzz"], "unknown name 'zzz'"),
        (["help", "zzz"], "dlbs help --models and dlbs help --frameworks list them"),
        (["help", "--models", "alexnt"], "did you mean 'alexnet'"),
    ],
)
def test_help_on_nothing_says_where_to_look(arguments: list[str], said: str) -> None:
    with pytest.raises(ConfigError) as raised:
        CliRunner().invoke(cli, arguments, standalone_mode=False, catch_exceptions=False)
    assert said in str(raised.value)


@pytest.mark.parametrize(
    ("option", "said", "unsaid"),
    [
        ("--job", "--jobs", "exp.job"),
        ("--model", "did you mean 'exp.model'? Parameters are set with -PNAME=VALUE", "--help"),
        ("--batch-size", "did you mean 'exp.replica_batch'?", "Did you mean"),
        ("--retrys", "--retries", "-P"),
    ],
)
def test_an_unknown_option_gets_one_hint(dlbs: RunDlbs, option: str, said: str, unsaid: str) -> None:
    (line,) = [line for line in dlbs("run", option, "3").stderr.splitlines() if line.startswith("Error")]
    assert said in line
    assert unsaid not in line


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--dry-run", "-Pexp.model=alexnett", "-Pexp.gpus="], "nothing was run or validated (dlbs validate finds problems)"),
        (["--nodes=", "--", "true"], "Invalid value for '--nodes': no name is given"),
        (["-Pexp.framework=torch", "-Pexp.model=alexnet", "--dry-run"], "did you mean 'pytorch'"),
        (["--dry-run", "-Pslurm.partiton=x", "--", "true"], "slurm.partiton: without effect, unless --executor slurm is given"),
    ],
)  # fmt: skip
def test_what_has_no_effect_is_said(dlbs: RunDlbs, words: list[str], said: str) -> None:
    assert said in dlbs("run", *words).stderr


def test_a_command_without_dashes_is_told_where_it_stands(dlbs: RunDlbs) -> None:
    assert "to benchmark a command, write dlbs run -- COMMAND ARG..." in dlbs("run", "sleep", "1").stderr


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["plan.yaml"], "a plan is given with --plan plan.yaml"),
        (["-Pexp.model", "=", "alexnet"], "write -Pexp.model=alexnet without spaces"),
        (["-Pexp.seed=1", "-Pexp.model=", "alexnet"], "write -Pexp.model=alexnet without spaces"),
        (["-P", "exp.model", "alexnet"], "write -Pexp.model=alexnet without spaces"),
        (["-Vexp.model=alexnet", "resnet18"], "separate values by commas: -Vexp.model=alexnet,resnet18"),
        (["\N{EN DASH}Pexp.model=alexnet"], "write -Pexp.model=alexnet with an ASCII hyphen"),
        (["-pexp.model=alexnet"], "did you mean -P?"),
        (["-Vexp.model=[alexnet,", "resnet18]"], "quote a list with spaces: '-VNAME=[A, B]'"),
    ],
)
def test_a_stray_word_gets_a_hint_of_its_own(dlbs: RunDlbs, words: list[str], said: str) -> None:
    assert said in dlbs("run", *words).stderr


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["start"], "did you mean 'dlbs run'?"),
        (["benchmark"], "did you mean 'dlbs run'?"),
        (["gate"], "did you mean 'dlbs compare --fail-on-regression'?"),
        (["init"], "did you mean 'dlbs pack new'?"),
        (["rnu"], "did you mean 'run'?"),
        (["plan.yaml"], "did you mean 'dlbs run --plan plan.yaml'?"),
        (["-Pexp.model=alexnet", "run"], "options follow the verb: dlbs run -Pexp.model=alexnet"),
        (["--plan", "a b.yaml", "run"], "options follow the verb: dlbs run --plan 'a b.yaml'"),
    ],
)
def test_what_stands_in_place_of_a_verb_gets_a_hint(dlbs: RunDlbs, words: list[str], said: str) -> None:
    done = dlbs(*words)
    assert done.returncode == 2
    assert said in done.stderr


@pytest.mark.parametrize(
    ("flag", "said"),
    [
        ("-Pexp.model=[alexnet,resnet18]", "exp.model is one value, not a list (to vary it, write '-Vexp.model=alexnet,resnet18')"),
        ("-Vexp.replica_batch=1-8", "list the values: -Vexp.replica_batch=1,2,4"),
        ("-Vexp.replica_batch=[1 2 4]", "write -Vexp.replica_batch=1,2,4"),
        ("-Vexp.model=[\N{LEFT DOUBLE QUOTATION MARK}a\N{RIGHT DOUBLE QUOTATION MARK}]", "has typographic quotes"),
        ("-Vexp.gpus=0,1", "'0,1' may be one value or several"),
        ("-Vn=$(range(3))$", "an expression gives one value of n, even if it is a list (list the values: 1,2,4;"),
        ("-Pexp.replica_batch=-4", "exp.replica_batch is -4, which must be at least 1"),
        ("-Eexp.model=alexnet", "is not JSON"),
        ("--plan=plon.yaml", "plon.yaml: no such file (did you mean 'plan.yaml'?)"),
        ("--plan=/", "/: cannot be read: is not a regular file, but a directory"),
        ("-Pexp.log_dir=", "exp.log_dir is empty"),
    ],
)  # fmt: skip
def test_a_wrong_value_gets_what_to_write(dlbs: RunDlbs, tmp_path: Path, flag: str, said: str) -> None:
    (tmp_path / "plan.yaml").write_text("")
    done = dlbs("validate", flag)
    assert done.returncode == 2
    assert said in done.stderr


def test_help_knows_verbs_short_keys_and_parameters_of_a_warning(dlbs: RunDlbs) -> None:
    assert dlbs("help", "run", check=True).stdout.startswith("run is a verb: ")
    assert dlbs("help", "throughput", check=True).stdout.startswith("results.throughput\n")
    assert "exp.replica_batch" in dlbs("help", "batch", check=True).stdout
    assert dlbs("help", "precision", check=True).stdout.startswith("exp.dtype\n")
    assert "pytorch.num_threads" in dlbs("help", "number of threads", check=True).stdout


def test_all_problems_of_a_configuration_are_reported_at_once(dlbs: RunDlbs, tmp_path: Path) -> None:
    (tmp_path / "own.yaml").write_text("parameters:\n  exp.phase: trainig\n  exp.seed: x\n")
    flags = [
        "-Pexp.dtype=float8",
        "-Pexp.modle=a",
        "-Pepoch",
        "-Vexp.seed=[y]",
        "-Pmine=1",
        "-E",
        "{",
        "--plan",
        "own.yaml",
    ]
    for verb in ("validate", "run", "build"):
        done = dlbs(verb, *flags)
        assert done.returncode == 2
        assert done.stderr.startswith("error: 8 problems\n")
        for place in ("own.yaml:2: ", "own.yaml:3: ", "-Pexp.dtype: ", "-Pexp.modle: ", "-P: ", "-Vexp.seed: ", "-E: "):
            assert f"\n  {place}" in done.stderr, place
    done = dlbs("validate", "-Pmine=1", "-Pyours=2")
    assert done.stderr.count("is not used") == 2


def help_pages(command: click.Command, path: str) -> Iterator[tuple[str, str]]:
    """The help of a command and of all below it, for a terminal of 80 columns."""
    context = click.Context(command, info_name=path, terminal_width=80, max_content_width=80)
    yield path, command.get_help(context)
    if isinstance(command, click.Group):
        for name in command.list_commands(context):
            inner = command.get_command(context, name)
            assert inner is not None
            yield from help_pages(inner, f"{path} {name}")


def test_help_fits_into_80_columns() -> None:
    pages = dict(help_pages(cli, "dlbs"))
    assert "dlbs db query" in pages
    for path, words in pages.items():
        assert [line for line in words.splitlines() if len(line) > 80] == [], path


def test_critical_is_a_log_level(dlbs: RunDlbs) -> None:
    assert dlbs("build", "--log-level", "critical").returncode == 0


@pytest.mark.parametrize("verb", ["parse", "report", "compare", "plot", "migrate"])
def test_the_output_file_is_o_on_every_verb(dlbs: RunDlbs, verb: str) -> None:
    assert "-o, --output-file" in dlbs(verb, "--help", check=True).stdout


@pytest.mark.parametrize(("flags", "is_said"), [((), True), (("-Pexp.docker=false",), False)])
def test_bare_metal_is_said_only_if_nobody_asked_for_it(dlbs: RunDlbs, flags: tuple[str, ...], is_said: bool) -> None:
    arguments = ("-Pexp.framework=dummy", "-Pexp.gpus=", *flags)
    environment = {"DOCKER_HOST": "unix:///nowhere"}
    dlbs("build", "-o", "plan.json", *arguments, check=True)
    from_plan = dlbs("run", "--plan", "plan.json", check=True, **environment)
    assert "no docker daemon found" not in from_plan.stderr
    done = dlbs("run", *arguments, "-Pexp.rerun=always", check=True, **environment)
    assert ("no docker daemon found" in done.stderr) == is_said


def test_dlbs_alone_says_where_to_start() -> None:
    printed = CliRunner().invoke(cli, [], standalone_mode=False)
    assert printed.exit_code == 0
    lines = printed.output.splitlines()
    assert lines[0].startswith("DLBS runs grids of deep-learning benchmarks")
    assert any(line.startswith("  dlbs run -- ") for line in lines)
    assert "dlbs --help lists all verbs" in printed.output
    assert max(map(len, lines)) <= 80


def test_help_knows_the_keys_of_results(dlbs: RunDlbs) -> None:
    one = dlbs("help", "results.throughput", check=True).stdout
    assert one.splitlines()[0] == "results.throughput"
    assert "  unit: instances/s" in one
    assert "  better: higher" in one
    several = dlbs("help", "results.use.mem_.*", check=True).stdout
    assert "results.use.mem_res_peak\n" in several
    assert "  unit: bytes\n  better: lower" in several
    every = dlbs("help", "results.*", check=True).stdout
    assert {key for key in known_keys() if key.startswith("results.")} <= {*every.splitlines()}
    (document,) = json.loads(dlbs("help", "results.throughput", "--json", check=True).stdout)
    assert (document["kind"], document["unit"]) == ("key", "instances/s")
    refused = dlbs("help", "results.throughptu")
    assert refused.returncode == 2
    assert "did you mean 'results.throughput'" in refused.stderr


def test_help_shows_parameters_and_keys_that_a_pattern_matches(dlbs: RunDlbs) -> None:
    shown = dlbs("help", "exp.*time.*", check=True).stdout.splitlines()
    assert "exp.timeout" in shown  # a parameter
    assert "exp.start_time" in shown  # what a log says


@pytest.mark.parametrize("verb", cli.list_commands(click.Context(cli)))
def test_help_shows_no_files_that_an_installed_copy_lacks(verb: str) -> None:
    assert "examples/" not in CliRunner().invoke(cli, [verb, "--help"], standalone_mode=False).output


def test_a_run_without_parameters_says_what_it_runs(dlbs: RunDlbs) -> None:
    nothing_starts = ("run", "--no-validation", "--deadline", "0.001s")
    said = "no parameters are set: running the defaults, training of alexnet; choose with -Pexp.model="
    assert said in dlbs(*nothing_starts).stderr
    for chosen in ("-Pexp.phase=training", "-Vexp.seed=[1]"):
        assert "no parameters are set" not in dlbs(*nothing_starts, chosen).stderr
