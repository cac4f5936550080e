"""The way of adding a container, from its first step to its last, with the real docker engine."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from dlbs.packs.container_model import Model, devices_to_test, load_model
from dlbs.packs.definition import find_pack
from dlbs.packs.docker import DockerContainer, DockerContainerError
from tests.conftest import ROOT, RunDlbs, dlbs_environment, start_dlbs
from tests.forked import ForkServer
from tests.integration.test_docker import containers
from tests.services import BASE_IMAGE
from tests.waiting import PATIENCE, wait_until

pytestmark = [
    pytest.mark.integration,
    pytest.mark.needs("docker", "base image"),
    pytest.mark.usefixtures("own_registry"),
]
IMAGE = "dlbs/tutorial:1.0"
TUTORIAL = ROOT / "examples" / "packs" / "tutorial"


@pytest.fixture(scope="module")
def image(forked_dlbs: ForkServer) -> str:
    """The tutorial's image, built by our command."""
    command = ("-m", "dlbs", "pack", "build", str(TUTORIAL), "--build-arg", f"BASE={BASE_IMAGE}")
    done = forked_dlbs.run(*command, directory=ROOT, environment=dlbs_environment(), timeout=PATIENCE)
    assert done.returncode == 0, done.stderr
    assert f"tutorial: built {IMAGE}" in done.stderr
    return IMAGE


def left() -> list[str]:
    """Containers of the tutorial's image, running or not."""
    command = ["docker", "ps", "--all", "--filter", f"ancestor={IMAGE}", "--format", "{{.Names}}"]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()


def test_predict_reverses_a_string(image: str) -> None:
    model = load_model(find_pack(str(TUTORIAL)))
    assert "tutorial-model" in Model.list_available()
    assert type(model) is Model.by_name("tutorial-model")
    assert model.predict("abc") == "cba"
    assert model.predict_batch([{"text": "abc"}, {"text": "123"}]) == ["cba", "321"]


def test_the_tutorials_own_tests_pass(image: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(TUTORIAL / "tests" / "model_test.py"), "--rootdir", str(TUTORIAL)],
        env={**os.environ, "PYTHONPATH": str(ROOT)}, cwd=TUTORIAL, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout


def test_predict_from_files(dlbs: RunDlbs, tmp_path: Path, image: str) -> None:
    (tmp_path / "in.jsonl").write_text('{"text": "abc"}\n\n{"text": "Größe"}\n')
    (tmp_path / "more.jsonl").write_text('{"text": "123"}\n')
    done = dlbs(
        "pack",
        "predict",
        str(TUTORIAL),
        "--input-files",
        "in.jsonl",
        "--input-files",
        "more.jsonl",
        "--output",
        "out.jsonl",
        "--batch-size",
        "2",
    )
    assert done.returncode == 0, done.stderr
    lines = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines()]
    assert lines == [{"output": "cba"}, {"output": "eßörG"}, {"output": "321"}]
    assert not left()


