"""Models that are written for TorchBench: both forms of its interface, and running them."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from benchmark_core.exits import SkippedError, UsageError
from dlbs.suites.torchbench import default_batch_sizes
from dlbs.suites.torchbench.measured.model import default_batch, phase_of, refusal
from dlbs.suites.torchbench.measured.workload import instances, load_class, make, module_of
from tests.conftest import Bench, RunDlbs
from tests.forked import ForkServer
from tests.suites.torchbench.made_models import FIRST, LOADER, MEASURED, write_model
from tests.waiting import PATIENCE


def test_the_present_form(tmp_path: Path) -> None:
    found = load_class(write_model(tmp_path / "present"))
    made = make(found, "train", "cpu", None, ["--word"])
    assert (made.test, made.device, made.batch_size, made.words) == ("train", "cpu", 4, ["--word"])
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
    with pytest.raises(SkippedError, match="is fixed at 8"):
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
    flags = ("-Pexp.framework=pack", "-Pexp.docker=false", "-Pexp.num_batches=3", "-Pexp.gpus=")
    runs = [["present", "training"], ["present", "inference"], ["first", "training"]]
    done = dlbs("run", *flags, f"-Vexp.pack,exp.phase={json.dumps(runs)}")
    assert done.returncode == 0, done.stderr
    records = {(r["exp.model"], r["exp.phase"]): r for r in json.loads(dlbs("parse", "logs").stdout)["data"]}
    assert records["present", "training"]["exp.replica_batch"] == 4
    assert records["present", "inference"]["exp.replica_batch"] == 8
    assert records["present", "training"]["results.loss"] > 0
    assert records["present", "inference"]["results.model_parameters"] == 5 * 6 + 6 + 6 + 1
    skipped = records["first", "training"]
    assert (skipped["exp.status"], skipped["exp.status_msg"]) == ("skipped", "train is not supported: only inference")
    done = dlbs("run", *flags, "-Pexp.pack=present", "-Pexp.phase=inference", "-Pexp.replica_batch=3")
    assert done.returncode == 0, done.stderr
    report = dlbs("report", "logs").stdout
    assert "batch 3" in report
    assert "batch 8" in report


@pytest.mark.integration
def test_the_first_form_is_measured(bench: Bench, tmp_path: Path) -> None:
    pack = write_model(tmp_path / "first", FIRST)
    done = bench(f"--pack={pack}", LOADER, "--device=cpu", "--forward_only=true", "--num_batches=3", "--own_batch")
    assert done.returncode == 0, done.stderr
    assert "__exp.effective_batch__= 6" in done.stdout


@pytest.mark.integration
@pytest.mark.parametrize(
    "flag", ["--compile", "--cuda_graphs", "--data_loader_only", "--channels_last", "--dtype=float16"]
)
def test_options_that_do_not_go_with_packs(bench: Bench, tmp_path: Path, flag: str) -> None:
    pack = write_model(tmp_path / "present")
    done = bench("--pack", str(pack), LOADER, "--device", "cpu", flag)
    assert done.returncode == 2
    assert "cannot be combined with --pack" in done.stderr or "needs a CUDA device" in done.stderr


STAGED = """
    def forward(self):
        return self.model(*self.example_inputs).square().mean()
    def backward(self, loss):
        self.order = ["backward"]
        loss.backward()
    def optimizer_step(self):
        self.order.append("step")
        self.optimizer.step()
    train = None
