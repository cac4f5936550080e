"""GPUs that are only numbers, given out to experiments: no device is needed to see that none is given to two at a time."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dlbs.executors.job import Grant
from dlbs.executors.local import Slots
from dlbs.machine.resources import Request
from tests.conftest import RunDlbs
from tests.gpu.work import logged

GPUS = (0, 1, 2, 5)
REQUESTS = st.one_of(
    st.builds(lambda number: Request(any_gpus=number), st.integers(0, 4)),
    st.builds(
        Request,
        st.frozensets(st.sampled_from(GPUS), max_size=3),
        st.just(0),
        st.just(frozenset()),
        st.just(0),
        st.just(0),
    ),
)


@settings(max_examples=200, deadline=None)
@given(st.lists(st.one_of(REQUESTS, st.integers(0, 5)), max_size=40))
def test_no_gpu_is_given_to_two_experiments(events: list[Request | int]) -> None:
    """Experiments come and ask, or one of those that run ends."""
    slots = Slots(gpus=GPUS, cpus=(0,), memory=1)
    running: list[Grant] = []
    for event in events:
        if isinstance(event, int):
            if running:
                slots.give_back(running.pop(event % len(running)))
            continue
        taken = {gpu for grant in running for gpu in grant.gpus}
        grant = slots.take(event)
        free = set(GPUS) - taken
        if grant is None:
            assert event.gpus & taken or event.any_gpus > len(free)
            continue
        assert not taken & set(grant.gpus)
        assert set(grant.gpus) <= set(GPUS)
        assert len(grant.gpus) == (len(event.gpus) or event.any_gpus)
        running.append(grant)
    for grant in running:
        slots.give_back(grant)
    assert slots.take(Request(any_gpus=4)) == Grant(GPUS)


NAMES = {
    "numbers": ("2,5", {"2", "5"}),
    "GPUs by UUID": ("GPU-5d2c2a8a,GPU-8f6de0f4", {"GPU-5d2c2a8a", "GPU-8f6de0f4"}),
    "parts of a GPU": ("MIG-0c6fb5a1,MIG-1d7ac6b2", {"MIG-0c6fb5a1", "MIG-1d7ac6b2"}),
    "those before -1": ("2,5,-1,0", {"2", "5"}),
}


@pytest.mark.integration
@pytest.mark.parametrize("case", NAMES)
def test_experiments_get_what_cuda_calls_the_gpu(dlbs: RunDlbs, tmp_path: Path, case: str) -> None:
    visible, names = NAMES[case]
    template = tmp_path / "own.sh"
    body = """
mkdir "$CUDA_VISIBLE_DEVICES" || exit 9  # another one has this GPU
echo "$CUDA_DEVICE_ORDER $CUDA_VISIBLE_DEVICES" >> got
pair=$(( ($(wc -l < got) + 1) / 2 * 2 ))  # two run at a time, and end together
while test $(wc -l < got) -lt $pair; do sleep 0.05; done
rmdir "$CUDA_VISIBLE_DEVICES"
"""
    template.write_text('{% extends "base.sh" %}{% block benchmark %}' + body + "{% endblock %}")
    done = dlbs(
        "run", "--jobs", "4", "--no-validation", "-Pexp.framework=dummy", "-Pexp.docker=false", "-Pexp.gpus=any:1",
        f"-Pdummy.launcher={template}", "-Vexp.seed=[1,2,3,4]", CUDA_VISIBLE_DEVICES=visible,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    got = (tmp_path / "got").read_text().splitlines()
    assert sorted(got) == sorted(f"PCI_BUS_ID {name}" for name in names for _ in range(2))
    numbers = {logged(log)["exp.gpu_ids"] for log in tmp_path.glob("logs/*.log")}
    assert numbers == (names if case in {"numbers", "those before -1"} else {"0", "1"})
