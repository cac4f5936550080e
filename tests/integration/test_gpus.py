"""GPUs as users of the launcher meet them; none is needed."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from dlbs.core.files import dlbs_root
from tests.conftest import RunDlbs

DUMMY = ("run", "--no-validation", "-Pexp.framework=dummy", "-Pexp.docker=false", "-Pdummy.seconds=0")


@pytest.mark.integration
@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (("--jobs", "2", "-Pexp.gpus=0"), "all experiments use GPU 0, so they run one at a time; -Pexp.gpus=any:1 uses"),
        (("--jobs", "2", '-Vexp.gpus=["1","0,1"]'), "all experiments use GPU 1, so they run one at a time; -Pexp.gpus=any:N"),
        (("--jobs", "2", '-Vexp.gpus=["0","1"]'), ""),
        (("--jobs", "2", "-Pexp.gpus="), ""),
        (("--jobs", "2", "-Pexp.gpus=any:1"), ""),
        (("-Pexp.gpus=0",), ""),
    ],
)  # fmt: skip
def test_experiments_that_wait_for_one_gpu_are_announced(dlbs: RunDlbs, flags: tuple[str, ...], said: str) -> None:
    done = dlbs(*DUMMY, "-Vexp.seed=[1,2]", *flags, CUDA_VISIBLE_DEVICES="0,1,2")
    assert said in done.stderr
    assert ("all experiments use" in done.stderr) == bool(said)


@pytest.mark.integration
def test_no_other_gpu_is_proposed_where_there_is_none(dlbs: RunDlbs) -> None:
    done = dlbs(*DUMMY, "-Vexp.seed=[1,2]", "--jobs", "2", "-Pexp.gpus=0", CUDA_VISIBLE_DEVICES="0")
    assert "all experiments use GPU 0, so they run one at a time\n" in done.stderr


@pytest.mark.integration
@pytest.mark.parametrize(
    ("flags", "gpus", "inside"),
    [
        (("-Pexp.gpus=any:1",), '--gpus "device=5"', "0"),
        (("-Pexp.gpus=6",), '--gpus "device=6"', "0"),
        (("-Pexp.gpus=5", "-Ppack.device=6"), "--gpus all", "6"),
        (("-Pexp.gpus=",), "", ""),
    ],
)
def test_a_container_pack_uses_the_gpu_of_its_experiment(
    dlbs: RunDlbs, tmp_path: Path, flags: tuple[str, ...], gpus: str, inside: str
) -> None:
    """They all used the CPU, and with pack.device all GPUs of the machine."""
    docker = tmp_path / "bin" / "docker"
    docker.parent.mkdir()
    docker.write_text(f'#!/bin/sh\ntest "$1" != run || echo "$*" >> {tmp_path}/asked\n')
    docker.chmod(0o755)
    command = ("run", "--no-validation", f"-Pexp.pack={dlbs_root()}/examples/packs/tutorial", "-Pexp.framework=pack")
    path = f"{docker.parent}:{os.environ['PATH']}"
    dlbs(*command, *flags, CUDA_VISIBLE_DEVICES="5,6", PATH=path)
    asked = (tmp_path / "asked").read_text()
    assert f"--log-driver none {gpus}".rstrip() in asked
    assert ("--gpus" in asked) == bool(gpus)
    assert f"export CUDA_VISIBLE_DEVICES={inside} " in asked
