"""Models that are written for TorchBench: both forms of its interface, and running them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from pytorch_benchmarks.errors import SkippedError, UsageError
from pytorch_benchmarks.torchbench.loader import instances, load_class, make, module_of, phase_of
from tests.conftest import Bench, RunDlbs
from tests.pytorch_benchmarks.torchbench.made_models import FIRST, write_model


def test_the_present_form(tmp_path: Path) -> None:
    found = load_class(write_model(tmp_path / "present"))
    made = make(found, "train", "cpu", None, ["--word"])
    assert (made.test, made.device, made.batch_size, made.extra_args) == ("train", "cpu", 4, ["--word"])
    assert float(phase_of(made, "train")()) > 0
    assert phase_of(make(found, "eval", "cpu", 3), "eval")().shape == (3, 1)
    assert instances(make(found, "eval", "cpu", None)) == 8


def test_the_first_form(tmp_path: Path) -> None:
    found = load_class(write_model(tmp_path / "first", FIRST))
    made = make(found, "eval", "cpu", None)
    phase_of(made, "eval")()
    assert made.turns == 1
    assert instances(made) == 6
    with pytest.raises(NotImplementedError, match="only inference"):
        phase_of(made, "train")()
    with pytest.raises(SkippedError, match="with jit is not supported: no jit here"):
        make(found, "eval", "cpu", None, jit=True)


def test_the_default_modes_switch_the_network(tmp_path: Path) -> None:
    made = make(load_class(write_model(tmp_path / "modes")), "eval", "cpu", None)
    for name, training in (("set_eval", False), ("set_train", True)):
        getattr(made, name)()
        network, _ = module_of(made)  # type: ignore[misc]
        assert network.training is training


def test_two_models_in_one_process_have_their_own_modules(tmp_path: Path) -> None:
    one, other = (
        load_class(write_model(tmp_path / name / "same_name", forward=f"x = x * {factor}"))
        for name, factor in (("a", 1), ("b", 0))
    )
    assert float(make(one, "eval", "cpu", 1).eval().sum()) != float(make(other, "eval", "cpu", 1).eval().sum())


def test_a_batch_size_that_cannot_be_changed_is_not_supported(tmp_path: Path) -> None:
    found = load_class(write_model(tmp_path / "fixed", more="\n    ALLOW_CUSTOMIZE_BSIZE = False"))
    assert make(found, "eval", "cpu", 8).batch_size == 8
    with pytest.raises(SkippedError, match="cannot be other than 8"):
        make(found, "eval", "cpu", 9)


@pytest.mark.parametrize(
    ("source", "said"),
    [("import no_such_package", "cannot be imported: ModuleNotFoundError"), ("x = 1", "defines no class Model")],
)
def test_what_cannot_be_imported(tmp_path: Path, source: str, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        load_class(write_model(tmp_path / f"broken{len(source)}", source))


@pytest.mark.integration
def test_a_model_is_an_experiment(dlbs: RunDlbs, tmp_path: Path) -> None:
    write_model(tmp_path / "packs" / "present")
    write_model(tmp_path / "packs" / "first", FIRST)
    flags = (
        "-Pexp.framework=pack",
        "-Pexp.docker=false",
        "-Vexp.phase=[training,inference]",
        "-Pexp.num_batches=3",
        "-Pexp.gpus=",
    )
    done = dlbs("run", *flags, "-Vexp.pack=[present,first]")
    assert done.returncode == 0, done.stderr
    records = {(r["exp.model"], r["exp.phase"]): r for r in json.loads(dlbs("parse", "logs").stdout)["data"]}
    assert records["present", "training"]["exp.replica_batch"] == 4
    assert records["present", "inference"]["exp.replica_batch"] == 8
    assert records["present", "training"]["results.loss"] > 0
    assert records["present", "inference"]["results.model_parameters"] == 5 * 6 + 6 + 6 + 1
    assert records["first", "inference"]["exp.status"] == "ok"
    skipped = records["first", "training"]
    assert (skipped["exp.status"], skipped["exp.status_msg"]) == ("skipped", "train is not supported: only inference")
    done = dlbs("run", *flags, "-Pexp.pack=present", "-Vexp.replica_batch=[2,3]", "-Pexp.log_dir=sweep")
    assert done.returncode == 0, done.stderr
    assert "batch 3" in dlbs("report", "sweep").stdout


@pytest.mark.integration
@pytest.mark.parametrize(
    "flag", ["--compile", "--cuda_graphs", "--data_loader_only", "--channels_last", "--dtype=float16"]
)
def test_options_that_do_not_go_with_packs(bench: Bench, tmp_path: Path, flag: str) -> None:
    pack = write_model(tmp_path / "present")
    done = bench("--pack", str(pack), "--device", "cpu", flag)
    assert done.returncode == 2
    assert "does not go with --pack" in done.stderr or "needs a CUDA device" in done.stderr
