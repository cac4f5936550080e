"""Launchers: scripts that a shell runs as meant, whatever is in the values."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from pathlib import Path
from typing import Any

import pytest

from dlbs.config.load import load_config
from dlbs.core.errors import DlbsError, LaunchError
from dlbs.core.logs import parse_line
from dlbs.launch.script import environment, make_launcher
from dlbs.machine.resources import gpu_ids
from dlbs.plan.build import build
from dlbs.plan.pipeline import processor_for

HOSTILE = [
    "'",
    '"',
    "$(touch pwned)",
    "`touch pwned`",
    "; touch pwned",
    "a\ntouch pwned",
    "\\",
    "é",
    "-n",
    "*",
    "END_OF_PARAMETERS",
    "",
]


def experiment(**parameters: Any) -> dict[str, Any]:
    config = load_config(parameters=["exp.framework=dummy", "exp.docker=false", "exp.gpus="])
    raw = next(build(config))
    raw["exp.gpus"] = ""
    return processor_for(config).resolve({**raw, **parameters})


def run(one: dict[str, Any], directory: Path) -> tuple[dict[str, Any], str]:
    script = make_launcher(one, directory)
    path = directory / "run.sh"
    path.write_text(script.source)
    done = subprocess.run(["bash", str(path)], capture_output=True, text=True, check=False, cwd="/")
    pairs = [parse_line(line) for line in done.stdout.splitlines()]
    return dict(pair for pair in pairs if pair), done.stdout + done.stderr


@pytest.mark.integration
@pytest.mark.parametrize("value", HOSTILE)
def test_values_reach_the_log_unchanged_and_run_nothing(tmp_path: Path, value: str) -> None:
    values, _ = run(experiment(**{"my.text": value.replace("$(", "\\$(")}), tmp_path)
    assert values["my.text"] == value
    assert values["exp.status"] == "ok"
    assert [path.name for path in tmp_path.iterdir()] == ["run.sh"]


@pytest.mark.integration
@pytest.mark.parametrize("value", HOSTILE)
def test_templates_cannot_forget_to_quote(tmp_path: Path, value: str) -> None:
    (tmp_path / "t.sh").write_text(
        '{% extends "base.sh" %}{% block benchmark %}printf "%s|" {{ my.text }} {{ my.text | sh }} {{ my.list | words }}\n{% endblock %}'
    )
    one = experiment(**{"my.text": value.replace("$(", "\\$("), "my.list": [value.replace("$(", "\\$("), "", "x"]})
    _, output = run({**one, "dummy.launcher": str(tmp_path / "t.sh")}, tmp_path)
    words = [value, value, value, "", "x"]
    assert "".join(f"{word}|" for word in words) in output
    assert not (tmp_path / "pwned").exists()


@pytest.mark.parametrize("executable", [False, True])
def test_nul_cannot_be_handed_to_a_program(tmp_path: Path, executable: bool) -> None:
    (tmp_path / "t.sh").write_text("echo {{ my.text }}")
    (tmp_path / "t.sh").chmod(0o755 if executable else 0o644)
    with pytest.raises(LaunchError, match="NUL"):
        make_launcher({**experiment(), "my.text": "a\0b", "dummy.launcher": str(tmp_path / "t.sh")})


@pytest.mark.integration
def test_an_executable_gets_every_parameter_as_an_option(tmp_path: Path) -> None:
    program = tmp_path / "bench.py"
    program.write_text(
        "#!/usr/bin/env python3\nimport sys, json\nprint('__results.argv__=', json.dumps(sys.argv[1:]))\n"
    )
    program.chmod(0o755)
    values, _ = run(experiment(**{"dummy.launcher": str(program), "my.empty": "", "my.space": "a b"}), tmp_path)
    argv = values["results.argv"]
    options = dict(zip(argv[::2], argv[1::2], strict=True))
    assert options["--exp_model"] == "alexnet"
    assert options["--exp_replica_batch"] == "16"
    assert options["--exp_docker"] == "false"
    assert options["--my_empty"] == ""
    assert options["--my_space"] == "a b"


@pytest.mark.integration
def test_the_exit_code_is_that_of_the_benchmark(tmp_path: Path) -> None:
    values, _ = run(experiment(**{"dummy.exit_code": 3}), tmp_path)
    assert values["exp.exit_code"] == 3
    assert values["exp.status"] == "failure"


def test_environment() -> None:
    one = experiment(
        **{
            "dummy.env": "export A=1; export B='x y' C=$HOME",
            "runtime.env.OMP_NUM_THREADS": 2,
            "exp.gpus": "0:1,3",
            "runtime.cuda_cache": "/cache",
            "runtime.malloc": "system",
        }
    )
    assert dict(environment(one)) == {
        "A": "1",
        "B": "x y",
        "C": "$HOME",
        "OMP_NUM_THREADS": "2",
        "CUDA_DEVICE_ORDER": "PCI_BUS_ID",
        "CUDA_VISIBLE_DEVICES": "0,1,3",
        "CUDA_CACHE_PATH": "/cache",
    }


@pytest.mark.integration
@pytest.mark.parametrize(
    ("given", "before", "after"),
    [
        ("PYTHONPATH=/x:$PYTHONPATH", "/old", "/x:/old"),
        ("PYTHONPATH=/x:$PYTHONPATH", None, "/x"),
        ("PYTHONPATH=/x:\\$PYTHONPATH", "/old", "/x:/old"),
        ("PYTHONPATH=$PYTHONPATH:/y", "/old", "/old:/y"),
        ("PYTHONPATH=$PYTHONPATH:/y", None, "/y"),
        ("PYTHONPATH=/a:/x:$PYTHONPATH:/y", "/o ld", "/a:/x:/o ld:/y"),
        ({"PYTHONPATH": "/x y:$PYTHONPATH"}, "$(touch pwned)", "/x y:$(touch pwned)"),
        ("PYTHONPATH='/$(touch pwned)`touch pwned`:$PYTHONPATH'", "/old", "/$(touch pwned)`touch pwned`:/old"),
        ("PYTHONPATH=/x:$HOME", "/old", "/x:$HOME"),
        ("PYTHONPATH=$PYTHONPATH", "/old", "$PYTHONPATH"),
        ("PYTHONPATH=/x:${PYTHONPATH", "/old", "/x:${PYTHONPATH"),
    ],
)
def test_a_variable_can_be_put_around_what_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, given: Any, before: str | None, after: str
) -> None:
    body = '{% extends "base.sh" %}{% block benchmark %}printf "is %s|" "$PYTHONPATH"\n{% endblock %}'
    (tmp_path / "t.sh").write_text(body)
    monkeypatch.delenv("PYTHONPATH", raising=False)
    if before is not None:
        monkeypatch.setenv("PYTHONPATH", before)
    one = {**experiment(), "dummy.env": given, "dummy.launcher": str(tmp_path / "t.sh")}
    _, output = run(one, tmp_path)
    assert f"is {after}|" in output
    assert not list(tmp_path.glob("pwned"))


@pytest.mark.integration
def test_in_a_container_it_is_the_variable_of_the_container(tmp_path: Path) -> None:
    docker = tmp_path / "docker"  # runs what stands behind the image, with the container's own variable
    docker.write_text(
        "#!/bin/bash\n"
        '[ "$1" = run ] || exit 0\n'
        'while [ "$1" != an-image ]; do shift; done\n'
        'shift; PYTHONPATH=/inside exec "$@"\n'
    )
    docker.chmod(0o755)
    (tmp_path / "t.sh").write_text(
        '{% extends "base.sh" %}{% block benchmark %}{% set image = "an-image" %}{% set arguments = [] %}'
        '{% set command = ["python3", "-c", "import os, sys; print(os.environ[\'PYTHONPATH\'], sys.argv[1:])", "a b", "$A"] %}'
        '{% include "docker_run.sh" %}{% endblock %}'
    )
    one = {**experiment(), "exp.docker": True, "exp.docker_launcher": str(docker)}
    one |= {"dummy.launcher": str(tmp_path / "t.sh"), "dummy.env": "PYTHONPATH='/x y:$PYTHONPATH' A=1"}
    _, output = run(one, tmp_path)
    assert "/x y:/inside ['a b', '$A']\n" in output
    source = make_launcher(one, tmp_path).source
    assert "--env A=1" in source
    assert "--env PYTHONPATH" not in source


def test_environment_of_a_mapping_and_the_allocator() -> None:
    found = dict(environment(experiment(**{"dummy.env": {"A": 1}})))
    assert found["A"] == "1"
    assert "MALLOC_TRIM_THRESHOLD_" in found
    assert found["CUDA_VISIBLE_DEVICES"] == ""


@pytest.mark.parametrize("bad", ["touch pwned", "export 1A=2", "A='"])
def test_an_environment_cannot_run_commands(bad: str) -> None:
    with pytest.raises(LaunchError, match=r"dummy\.env"):
        environment(experiment(**{"dummy.env": bad}))


def test_variable_names_are_checked(tmp_path: Path) -> None:
    with pytest.raises(LaunchError, match="environment variable"):
        make_launcher(experiment(**{"runtime.env.A;touch": "1"}))


@pytest.mark.parametrize(
    ("gpus", "ids"), [("", []), ("0", [0]), ("0,2", [0, 2]), ("0:1,2:3", [0, 1, 2, 3]), ("0 1", [0, 1])]
)
def test_gpu_ids(gpus: str, ids: list[int]) -> None:
    assert gpu_ids(gpus) == ids


@pytest.mark.parametrize(
    ("template", "said"),
    [
        ("echo {{ exp.nothing }}", "exp.nothing"),
        ("echo {{ nothing }}", "nothing"),
        ("{% if %}", "t.sh:1"),
        ("{{ ''.__class__.__mro__ }}", "unsafe"),
        ("{{ exp.__class__ }}", "unsafe"),
        ("{% include '/etc/passwd' %}", "passwd"),
        ("{{ 1 / 0 }}", "ZeroDivisionError"),
    ],
)
def test_bad_templates_are_clear_errors(tmp_path: Path, template: str, said: str) -> None:
    (tmp_path / "t.sh").write_text(template)
    with pytest.raises(DlbsError) as raised:
        make_launcher({**experiment(), "dummy.launcher": str(tmp_path / "t.sh")})
    assert said in str(raised.value)


def test_a_missing_launcher(tmp_path: Path) -> None:
    with pytest.raises(LaunchError, match="no launcher"):
        make_launcher({**experiment(), "exp.framework": "nope"})


def pytorch(**parameters: Any) -> str:
    config = load_config(parameters=["exp.docker=false"])
    raw = next(build(config))
    return make_launcher(processor_for(config).resolve({**raw, "exp.gpus": "", **parameters})).source


def test_pytorch_on_bare_metal() -> None:
    source = pytorch(**{"runtime.launcher": "nice -n 5", "pytorch.host_python_path": "/opt/py"})
    line = next(line for line in source.splitlines() if "benchmarks.py" in line and not line.startswith("__"))
    assert line.startswith("nice -n 5 ")
    assert " --model=alexnet --batch_size=16 " in line
    assert " --forward_only=false " in line
    assert "--data_dir" not in line
    assert "export PYTHONPATH=" in source
    assert ":'/opt/py'" in source


def test_pytorch_in_docker() -> None:
    source = pytorch(
        **{"exp.docker": True, "exp.gpus": "0,1", "pytorch.data_dir": "/data/x y", "exp.docker_args": "-e A=1"}
    )
    assert "docker run --rm --name dlbs-" in source
    assert """--gpus '"device=0,1"'""" in source
    assert "'--volume=/data/x y:/workspace/data:ro'" in source
    assert "-e A=1 \\" in source
    assert "--data_dir=/workspace/data" in source
    assert "dlbs/pytorch:gpu \\" in source


@pytest.mark.parametrize(
    ("gpus", "ids", "visible"),
    [("any:2", "", None), ("any:2", "4,5", "4,5"), ("", "", ""), (" ", " ", ""), ("3", "3", "3")],
)
def test_gpus_that_are_not_assigned_yet_are_not_hidden(gpus: str, ids: str, visible: str | None) -> None:
    one = experiment(**{"exp.gpus": gpus, "exp.gpu_ids": ids})
    assert dict(environment(one)).get("CUDA_VISIBLE_DEVICES") == visible


@pytest.mark.parametrize("command", ["podman", "/usr/local/bin/podman-remote"])
def test_podman_takes_gpus_by_their_cdi_names(command: str) -> None:
    source = pytorch(**{"exp.docker": True, "exp.gpus": "0,1", "exp.docker_launcher": command})
    assert " --device nvidia.com/gpu=0 --device nvidia.com/gpu=1 " in source
    assert "--gpus" not in source.partition("# The environment.")[2]


def test_parameters_are_logged_as_json() -> None:
    source = pytorch(**{"exp.model_opts": {"depth": 3}})
    assert f"__exp.model_opts__= {json.dumps({'depth': 3})}" in source


@pytest.mark.integration
def test_a_signal_that_ends_only_the_sleep_of_the_dummy_is_no_success(tmp_path: Path) -> None:
    """scancel signals processes one by one, the launcher perhaps too late."""
    (tmp_path / "sleep").write_text("#!/bin/sh\nkill -TERM $$\n")
    (tmp_path / "sleep").chmod(0o755)
    launcher = make_launcher(experiment(**{"exp.framework": "dummy", "dummy.seconds": 10_000}), tmp_path)
    environ = {"PATH": f"{tmp_path}:{os.environ['PATH']}"}
    done = subprocess.run(
        ["bash", "-s"], input=launcher.source, env=environ, capture_output=True, text=True, check=False
    )
    assert done.returncode == 128 + signal.SIGTERM
    assert "__exp.exit_code__= 143" in done.stdout
    assert "results.throughput" not in done.stdout
