"""Model files that were written for Repro, with the real docker engine: volumes of their own, and streams told apart."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from dlbs.packs.docker import DockerContainer, DockerContainerError, make_volume_map, run_command
from dlbs.suites.repro.data import TemporaryDirectory
from dlbs.suites.repro.models import build_image, image_exists, remove_image
from tests.conftest import RunDlbs
from tests.services import BASE_IMAGE

pytestmark = [pytest.mark.integration, pytest.mark.needs("docker", "base image")]


def test_volumes_are_shared_and_their_files_are_the_callers() -> None:
    with TemporaryDirectory() as directory:
        inputs, outputs = f"{directory}/in put", f"{directory}/out"
        volumes = make_volume_map(inputs, outputs)
        assert list(volumes) == [inputs, outputs]
        os.makedirs(inputs)
        Path(inputs, "number").write_text("5")
        command = f"cat {volumes[inputs]}/number && echo 'it''s' > {volumes[outputs]}/word"
        assert run_command(BASE_IMAGE, command, volume_map=volumes, network_disabled=True) == "5"
        word = Path(outputs, "word")  # whose directory nobody had made
        assert word.read_text() == "its\n"
        assert word.stat().st_uid == os.getuid()
    assert not Path(directory).exists()


@pytest.mark.parametrize(
    ("stdout", "stderr", "returned"),
    [(True, True, {"out", "err"}), (True, False, {"out"}), (False, True, {"err"}), (False, False, set())],
)
def test_the_streams_that_are_asked_for_are_returned(stdout: bool, stderr: bool, returned: set[str]) -> None:
    with DockerContainer(BASE_IMAGE) as backend:
        printed = backend.run_command(command="echo out; echo err >&2", stdout=stdout, stderr=stderr)
        assert set(printed.split()) == returned
        with pytest.raises(DockerContainerError, match=r"(?s)exit code 3.*gone wrong"):
            backend.run_command("echo gone wrong >&2; exit 3", stdout=stdout, stderr=stderr)


def test_a_command_may_be_watched(capfd: pytest.CaptureFixture[str]) -> None:
    assert run_command(BASE_IMAGE, "echo quiet") == "quiet\n"
    assert run_command(BASE_IMAGE, "echo out; echo hidden >&2", silent=False, stderr=False) == "out\n"
    captured = capfd.readouterr()
    assert (captured.out, captured.err) == ("", "out\n")  # standard output belongs to whoever calls


PACKAGE = {
    "Dockerfile": f"FROM {BASE_IMAGE}\nWORKDIR /app\nCOPY src/count.py count.py\n",
    "src/count.py": (
        "import json, sys\n"
        "texts = [line.split() for line in open(sys.argv[1])]\n"
        "open(sys.argv[2], 'w').write(''.join(json.dumps({'words': len(words)}) for words in texts))\n"
    ),
    "__init__.py": "VERSION = '1.0'\nMODEL_NAME = 'count2020'\nDEFAULT_IMAGE = 'dlbs-test/count2020:1.0'\n",
    "model.py": """
import os
from repro.common import TemporaryDirectory, util
from repro.common.docker import make_volume_map, run_command
from repro.common.io import read_jsonl_file, write_to_text_file
from repro.models import Model
from repro.models.count2020 import DEFAULT_IMAGE, MODEL_NAME


@Model.register(MODEL_NAME)
class Count(Model):
    def __init__(self, image: str = DEFAULT_IMAGE, scale: float = 1):
        self.image, self.scale = image, scale

    def predict(self, candidate, **kwargs):
        return self.predict_batch([{"candidate": candidate}], **kwargs)[0]

    def predict_batch(self, inputs, **kwargs):
        empty, texts = util.remove_empty_inputs([one["candidate"] for one in inputs])
        with TemporaryDirectory() as temp:
            volume_map = make_volume_map(f"{temp}/input", f"{temp}/output")
            inside = list(volume_map.values())
            write_to_text_file(texts, f"{temp}/input/texts.txt")
            os.makedirs(f"{temp}/output")
            command = f"cd /app && python3 count.py {inside[0]}/texts.txt {inside[1]}/counts.jsonl"
            run_command(self.image, command, volume_map=volume_map, silent=True, network_disabled=True)
            counts = read_jsonl_file(f"{temp}/output/counts.jsonl", single_line=True)
        counts = util.insert_empty_values(counts, empty, {"words": 0})
        micro = [{"words": self.scale * one["words"]} for one in counts]
        return util.average_dicts(micro), micro
""",
    "inputs.jsonl": "".join(
        json.dumps({"instance_id": str(number), "candidate": text}) + "\n"
        for number, text in enumerate(["to be", "", ["or not", "to be"]])
    ),
}


@pytest.fixture
def counting(tmp_path: Path) -> Iterator[Path]:
    directory = tmp_path / "packs" / "count2020"
    for name, content in PACKAGE.items():
        (directory / name).parent.mkdir(parents=True, exist_ok=True)
        (directory / name).write_text(content)
    yield directory
    subprocess.run(["docker", "image", "rm", "--force", "dlbs/count2020:latest"], capture_output=True, check=False)


def test_a_package_of_repro_is_built_asked_and_measured(dlbs: RunDlbs, tmp_path: Path, counting: Path) -> None:
    done = dlbs("pack", "build", "count2020")
    assert done.returncode == 0, done.stderr
    predict = ("pack", "predict", "count2020", "--input-files", str(counting / "inputs.jsonl"), "--output", "out.json")
    done = dlbs(*predict, "--dataset-reader", "jsonl", "--output-writer", "metrics", "--model-kwargs", '{"scale": 3}')
    assert done.returncode == 0, done.stderr
    assert json.loads((tmp_path / "out.json").read_text()) == [
        {"words": 6.0},
        [{"words": 6}, {"words": 0}, {"words": 12}],
    ]
    (counting / "pack.yaml").write_text("count2020: {argv: {--scale: 2}}\n")
    done = dlbs(
        "run",
        "-Pexp.framework=pack",
        "-Pexp.pack=count2020",
        "-Pexp.num_batches=2",
        "-Pexp.replica_batch=3",
        "-Pargv.scale=5",
    )
    assert done.returncode == 0, done.stderr
    (record,) = json.loads(dlbs("parse", "logs").stdout)["data"]
    assert record["exp.status"] == "ok"
    assert record["argv.scale"] == 5
    assert len(record["results.time_data"]) == 2


def test_images_are_built_looked_for_and_removed(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    image = f"dlbs-test/built:{os.getpid()}"
    (tmp_path / "Dockerfile").write_text(f"ARG BASE\nFROM $BASE\nRUN echo building {tmp_path.name}\n")
    assert not image_exists(image)
    build_image(str(tmp_path), image, build_args={"BASE": BASE_IMAGE}, silent=True)
    assert capfd.readouterr().err == ""
    assert image_exists(image)
    remove_image(image, force=True)
    assert not image_exists(image)