def test_its_throughput_is_swept_like_any_experiment(dlbs: RunDlbs, tmp_path: Path, image: str) -> None:
    done = dlbs(
        "run", "-Pexp.framework=pack", f"-Pexp.pack={TUTORIAL}", "-Vexp.replica_batch=[1,64]", "-Pexp.num_batches=2",
        "-Pexp.num_warmup_batches=0",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    records = json.loads(dlbs("parse", "logs").stdout)["data"]
    small, large = sorted(records, key=lambda record: record["exp.replica_batch"])
    assert small["exp.status"] == large["exp.status"] == "ok"
    assert len(small["results.time_data"]) == 2
    for record in (small, large):
        throughput = 1000 * record["exp.replica_batch"] / record["results.time"]
        assert record["results.throughput"] == pytest.approx(throughput)
    assert small["exp.docker_image_id"].startswith("sha256:")
    assert "batch 64" in dlbs("report", "logs").stdout
    assert not left()


def test_a_timeout_and_an_interruption_leave_no_container(dlbs: RunDlbs, tmp_path: Path, image: str) -> None:
    pack = tmp_path / "packs" / "slow"
    shutil.copytree(TUTORIAL, pack)
    (pack / "model.py").unlink()
    definition = (pack / "pack.yaml").read_text().replace("command: python3 run.py", "command: sleep 100 && true")
    (pack / "pack.yaml").write_text(definition.replace("tutorial:\n", "slow:\n", 1))
    done = dlbs("run", "-Pexp.framework=pack", "-Pexp.pack=slow", "-Pexp.timeout=3")
    assert done.returncode == 1
    assert not left()
    process = start_dlbs(tmp_path, "run", "-Pexp.framework=pack", "-Pexp.pack=slow", "-Pexp.rerun=always")
    wait_until(left, "a container")
    process.terminate()
    process.wait(PATIENCE)
    assert not left()


def test_a_new_pack_from_the_template_works(dlbs: RunDlbs, tmp_path: Path) -> None:
    assert dlbs("pack", "new", "fresh", "--template", "container").returncode == 0
    done = dlbs("pack", "build", "fresh", "--build-arg", f"BASE={BASE_IMAGE}", "--image", "dlbs-test/fresh:mine")
    assert done.returncode == 0, done.stderr
    done = dlbs(
        "pack",
        "predict",
        "fresh",
        "--input-files",
        "packs/fresh/inputs.jsonl",
        "--output",
        "o.jsonl",
        "--image",
        "dlbs-test/fresh:mine",
    )
    assert done.returncode == 0, done.stderr
    assert json.loads((tmp_path / "o.jsonl").read_text().splitlines()[0]) == {"output": "cba"}
    subprocess.run(["docker", "image", "rm", "dlbs-test/fresh:mine"], capture_output=True, check=True)


def test_pull_falls_back_to_building(dlbs: RunDlbs, image: str) -> None:
    done = dlbs(
        "pack",
        "build",
        str(TUTORIAL),
        "--build-arg",
        f"BASE={BASE_IMAGE}",
        "--pull",
        "--image",
        "127.0.0.1:1/tutorial:1.0",
    )
    assert done.returncode == 0, done.stderr
    assert "cannot be pulled" in done.stderr
    assert "built 127.0.0.1:1/tutorial:1.0" in done.stderr
    subprocess.run(["docker", "image", "rm", "127.0.0.1:1/tutorial:1.0"], capture_output=True, check=True)


def test_publish_says_what_it_would_do(dlbs: RunDlbs) -> None:
    done = dlbs("pack", "publish", str(TUTORIAL), "--repository", "registry.example.org/me/tutorial:1.0", "--dry-run")
    assert done.returncode == 0
    assert done.stderr.splitlines() == [
        "docker tag dlbs/tutorial:1.0 registry.example.org/me/tutorial:1.0",
        "docker push registry.example.org/me/tutorial:1.0",
    ]


def test_files_are_shared_and_belong_to_the_caller(image: str) -> None:
    with DockerContainer(image) as backend:
        Path(backend.host_dir, "in").write_text("5")
        printed = backend.run_command(
            f"cat {backend.container_dir}/in && echo $WORD > {backend.container_dir}/out", environment={"WORD": "a b"}
        )
        assert printed == "5"
        out = Path(backend.host_dir, "out")
        assert out.read_text() == "a b\n"
        assert out.stat().st_uid == os.getuid()
        directory = backend.host_dir
    assert not Path(directory).exists()


AS_ROOT = "RUN mkdir -p /root/.cache && echo weights > /root/.cache/weights && chmod 700 /root\n"
AS_APP = (
    "RUN useradd --uid 4321 --create-home app\nUSER app\n"
    "RUN mkdir -p /home/app/.cache && echo weights > /home/app/.cache/weights && chmod 700 /home/app\n"
)
ASKING = """
import json, os, sys
from pathlib import Path
from dlbs.packs.docker import DockerContainer

if len(sys.argv) > 3:  # the interpreter itself may be in a directory that only root can read, so it changes its user when it runs
    import subprocess, tempfile, threading, uuid
    os.setgroups([])
    os.setgid(int(sys.argv[4]))
    os.setuid(int(sys.argv[3]))
with DockerContainer(sys.argv[1]) as backend:
    shared = Path(backend.host_dir)
    (shared / "in").write_text("5")
    printed = backend.run_command(
        "cat ~/.cache/weights $HOME/.cache/weights /shared/in"
        " && mkdir /shared/deep && cp /shared/in /shared/deep/out && chmod 700 /shared/deep" + sys.argv[2]
    )
    made = [shared / "deep", shared / "deep" / "out"]
    print(json.dumps([printed, made[1].read_text(), sorted({path.stat().st_uid for path in made}), os.getuid()]))
print(shared.parent.exists())
"""


@pytest.fixture(scope="module")
def images_with_homes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """An image whose program is root, and one where it is somebody else; each keeps weights that only that user can read."""
    made = {}
    for name, lines in (("root", AS_ROOT), ("app", AS_APP)):
        directory = tmp_path_factory.mktemp(name)
        (directory / "Dockerfile").write_text(f"FROM {BASE_IMAGE}\n{lines}")
        made[name] = f"dlbs-test/home-{name}:{directory.name}"
        subprocess.run(["docker", "build", "-q", "-t", made[name], str(directory)], check=True, capture_output=True)
    yield made
    subprocess.run(["docker", "image", "rm", *made.values()], capture_output=True, check=True)


@pytest.mark.parametrize("last", ["", " && exec true"], ids=["command", "exec"])
@pytest.mark.parametrize("user", ["root", "app"])
@pytest.mark.parametrize("caller", ["this user", "another user"])
def test_a_container_finds_what_its_image_keeps_and_its_files_are_the_callers(
    images_with_homes: dict[str, str], user: str, caller: str, last: str
) -> None:
    """Also for a caller who is another user than any of the image's, and whom the engine listens to all the same."""
    become: list[str] = []
    if caller == "another user":
        if os.getuid() != 0:
            pytest.skip("only root can become another user")
        become = ["65534", str(os.stat("/var/run/docker.sock").st_gid)]
    done = subprocess.run(
        [sys.executable, "-c", ASKING, images_with_homes[user], last, *become], cwd="/",
        env={"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT)}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    told, gone = done.stdout.splitlines()
    uid = int(become[0]) if become else os.getuid()
    assert json.loads(told) == ["weights\nweights\n5", "5", [uid], uid]
    assert gone == "False"


def test_a_failure_has_the_last_lines_of_the_container(image: str) -> None:
    with DockerContainer(image) as backend, pytest.raises(DockerContainerError, match="exit code 3") as raised:
        backend.run_command("for i in $(seq 50); do echo line $i; done; exit 3")
    assert "line 50" in str(raised.value)
    assert "line 31" in str(raised.value)
    assert "line 30" not in str(raised.value)


def test_a_timeout_removes_the_container(image: str) -> None:
    with DockerContainer(image) as backend:
        with pytest.raises(DockerContainerError, match=r"timed out after 1 s"):
            backend.run_command("echo begun; sleep 100", timeout=1)
        assert not left()


def test_without_a_network_there_is_none(image: str) -> None:
    with DockerContainer(image) as backend:
        assert backend.run_command("ls /sys/class/net", network_disabled=True).split() == ["lo"]
        assert "eth0" in backend.run_command("ls /sys/class/net").split()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["predict", "TUTORIAL", "--input-files", "nope", "--output", "o"], "nope: cannot be read"),
        (["predict", "TUTORIAL", "--input-files", "bad.jsonl", "--output", "o"], "bad.jsonl:2: not JSON"),
        (["predict", "TUTORIAL", "--input-files", "odd.jsonl", "--output", "o"], "KeyError"),
        (["predict", "plain", "--input-files", "odd.jsonl", "--output", "o"], "plain is a benchmark"),
        (["build", "plain"], "plain is a benchmark pack, which has no image"),
        (["build", "TUTORIAL", "--build-arg", "BASE"], "'BASE' is not NAME=VALUE"),
        (["build", "TUTORIAL", "--build-arg", "BASE=no/such:image"], "building dlbs/tutorial:1.0 failed"),
    ],
)
def test_bad_input(dlbs: RunDlbs, tmp_path: Path, image: str, arguments: list[str], said: str) -> None:
    (tmp_path / "packs" / "plain").mkdir(parents=True)
    (tmp_path / "packs" / "plain" / "main.py").write_text("")
    (tmp_path / "bad.jsonl").write_text("{}\n{\n")
    (tmp_path / "odd.jsonl").write_text('{"words": 1}\n')
    done = dlbs("pack", *(str(TUTORIAL) if word == "TUTORIAL" else word for word in arguments))
    assert done.returncode == 2
    assert said in done.stderr
    assert 'Traceback (most recent call last):\n  File "' + str(ROOT) not in done.stderr
    assert not (tmp_path / "o").exists()


