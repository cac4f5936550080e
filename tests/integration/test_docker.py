"""Experiments in real containers of a real docker engine; `.ci/services` installs it and makes the base image."""

from __future__ import annotations

import json
import os
import random
import re
import signal
import socket
import subprocess
import time
from pathlib import Path
from typing import Any

import psutil
import pytest

from dlbs.core.logs import parse_line
from pytorch_benchmarks.data import make_dataset
from tests.conftest import ROOT, RunDlbs, dlbs_environment, start_dlbs
from tests.forked import ForkServer, Program
from tests.integration.kills import kill_at_a_random_moment
from tests.services import BASE_IMAGE
from tests.waiting import PATIENCE, wait_until

pytestmark = [pytest.mark.integration, pytest.mark.needs("docker", "base image")]


def _docker(*arguments: str) -> str:
    return subprocess.run(["docker", *arguments], capture_output=True, text=True, check=True).stdout


DUMMY = ("-Pexp.framework=dummy", "-Pexp.docker=true", "-Pexp.gpus=", f"-Pexp.docker_image={BASE_IMAGE}")


def launcher(directory: Path, body: str) -> str:
    """A template that runs `body` with sh in the container, as a -P flag."""
    path = directory / "own.sh"
    path.write_text(
        '{% extends "base.sh" %}{% block benchmark %}{% set image = exp.docker_image %}{% set arguments = [] %}'
        f'{{% set command = ["sh", "-c", {json.dumps(body)}] %}}{{% include "docker_run.sh" %}}{{% endblock %}}'
    )
    return f"-Pdummy.launcher={path}"


def values(log: Path) -> dict[str, Any]:
    return dict(pair for pair in map(parse_line, log.read_text().splitlines()) if pair)


def logs(directory: Path) -> list[Path]:
    return sorted((directory / "logs").glob("*.log"))


def containers(directory: Path, *which: str) -> set[str]:
    """Names of the containers that the experiments of a directory have, running or not; nobody else's."""
    scripts = (path.read_text() for path in directory.glob("logs/*.sh"))
    own = {name for script in scripts for name in re.findall(r"--name (\S+)", script)}
    return own & set(_docker("ps", *(which or ("--all",)), "--format", "{{.Names}}").split())


def wait_for_output(directory: Path, text: str, process: Program | subprocess.Popen[str]) -> None:
    """Wait until the one experiment under way has written a line."""

    def written() -> bool:
        assert process.poll() is None
        return any(f"\n{text}\n" in part.read_text() for part in directory.glob("logs/*.part"))

    wait_until(written, f"{text!r} in the log")


def start(directory: Path, *arguments: str) -> Program | subprocess.Popen[str]:
    return start_dlbs(directory, "run", *arguments)


def test_containers_are_said_unless_somebody_asked_for_them(dlbs: RunDlbs, tmp_path: Path) -> None:
    flags = (launcher(tmp_path, "true"), *(flag for flag in DUMMY if not flag.startswith("-Pexp.docker=")))
    said = f"docker daemon found: running in containers of {BASE_IMAGE} (exp.docker=true)\n"
    first = dlbs("run", *flags, check=True).stderr
    assert first.startswith(said)
    assert first.index(said) < first.index("[1/1]")
    assert said not in dlbs("run", *flags, "-Pexp.docker=true", "-Pexp.rerun=always", check=True).stderr
    known = dlbs("run", *flags, "-Vexp.seed=[1,2]", "--until-known", "--by", "exp.seed", "--max-repeats", "1")
    assert known.stderr.startswith(said)