"""


def test_staged_training_runs_its_stages_in_their_order_and_gives_the_loss(tmp_path: Path) -> None:
    made = make(load_class(write_model(tmp_path / "staged", more=STAGED)), "train", "cpu", None)
    before = made.model.layers[2].bias.detach().clone()
    assert phase_of(made, "train")().item() > 0
    assert made.order == ["backward", "step"]
    assert not torch.equal(made.model.layers[2].bias, before)


def test_a_method_train_of_its_own_comes_before_stages(tmp_path: Path) -> None:
    """A model may override the whole step of a class that trains in stages."""
    found = load_class(write_model(tmp_path / "whole", more=STAGED.replace("    train = None\n", "")))
    made = make(found, "train", "cpu", None)
    phase_of(made, "train")()
    assert not hasattr(made, "order")


def test_stages_run_inside_the_contexts_of_the_whole_batch_too(tmp_path: Path) -> None:
    more = STAGED.replace("return self.model", "self.gradients = torch.is_grad_enabled(); return self.model")
    made = make(load_class(write_model(tmp_path / "inside", more=more)), "train", "cpu", None)
    made.optimizer = None  # without gradients there is nothing to step
    made.backward = lambda loss: None
    made.add_context(torch.no_grad)
    phase_of(made, "train")()
    assert made.gradients is False


def test_models_whose_methods_begin_with_an_underscore_take_one_turn(tmp_path: Path) -> None:
    """For a while the suite's base class had `train` and `eval`, which called these."""
    older = """
from torchbenchmark.util.model import BenchmarkModel
class Model(BenchmarkModel):
    DEFAULT_TRAIN_BSIZE = DEFAULT_EVAL_BSIZE = 2
    def __init__(self, test, device, jit=False, batch_size=None, extra_args=[]):
        super().__init__(test=test, device=device, jit=jit, batch_size=batch_size, extra_args=extra_args)
    def _train(self, niter=3):
        return ("trained", niter, self.jit)
    def _eval(self):
        return "evaluated"
"""
    found = load_class(write_model(tmp_path / "older", older))
    assert phase_of(make(found, "train", "cpu", None), "train")() == ("trained", 1, False)
    assert phase_of(make(found, "eval", "cpu", None), "eval")() == "evaluated"


def test_a_model_that_hands_jit_on_to_the_base_class_is_scripted(tmp_path: Path) -> None:
    source = """
import torch
from torchbenchmark.util.model import BenchmarkModel
class Model(BenchmarkModel):
    DEFAULT_EVAL_BSIZE = 2
    def __init__(self, test, device, jit=False, batch_size=None, extra_args=[]):
        super().__init__(test=test, device=device, jit=jit, batch_size=batch_size, extra_args=extra_args)
        self.model = torch.nn.Linear(2, 2)
"""
    found = load_class(write_model(tmp_path / "handing", source))
    assert isinstance(make(found, "eval", "cpu", None, jit=True).model, torch.jit.ScriptModule)
    assert not isinstance(make(found, "eval", "cpu", None).model, torch.jit.ScriptModule)


def test_an_error_that_is_returned_says_that_a_phase_is_not_supported(tmp_path: Path) -> None:
    more = "\n    def train(self): return NotImplementedError('weights are not public')"
    made = make(load_class(write_model(tmp_path / "returning", more=more)), "train", "cpu", None)
    with pytest.raises(NotImplementedError, match="weights are not public"):
        phase_of(made, "train")()


def test_the_base_class_seeds_what_its_models_draw(tmp_path: Path) -> None:
    source = """
import torch
from torchbenchmark.util.model import BenchmarkModel
class Model(BenchmarkModel):
    DEFAULT_EVAL_BSIZE = 2
    def __init__(self, test, device, batch_size=None, extra_args=[]):
        super().__init__(test=test, device=device, batch_size=batch_size, extra_args=extra_args)
        self.drawn = torch.rand(3)
"""
    found = load_class(write_model(tmp_path / "drawing", source))
    torch.manual_seed(1)
    first = make(found, "eval", "cpu", None).drawn
    torch.manual_seed(2)
    assert torch.equal(make(found, "eval", "cpu", None).drawn, first)


def test_optimizers_are_found_by_either_name_and_may_be_missing(tmp_path: Path) -> None:
    made = make(load_class(write_model(tmp_path / "optimizing")), "train", "cpu", None)
    made.set_optimizer("another")
    assert (made.get_optimizer(), made.optimizer, made.opt) == ("another", "another", None)
    del made.optimizer
    assert made.get_optimizer() is None
    made.set_optimizer("of the other name")
    assert (made.get_optimizer(), made.opt) == ("of the other name", "of the other name")
    inputs = made.get_input_iter()
    assert next(inputs) is next(inputs) is made.example_inputs


