"""GPUs as users of the launcher meet them; none is needed."""

from __future__ import annotations

import pytest

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
    done = dlbs(*DUMMY, "-Vexp.seed=[1,2]", *flags)
    assert said in done.stderr
    assert ("all experiments use" in done.stderr) == bool(said)