@pytest.fixture(scope="module")
def pytorch_image(forked_dlbs: ForkServer) -> str:
    """The image of docker/pytorch/cpu, built by `dlbs images build`."""
    command = ("-m", "dlbs", "images", "build", "docker/pytorch/cpu", "--network", "host", "-q")
    done = forked_dlbs.run(
        *command, "--build-arg", f"BASE={BASE_IMAGE}", directory=ROOT, environment=dlbs_environment(), timeout=PATIENCE
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("dlbs/pytorch:cpu sha256:")
    return "dlbs/pytorch:cpu"


# A language model that costs next to nothing.
TINY_TEXT = """
from pytorch_benchmarks.model_factory import register_model
from pytorch_benchmarks.models.llama import Llama, Size

@register_model("tiny_text")
def tiny_text(*, sequence_length: int = 8, new_tokens: int = 4) -> Llama:
    size = Size(64, width=16, depth=2, heads=2, key_heads=1, hidden=32, theta=1e4, tied=True)
    return Llama("Tiny", size, sequence_length, new_tokens)
"""


def test_the_same_log_keys_as_on_bare_metal(dlbs: RunDlbs, tmp_path: Path, pytorch_image: str) -> None:
    flags = ("-Pexp.model=deep_mnist", "-Pexp.gpus=", "-Pexp.num_batches=3", "-Pexp.num_warmup_batches=1")
    small = ("-Pexp.replica_batch=2", "-Pexp.phase=inference")
    done = dlbs("run", *flags, *small, "-Vexp.docker=[true,false]")
    assert done.returncode == 0, done.stderr
    inside, outside = sorted(map(values, logs(tmp_path)), key=lambda one: not one["exp.docker"])
    image = {"exp.docker_image_id", "exp.docker_image_digests", "exp.docker_image_labels"}
    doubts = {"results.warnings"}  # as busy as this machine is at the moment
    facts = {"exp.code.unknown", "exp.software.package_list"}  # of a container that cannot write beside the log
    assert set(inside) - image - doubts - facts == set(outside) - doubts
    assert inside["exp.code.commit"] == outside["exp.code.commit"]
    assert inside["exp.docker_image_id"].startswith("sha256:")
    assert inside["exp.docker_image_labels"]["org.opencontainers.image.title"] == "dlbs/pytorch:cpu"
    assert inside["results.throughput"] > 0
    assert inside["exp.env.settings"]["MALLOC_TRIM_THRESHOLD_"] == outside["exp.env.settings"]["MALLOC_TRIM_THRESHOLD_"]


def test_a_search_in_a_container_leaves_loadgens_logs_outside(
    dlbs: RunDlbs, tmp_path: Path, pytorch_image: str
) -> None:
    done = dlbs(
        "run", "-Pexp.phase=serving", "-Pexp.model=deep_mnist", "-Pexp.gpus=", "-Pexp.replica_batch=2", "-Pserving.min_duration=0.1",
        "-Pserving.samples=2", "-Pserving.find=max_qps", "-Pserving.target_latency=1000", "-Pserving.percentile=50",
        "-Pserving.find_trials=8", "-Pexp.docker=true",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    (log,) = logs(tmp_path)
    assert 1 <= len(values(log)["results.serving.trials"]) <= 8
    assert (log.with_name(f"{log.name}.loadgen") / "at-the-limit").is_dir()


def test_inference_under_load_in_a_container_leaves_loadgens_logs_outside(
    dlbs: RunDlbs, tmp_path: Path, pytorch_image: str
) -> None:
    (tmp_path / "lengths").write_text("4 2\n8 3\n")
    (tmp_path / "tiny.py").write_text(TINY_TEXT)
    done = dlbs(
        "run", "-Pexp.phase=serving", "-Pexp.model=tiny_text", f"-Ppytorch.architecture={tmp_path / 'tiny.py'}", "-Pexp.gpus=", "-Pexp.replica_batch=2", "-Pexp.num_warmup_batches=0",
        f"-Pserving.prompt_tokens=file:{tmp_path / 'lengths'}", "-Pserving.min_duration=0.1", "-Pserving.samples=2", "-Pserving.percentile=50",
        "-Vexp.docker=[true,false]",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    inside, outside = sorted(map(values, logs(tmp_path)), key=lambda one: not one["exp.docker"])
    image = {"exp.docker_image_id", "exp.docker_image_digests", "exp.docker_image_labels"}
    doubts = {"results.warnings"}  # as busy as this machine is at the moment
    facts = {"exp.code.unknown", "exp.software.package_list"}  # of a container that cannot write beside the log
    assert set(inside) - image - doubts - facts == set(outside) - doubts
    assert inside["exp.code.commit"] == outside["exp.code.commit"]
    assert inside["results.serving.valid"] is True
    assert 2 < inside["results.serving.output_tokens"] < 3
    for log in logs(tmp_path):
        kept = log.with_name(f"{log.name}.loadgen")
        assert (kept / "mlperf_log_summary.txt").exists()
        assert kept.stat().st_uid == os.getuid()


def test_real_data_are_mounted(dlbs: RunDlbs, tmp_path: Path, pytorch_image: str) -> None:
    sizes = ["--num_images=8", "--height=32", "--width=32"]
    assert make_dataset.main(["image_folder", str(tmp_path / "my data"), *sizes]) == 0
    data = (f"-Ppytorch.data_dir={tmp_path / 'my data'}", "-Ppytorch.data_backend=image_folder")
    flags = (
        "-Pexp.model=deep_mnist",
        "-Pexp.gpus=",
        "-Pexp.docker=true",
        "-Pexp.num_batches=2",
        "-Pexp.replica_batch=2",
    )
    done = dlbs("run", *flags, *data, "-Pexp.phase=ingestion")
    assert done.returncode == 0, done.stderr
    assert values(logs(tmp_path)[0])["exp.data"] == "image_folder"


def test_training_leaves_its_weights_outside(dlbs: RunDlbs, tmp_path: Path, pytorch_image: str) -> None:
    """An architecture from outside is trained in a container, and its weights are measured in another one."""
    sizes = ["--num_images=20", "--num_classes=2", "--height=32", "--width=32"]
    for part in ("train", "val"):
        assert make_dataset.main(["image_folder", str(tmp_path / "set" / part), *sizes]) == 0
    dlbs("pack", "new", "mynet", "--template", "architecture", check=True)
    common = ("-Pexp.gpus=", "-Pexp.docker=true", "-Pexp.replica_batch=4")
    recipe = ("--plan", "packs/mynet/recipe.yaml", "-Ptrain.epochs=1", f"-Ppytorch.data_dir={tmp_path / 'set'}")
    file = f"-Ppytorch.architecture={tmp_path / 'packs' / 'mynet' / 'architecture.py'}"
    done = dlbs("run", *recipe, *common, file)
    assert done.returncode == 0, done.stderr
    assert values(logs(tmp_path)[0])["results.accuracy_instances"] == 20
    (entry,) = tmp_path.glob("logs/mynet_*/mynet.json")
    assert (entry.parent / "best.pt").stat().st_uid == os.getuid()
    measured = ("-Pexp.framework=pack", "-Pexp.pack=mynet", f"-Ppytorch.weights={entry}", "-Pexp.log_dir=measured")
    done = dlbs("run", *measured, *common, "-Pexp.phase=inference", "-Pexp.num_batches=2")
    assert done.returncode == 0, done.stderr
    (log,) = tmp_path.glob("measured/*.log")
    assert values(log)["exp.flags"]["weights"] == "/workspace/weights/mynet.json"


def test_output_comes_as_it_is_written_and_files_are_the_callers(dlbs: RunDlbs, tmp_path: Path) -> None:
    mount = f'-Pexp.docker_args=["--volume={tmp_path}:/out"]'
    body = "echo begun; id -u > /out/user; while [ ! -e /out/go ]; do sleep 0.1; done; echo over"
    process = start(tmp_path, *DUMMY, launcher(tmp_path, body), mount)
    wait_for_output(tmp_path, "begun", process)
    (tmp_path / "go").touch()
    process.communicate(timeout=PATIENCE)
    assert process.returncode == 0
    assert "\nover\n" in logs(tmp_path)[0].read_text()
    assert (tmp_path / "user").read_text().strip() == str(os.getuid())
    assert (tmp_path / "user").stat().st_uid == os.getuid()


def test_no_network_if_it_is_turned_off(dlbs: RunDlbs, tmp_path: Path) -> None:
    flag = launcher(tmp_path, "ls /sys/class/net | tr '\\n' ' '")
    dlbs("run", *DUMMY, flag, "-Vexp.network=[true,false]", check=True)
    for log in logs(tmp_path):
        assert ("eth0" in log.read_text()) == values(log)["exp.network"]


def test_limits_of_processors_and_memory(dlbs: RunDlbs, tmp_path: Path) -> None:
    body = "cat /sys/fs/cgroup/memory/memory.limit_in_bytes /sys/fs/cgroup/memory.max 2>/dev/null; nproc"
    dlbs("run", *DUMMY, launcher(tmp_path, body), "-Pruntime.cpus=1", "-Pruntime.memory=256M", check=True)
    text = logs(tmp_path)[0].read_text()
    assert f"\n{256 << 20}\n1\n" in text


def test_a_container_may_end_by_itself(tmp_path: Path) -> None:
    process = start(
        tmp_path,
        *DUMMY,
        launcher(tmp_path, "trap 'echo tidied up; exit 0' TERM; echo begun; while :; do sleep 0.1; done"),
    )
    wait_for_output(tmp_path, "begun", process)
    assert containers(tmp_path, "--filter=status=running")
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=PATIENCE)
    assert "tidied up" in logs(tmp_path)[0].read_text()
    assert not containers(tmp_path)


STUBBORN = "trap '' TERM; echo begun; while :; do sleep 1; done"


def test_a_container_ends_when_its_experiment_is_interrupted(tmp_path: Path) -> None:
    process = start(tmp_path, *DUMMY, launcher(tmp_path, STUBBORN))
    wait_for_output(tmp_path, "begun", process)
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=PATIENCE)
    assert values(logs(tmp_path)[0])["exp.status"] == "cancelled"
    assert not containers(tmp_path)


def test_a_container_ends_when_the_time_of_its_experiment_is_over(dlbs: RunDlbs, tmp_path: Path) -> None:
    flag = launcher(tmp_path, STUBBORN)
    for limit in (3, 15, 75, 375):  # as long as this machine needs to start a container
        dlbs("run", *DUMMY, flag, f"-Pexp.timeout={limit}", "-Pexp.rerun=always")
        (log,) = logs(tmp_path)
        assert values(log)["exp.status"] == "timeout"
        assert not containers(tmp_path)
        if "\nbegun\n" in log.read_text():
            return
    raise AssertionError("no container started in time")


def test_a_stale_container_of_the_same_name_is_in_nobodys_way(dlbs: RunDlbs, tmp_path: Path) -> None:
    flag = launcher(tmp_path, "echo fine")
    dlbs("run", *DUMMY, flag, check=True)
    script = next(tmp_path.glob("logs/*.sh")).read_text()
    (name,) = re.findall(r"--name (\S+)", script)
    _docker("create", "--name", name, BASE_IMAGE, "true")
    dlbs("run", *DUMMY, flag, "-Pexp.rerun=always", check=True)
    assert values(logs(tmp_path)[0])["exp.status"] == "ok"
    assert not containers(tmp_path)


def test_the_monitor_sees_the_processes_inside(dlbs: RunDlbs, tmp_path: Path) -> None:
    program = (
        "import time; b = bytearray(80_000_000); begin = time.time()\n"
        "while time.process_time() < 2.5: pass\n"
        'print("__results.elapsed__=", time.time() - begin)'
    )
    flag = launcher(tmp_path, f"python3 -c '{program}'")
    dlbs("run", *DUMMY, flag, "-Pmonitor.interval=0.2", check=True)
    found = values(logs(tmp_path)[0])
    assert found["results.use.cpu_peak"] > 0.6 * 100 * 2.5 / found["results.elapsed"]  # the most is more than the mean
    assert found["results.use.mem_res_peak"] > 80_000_000


def test_a_failure_inside_is_a_failure(dlbs: RunDlbs, tmp_path: Path) -> None:
    done = dlbs("run", *DUMMY, launcher(tmp_path, "exit 7"))
    assert done.returncode == 1
    assert "exit code 7" in done.stderr
    missing = dlbs("run", *DUMMY[:3], "-Pexp.docker_image=dlbs/nothing:here", launcher(tmp_path, "true"))
    assert missing.returncode == 2
    assert "docker image dlbs/nothing:here not found on this machine" in missing.stderr
    assert "docker pull dlbs/nothing:here" in missing.stderr


COUNT, KILLS = 16, 12  # experiments: more than `--jobs`, and more than files come before a kill


@pytest.mark.parametrize(
    ("argument", "said"),
    [
        ("--memory=1k", "exit code 125: Error response from daemon: Minimum memory limit"),
        ("--bogus=1", "exit code 125: unknown flag: --bogus"),
    ],
)
def test_an_error_of_docker_is_the_reason(dlbs: RunDlbs, tmp_path: Path, argument: str, said: str) -> None:
    done = dlbs("run", f"-Pexp.docker_image={BASE_IMAGE}", f'-Pexp.docker_args=["{argument}"]', "--", "true")
    assert said in done.stderr
    (log,) = logs(tmp_path)
    assert values(log)["exp.status_msg"].startswith(said)


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (['-Pexp.docker_args=["--network=nonesuch"]'], "network nonesuch not found (check docker network ls"),
        (["--no-validation", "-Pexp.docker_image=dlbs/gone:1"], "Unable to find image 'dlbs/gone:1' locally"),
    ],
)
def test_what_would_end_all_others_alike_stops_the_plan(
    dlbs: RunDlbs, tmp_path: Path, flags: list[str], said: str
) -> None:
    done = dlbs("run", f"-Pexp.docker_image={BASE_IMAGE}", *flags, "--", "sleep", "{n}", "-Vn=1,2,3")
    assert done.returncode != 0
    assert f"stopped: {'Error response from daemon: ' if 'network' in said else ''}{said}" in done.stderr
    assert "3 left" in done.stderr
    assert len(logs(tmp_path)) <= 1