def test_inference_runs_without_gradients_unless_the_model_wants_them(tmp_path: Path) -> None:
    plain = "\n    def eval(self): return self.model(*self.example_inputs)"
    wanting = f"{plain}\n    def eval_in_nograd(self): return False"
    for more, expected in ((plain, False), (wanting, True)):
        made = make(load_class(write_model(tmp_path / f"grad_{expected}", more=more)), "eval", "cpu", None)
        assert phase_of(made, "eval")().requires_grad is expected
        assert torch.is_grad_enabled()


def test_a_model_without_a_default_batch_size_is_not_supported(tmp_path: Path) -> None:
    found = load_class(write_model(tmp_path / "sizeless", more="\n    DEFAULT_TRAIN_BSIZE = None"))
    with pytest.raises(SkippedError, match="no default batch size for train"):
        make(found, "train", "cpu", None)
    assert make(found, "train", "cpu", 3).batch_size == 3


NO_WORDS = "self.extra_args = [word for word in self.words if word != '--own']"


@pytest.mark.parametrize(
    ("words", "check"),
    [
        (["--precision", "bf16"], lambda made: made.eval().dtype == torch.bfloat16),
        (["--precision", "amp"], lambda made: made.invoke().dtype == torch.bfloat16),
        (["--precision", "amp_fp16"], lambda made: made.invoke().dtype == torch.float16),
        (["--backend", "jit"], lambda made: isinstance(made.model, torch.jit.ScriptModule)),
        (["--own"], lambda made: made.invoke().dtype == torch.float32),
        ([], lambda made: made.invoke().dtype == torch.float32),
    ],
)
def test_arguments_of_a_model_are_applied(tmp_path: Path, words: list[str], check: Callable[[Any], bool]) -> None:
    found = load_class(write_model(tmp_path / "words", extra=NO_WORDS))
    assert check(make(found, "eval", "cpu", None, words))


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--nonsense"], "unknown arguments of the model: --nonsense"),
        (["--precision", "fp7"], "invalid choice: 'fp7'"),
        (["--backend", "fx2trt"], "invalid choice: 'fx2trt'"),
    ],
)
def test_arguments_that_nobody_knows_are_refused(tmp_path: Path, words: list[str], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        make(load_class(write_model(tmp_path / "words", extra=NO_WORDS)), "eval", "cpu", None, words)


def test_arguments_of_a_model_that_takes_none_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="the model takes no arguments, so --precision would be ignored"):
        make(load_class(write_model(tmp_path / "first", FIRST)), "eval", "cpu", None, ["--precision"])


def test_a_precision_that_the_device_cannot_do_is_not_supported(tmp_path: Path) -> None:
    found = load_class(write_model(tmp_path / "words", extra=NO_WORDS))
    for precision in ("fp16", "tf32"):
        with pytest.raises(SkippedError, match="not supported"):
            make(found, "eval", "cpu", None, ["--precision", precision])


def test_the_form_of_a_model_is_seen_behind_a_metaclass(tmp_path: Path) -> None:
    """As that of the suite itself: calling the class takes anything, its constructor does not."""
    source = """
class Anything(type):
    def __call__(cls, *arguments, **options):
        return super().__call__(*arguments, **options)

class Model(metaclass=Anything):
    def __init__(self, test, device, batch_size=None, extra_args=[]):
        self.batch_size = batch_size or 4
    def eval(self):
        return self.batch_size
"""
    made = make(load_class(write_model(tmp_path / "outside", source)), "eval", "cpu", 5)
    assert phase_of(made, "eval")() == 5