def test_devices_of_tests() -> None:
    assert devices_to_test({}) == [-1]
    assert devices_to_test({"TEST_DEVICES": "-1,0, 3"}) == [-1, 0, 3]


def test_a_script_runs_in_a_container_too(dlbs: RunDlbs, tmp_path: Path) -> None:
    """With the Python of the image; the pack and its data lie where they lie outside."""
    pack = tmp_path / "packs" / "plain"
    pack.mkdir(parents=True)
    (tmp_path / "base" / "data").mkdir(parents=True)
    (tmp_path / "base" / "data" / "number").write_text("7")
    (pack / "main.py").write_text(
        "import os, pathlib, platform\n"
        "print('__results.throughput__=', (pathlib.Path(os.environ['DLBS_DATA_DIR']) / 'number').read_text())\n"
        "print('__results.where__= \"%s %s\"' % (os.getcwd(), os.path.exists('/.dockerenv')))\n"
    )
    done = dlbs(
        "run", "-Pexp.framework=pack", "-Pexp.pack=plain", f"-Pexp.docker_image={BASE_IMAGE}", "-Ppack.python=python3", "-Pexp.gpus=",
        DLBS_BASE=str(tmp_path / "base"),
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    (record,) = json.loads(dlbs("parse", "logs").stdout)["data"]
    assert record["results.throughput"] == 7
    assert record["results.where"] == f"{pack} True"
    assert not containers(tmp_path)