def test_kill_9_at_random_moments(tmp_path: Path) -> None:
    """What a killed run left is gone when the next one has ended, and every experiment ran to its end once."""
    flag = launcher(tmp_path, "sleep 0.1; echo last line")
    grid = (*DUMMY, flag, f"-Vexp.seed={list(range(COUNT))}", "--jobs", "4", "-q", "--no-validation")
    chance = random.Random(3)
    kills = 0
    while kills < KILLS:
        process = start(tmp_path, *grid)
        kills += kill_at_a_random_moment(process, tmp_path / "logs", chance)
        if len(logs(tmp_path)) == COUNT:
            for log in logs(tmp_path):
                log.unlink()
    process = start(tmp_path, *grid)
    _, said = process.communicate(timeout=PATIENCE)
    assert process.returncode == 0, said
    assert len(logs(tmp_path)) == COUNT
    for log in logs(tmp_path):
        assert log.read_text().count("last line\n") == 1
        assert values(log)["exp.status"] == "ok"
    assert not list(tmp_path.glob("logs/*.part"))
    assert not containers(tmp_path)


def test_images(dlbs: RunDlbs, tmp_path: Path) -> None:
    (tmp_path / "image" / "small").mkdir(parents=True)
    dockerfile = tmp_path / "image" / "small" / "Dockerfile"
    dockerfile.write_text("ARG BASE\nFROM ${BASE}\nARG WORD=none\nRUN echo word $WORD\nLABEL word=$WORD\n")
    word = f"hello{time.time_ns()}"  # another one each time: what is built already is not built again
    built = dlbs("images", "build", "image/small", "--build-arg", f"BASE={BASE_IMAGE}", "--build-arg", f"WORD={word}")
    assert built.returncode == 0, built.stderr
    assert built.stdout.startswith("dlbs/image:small sha256:")
    assert f"word {word}" in built.stderr
    listed = json.loads(dlbs("images", "list", "--json").stdout)
    assert "dlbs/image:small" in [image["name"] for image in listed]
    assert "dlbs/image:small" in dlbs("images", "list").stdout
    dockerfile.write_text(f"FROM {BASE_IMAGE}\nRUN echo the reason; exit 3\n")
    failed = dlbs("images", "build", "image/small", "--tag", "dlbs/image:broken", "-q")
    assert failed.returncode == 2
    assert "the reason" in failed.stderr
    assert "Traceback" not in failed.stderr
    pulled = dlbs("images", "pull", "localhost:1/nothing:here")
    assert pulled.returncode == 2
    assert "pulling localhost:1/nothing:here failed" in pulled.stderr
    nowhere = dlbs("images", "build", "nowhere")
    assert nowhere.returncode == 2
    assert "no Dockerfile" in nowhere.stderr
    no_daemon = dlbs("images", "list", DOCKER_HOST="unix:///nowhere.sock")
    assert no_daemon.returncode == 2
    assert "does not answer" in no_daemon.stderr
    _docker("image", "rm", "-f", "dlbs/image:small")