def test_metadata_says_batch_sizes_and_what_is_not_supported(tmp_path: Path) -> None:
    directory = write_model(tmp_path / "described")
    (directory / "metadata.yaml").write_text(
        "devices:\n  cpu:\n    eval_batch_size: 6\nnot_implemented:\n- device: cpu\n  test: train\n- jit: true\n"
    )
    found = load_class(directory)
    assert make(found, "eval", "cpu", None).batch_size == 6
    assert make(found, "eval", "cpu", 2).batch_size == 2
    with pytest.raises(SkippedError, match=r"metadata.yaml: not implemented: device cpu, test train"):
        make(found, "train", "cpu", None)


def test_metadata_has_sizes_for_both_phases_but_not_where_they_are_fixed(tmp_path: Path) -> None:
    sizes = "devices: {cpu: {eval_batch_size: 6, train_batch_size: 3}}\n"
    for name, more, expected in (("free", "", (3, 6)), ("fixed", "\n    ALLOW_CUSTOMIZE_BSIZE = False", (4, 8))):
        directory = write_model(tmp_path / name, more=more)
        (directory / "metadata.yaml").write_text(sizes)
        found = load_class(directory)
        made = tuple(make(found, test, "cpu", None).batch_size for test in ("train", "eval"))
        assert made == expected
        assert default_batch_sizes(directory) == dict(zip(("training", "inference"), expected, strict=True))


def test_metadata_names_devices_by_kind_or_title(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: "AMD Instinct MI210")
    metadata = {
        "devices": {"NVIDIA A100-SXM4-40GB": {"eval_batch_size": 64}},
        "not_implemented": [{"device": "AMD Instinct MI210", "test": "train"}],
    }
    assert default_batch(metadata, "eval", "cuda") == 64
    assert default_batch(metadata, "eval", "cpu") == 0
    assert "AMD Instinct MI210" in refusal(metadata, "train", "cuda")
    assert refusal(metadata, "eval", "cuda") == refusal(metadata, "train", "cpu") == ""


def test_a_model_imports_from_the_suite_what_is_not_installed(tmp_path: Path) -> None:
    source = """
import torch
from torchbenchmark import DATA_PATH, REPO_PATH
from torchbenchmark.tasks import GNN
from torchbenchmark.util.distribution import SquashedNormal
from torchbenchmark.util.env_check import set_random_seed
from torchbenchmark.util.extra_args import TEST_STAGE
from ...util.model import BenchmarkModel

class Model(BenchmarkModel):
    paths = (REPO_PATH, DATA_PATH)
    def draw(self):
        set_random_seed()
        return SquashedNormal(torch.zeros(3), torch.ones(3)).rsample()
"""
    suite = tmp_path / "suite" / "torchbenchmark"
    inside = load_class(write_model(suite / "models" / "inside", source))
    assert inside.paths == (str(tmp_path / "suite"), str(suite / "data" / ".data"))  # type: ignore[attr-defined]
    made = inside()
    assert torch.equal(made.draw(), made.draw())
    assert made.draw().abs().max() < 1


def test_parts_of_the_suite_that_are_not_provided_are_named(tmp_path: Path) -> None:
    source = "from torchbenchmark.util.framework.detectron2.model_factory import Detectron2Model"
    with pytest.raises(UsageError, match=r"torchbenchmark.util.framework.detectron2 is not provided"):
        load_class(write_model(tmp_path / "detecting", source))


BERT = """
from torchbenchmark.tasks import NLP
from torchbenchmark.util.framework.huggingface.model_factory import CONFIGURATIONS, Configuration, HuggingFaceModel

CONFIGURATIONS["small"] = Configuration(16, 32, "NAMEConfig", NETWORK, SIZES, shorter_on_cpu=4)

class Model(HuggingFaceModel):
    task = NLP.LANGUAGE_MODELING
    DEFAULT_TRAIN_BSIZE = 2
    DEFAULT_EVAL_BSIZE = 1

    def __init__(self, test, device, batch_size=None, extra_args=[]):
        super().__init__(name="small", test=test, device=device, batch_size=batch_size, extra_args=extra_args)
"""
_SMALL_BERT = {
    "hidden_size": 16,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "intermediate_size": 16,
    "vocab_size": 50,
}
_SMALL_T5 = {
    "decoder_start_token_id": 0,
    "d_model": 16,
    "d_ff": 16,
    "d_kv": 8,
    "num_layers": 1,
    "num_heads": 2,
    "vocab_size": 50,
}


