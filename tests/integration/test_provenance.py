"""Code and software of experiments in containers and in jobs of a cluster."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import RunDlbs
from tests.experiments import logs, values
from tests.services import BASE_IMAGE
from tests.slurm_cluster import Cluster

pytestmark = pytest.mark.integration

COMMAND = ("-Pexp.num_batches=1", "-Pexp.num_warmup_batches=0", "--", "python3", "bench.py")


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """A repository whose working directory is not its root, with a change that is not committed."""
    (tmp_path / "bench.py").write_text("import local\n")
    (tmp_path / "local.py").write_text("")
    for arguments in (["init", "-q"], ["add", "bench.py", "local.py"], ["commit", "-q", "-m", "x"]):
        command = ["git", "-c", "user.name=a", "-c", "user.email=a@b", *arguments]
        subprocess.run(command, cwd=tmp_path, check=True)
    (tmp_path / "local.py").write_text("# changed\n")
    return tmp_path


def check(repository: Path, found: dict[str, Any]) -> None:
    head = subprocess.run(["git", "rev-parse", "HEAD"], cwd=repository, capture_output=True, text=True).stdout.strip()
    assert (found["exp.code.commit"], found["exp.code.dirty"]) == (head, True)
    assert {"bench.py", "local.py"} <= set(found["exp.code.files"])
    assert (repository / "logs" / "provenance" / f"{found['exp.code.diff']}.diff").is_file()
    assert found["exp.software.python"].startswith("3.")


@pytest.mark.needs("docker", "base image")
def test_in_a_container(dlbs: RunDlbs, repository: Path) -> None:
    flags = ("-Pexp.docker=true", f"-Pexp.docker_image={BASE_IMAGE}", *COMMAND)
    dlbs("run", *flags, check=True)
    (log,) = logs(repository)
    check(repository, values(log))
    assert values(log)["exp.software.packages"]
    assert values(log)["exp.software.package_list"][0].startswith("# Python 3")
    assert "1 already finished\n" in dlbs("run", *flags, check=True).stderr
    (repository / "local.py").write_text("# changed again\n")
    assert "1 of them with other code: local.py changed (" in dlbs("run", *flags, check=True).stderr
    text = log.read_text()
    (repository / "local.py").write_text("# changed\n")
    image = values(log)["exp.docker_image_id"]
    log.write_text(text.replace(image, "sha256:" + "0" * 64))
    assert f"image {BASE_IMAGE} changed (000000000000 → {image[7:19]})" in dlbs("run", *flags, check=True).stderr
    log.write_text(text)
    done = dlbs("rerun", "--exact", str(log.relative_to(repository)))
    assert done.returncode == 0, done.stderr
    again = values(repository / "exact" / "logs" / log.name)
    assert (again["exp.code.diff"], again["exp.docker_image_id"]) == (values(log)["exp.code.diff"], image)


@pytest.mark.needs("Slurm")
def test_in_a_job_of_a_cluster(cluster: Cluster, dlbs: RunDlbs, repository: Path) -> None:
    flags = ("--executor", "slurm", "-Pexp.docker=false", "-Pexp.gpus=", *COMMAND)
    dlbs("run", *flags, check=True, **cluster.environment)
    (log,) = logs(repository)
    check(repository, values(log))
    assert (repository / "logs" / "provenance" / f"{values(log)['exp.software.packages']}.txt").is_file()
    (repository / "bench.py").write_text("import local # other\n")
    told = dlbs("run", *flags, check=True, **cluster.environment).stderr
    assert "1 of them with other code: bench.py changed (" in told