SERVER = (
    "-Pexp.phase=serving", "-Pexp.gpus=", "-Pexp.model=any", "-Pserving.scenario=concurrent", "-Pexp.num_warmup_batches=1",
)  # fmt: skip


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as free:
        return int(free.getsockname()[1])


def servers(port: int) -> str:
    """Containers of the server at a port, running or not."""
    ids = _docker("ps", "--all", "--quiet", "--filter", f"label=port={port}")
    return ids.strip()


@pytest.mark.parametrize("kind", ["ends", "interrupted", "killed"])
def test_a_server_in_a_container_is_gone_afterwards(dlbs: RunDlbs, tmp_path: Path, kind: str) -> None:
    """As the first process of a container, Python ignores SIGTERM: the container must be removed."""
    port = free_port()
    command = f"docker run --label port={port} --network host -v {ROOT}/tests:/t:ro {BASE_IMAGE} python3 /t/known_server.py '{{}}' {port}"
    flags = (*SERVER, "-Pexp.docker=false", f"-Pserving.url=http://127.0.0.1:{port}", f"-Pserving.command={command}")
    if kind == "ends":
        done = dlbs("run", *flags, "-Pserving.min_duration=0.1")
        assert done.returncode == 0, done.stderr
        assert values(logs(tmp_path)[0])["results.serving.failed"] == 0
    else:
        process = start(tmp_path, *flags, "-Pserving.min_duration=3600")
        wait_until(lambda: bool(servers(port)))
        if kind == "interrupted":
            process.send_signal(signal.SIGINT)
        else:
            for program in psutil.process_iter(["cmdline"]):
                if f"--serving_url=http://127.0.0.1:{port}" in (program.info["cmdline"] or []):
                    program.kill()
        process.communicate(timeout=PATIENCE)
    wait_until(lambda: not servers(port))