@pytest.mark.integration
@pytest.mark.parametrize(
    ("name", "network", "sizes"),
    [("Bert", "AutoModelForMaskedLM", _SMALL_BERT), ("T5", "AutoModelForSeq2SeqLM", _SMALL_T5)],
)
def test_networks_of_transformers(tmp_path: Path, name: str, network: str, sizes: dict[str, int]) -> None:
    source = BERT.replace("NAME", name).replace("NETWORK", repr(network)).replace("SIZES", repr(sizes))
    found = load_class(write_model(tmp_path / name.lower(), source))
    made = make(found, "train", "cpu", None)
    assert phase_of(made, "train")().item() > 0
    assert made.example_inputs["labels"].shape == (2, 16)
    made = make(found, "eval", "cpu", None)
    assert phase_of(made, "eval")()[0].shape == (1, 8, 50)
    network_alone, inputs = module_of(made)  # type: ignore[misc]
    assert network_alone(*inputs).logits.shape == (1, 8, 50)


@pytest.mark.integration
def test_a_network_of_transformers_generates_text(tmp_path: Path) -> None:
    source = (
        BERT.replace("NAME", "T5").replace("NETWORK", repr("AutoModelForSeq2SeqLM")).replace("SIZES", repr(_SMALL_T5))
    )
    source = source.replace("HuggingFaceModel", "HuggingFaceGenerationModel").replace(
        'name="small"', 'name="small_generate"'
    )
    found = load_class(write_model(tmp_path / "generating", source))
    assert phase_of(make(found, "eval", "cpu", None), "eval")()[0].shape == (1, 1 + 256)
    with pytest.raises(NotImplementedError, match="training is not supported"):
        phase_of(make(found, "train", "cpu", None), "train")()


@pytest.mark.integration
def test_networks_for_which_the_suite_wants_a_token(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = (
        BERT.replace("NAME", "Bert")
        .replace("NETWORK", repr("AutoModelForMaskedLM"))
        .replace("SIZES", repr(_SMALL_BERT))
    )
    source = source.replace("HuggingFaceModel\n", "HuggingFaceAuthMixin, HuggingFaceModel\n").replace(
        "Model(HuggingFaceModel)", "Model(HuggingFaceModel, HuggingFaceAuthMixin)"
    ).replace("        super().__init__(name", "        HuggingFaceAuthMixin.__init__(self)\n        super().__init__(name")  # fmt: skip
    found = load_class(write_model(tmp_path / "gated", source))
    monkeypatch.delenv("HUGGING_FACE_HUB_TOKEN", raising=False)
    with pytest.raises(SkippedError, match="HUGGING_FACE_HUB_TOKEN is not set"):
        make(found, "eval", "cpu", None)
    monkeypatch.setenv("HUGGING_FACE_HUB_TOKEN", "a token")
    assert phase_of(make(found, "eval", "cpu", None), "eval")()[0].shape == (1, 8, 50)


@pytest.mark.integration
def test_the_block_for_programs_runs(forked_torch: ForkServer, tmp_path: Path) -> None:
    main = "\nif __name__ == '__main__':\n    print(Model('eval', 'cpu').eval().shape)\n"
    directory = write_model(tmp_path / "present")
    (directory / "__init__.py").write_text((directory / "__init__.py").read_text() + main)
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    command = (str(MEASURED / "__main__.py"), "run", str(directory))
    done = forked_torch.run(*command, directory=tmp_path, environment=environment, timeout=PATIENCE)
    assert (done.returncode, done.stdout) == (0, "torch.Size([8, 1])\n"), done.stderr