def test_a_container_and_a_process_take_turns(dlbs: RunDlbs, tmp_path: Path) -> None:
    sides = (f"-Pexp.docker_image={BASE_IMAGE}", "-Vexp.docker=[true,false]", "--by", "exp.docker")
    done = dlbs("run", *sides, "-Pturns.seconds=0.01", "-Pturns.count=10", "--turns", "1", "--", "true")
    assert done.returncode == 0, done.stderr
    assert "the sides take turns" in done.stderr
    one, other = map(values, logs(tmp_path))
    assert one["results.turns.pair"] == other["results.turns.pair"]
    assert {one["exp.docker"], other["exp.docker"]} == {True, False}


def test_a_server_and_its_client_share_a_container(dlbs: RunDlbs, tmp_path: Path, pytorch_image: str) -> None:
    """Also where the image has an entry point, as those of servers have."""
    build = ["docker", "build", "--tag", "dlbs/image:entry", "-"]
    subprocess.run(build, input=f'FROM {pytorch_image}\nENTRYPOINT ["false"]\n', text=True, check=True)
    url = "http://127.0.0.1:18765"  # of the container
    flags = (*SERVER, "-Pexp.docker=true", f"-Pserving.url={url}", "-Pserving.min_duration=0.1")
    flags += (f"-Pserving.command=python3 {ROOT}/tests/known_server.py '{{}}' 18765",)
    volume = f"--volume={ROOT}/tests:{ROOT}/tests:ro"
    try:
        for image, arguments in ((pytorch_image, [volume]), ("dlbs/image:entry", [volume, "--entrypoint=env"])):
            done = dlbs("run", *flags, f"-Pexp.docker_image={image}", f"-Pexp.docker_args={json.dumps(arguments)}")
            assert done.returncode == 0, done.stderr
        for log in logs(tmp_path):
            found, kept = values(log), tmp_path / "logs" / f"{log.name}.loadgen"
            assert found["results.serving.failed"] == 0
            assert (kept / "server.log").read_text() == f"{url}\n"
            assert len((kept / "requests.jsonl").read_text().splitlines()) == found["results.serving.queries"]
    finally:
        _docker("image", "rm", "--force", "dlbs/image:entry")
    assert not containers(tmp_path)
