"""The checks that a new model has to pass: `python -m pytorch_benchmarks.checks NAME` prints a JSON line for each.

`EXPECTTEST_ACCEPT=1` in the environment accepts the model's current output.
"""

from __future__ import annotations

import argparse
import inspect
import json
import math
import os
import re
import sys
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils._pytree import tree_leaves

from benchmark_core.crash import guarded
from benchmark_core.exits import BenchmarkError, SkippedError
from benchmark_core.program import without_advice
from pytorch_benchmarks.devices import map_tensors
from pytorch_benchmarks.model_factory import builder_of, get_model, load_architecture
from pytorch_benchmarks.models.layers import ACTIVATIONS
from pytorch_benchmarks.models.model import Model
from pytorch_benchmarks.weights import list_weights, read_weights

SEED = 1234
ROOT = Path(__file__).resolve().parents[2]  # of the checkout or of the installation
_MATRIX_LAYERS = (nn.Linear, nn.modules.conv._ConvNd, nn.Embedding, nn.EmbeddingBag)
_FADED = 1e-12  # a standard deviation that counts as zero
_TOLERANCE = 1e-3
_NORMS = (nn.modules.batchnorm._BatchNorm, nn.LayerNorm, nn.GroupNorm, nn.RMSNorm)


class CheckError(Exception):
    """A check failed; the message states the problem and the fix."""


def problem(error: Exception) -> str:
    """An exception raised by a model as text, with its class name."""
    return without_advice(f"{type(error).__name__}: {error}", error)


def print_finding(check: str, status: str, message: str) -> None:
    """Print the outcome of a check.

    Args:
        check: Its name.
        status: `ok`, `failed` or `skipped`.
        message: The finding; shortened to 300 characters.
    """
    print(json.dumps({"check": check, "status": status, "message": " ".join(message.split())[:300]}), flush=True)


@dataclass(frozen=True, slots=True)
class CheckedModel:
    """A model to check, and the places of its files.

    Attributes:
        name: Registered name.
        options: Options of its builder.
        home: Directory of the file that registers it, for an external model; None for models of pytorch_benchmarks.
        device: Device to check it on.
    """

    name: str
    options: Mapping[str, Any] = field(default_factory=dict)
    home: Path | None = None
    device: str = "cpu"

    @property
    def expected(self) -> Path:
        """File of its expected output."""
        return (self.home / "expected" if self.home else ROOT / "tests" / "expected") / f"{self.name}.json"

    @property
    def recipe(self) -> Path:
        """Path of the configuration that trains it."""
        return self.home / "recipe.yaml" if self.home else ROOT / "config" / "recipes" / f"{self.name}.yaml"

    @property
    def page(self) -> Path:
        """Path of the page that documents it."""
        return self.home / "README.md" if self.home else ROOT / "docs" / "models.md"

    def seeded(self) -> Model:
        """The model with seeded weights, identical on every device."""
        torch.manual_seed(SEED)
        return get_model(self.name, **self.options).to(self.device)

    def calibrated(self) -> Model:
        """The model with seeded weights, calibrated so that every part affects the output; on a CPU, so identical on every device."""
        on_cpu = replace(self, device="cpu")
        model = on_cpu.seeded()
        calibrate(model, on_cpu.batch(model)[0])
        return model.to(self.device).eval()

    def batch(self, model: Model) -> tuple[Any, Any]:
        """Two seeded instances: inputs and targets."""
        generator = torch.Generator().manual_seed(SEED)
        batch = (model.inputs(2, generator), model.targets(2, generator))
        return map_tensors(lambda tensor: tensor.to(self.device), batch)


def calibrate(model: nn.Module, inputs: Any) -> None:
    """Change the weights of a network so that each of its parts affects the output.

    Embeddings and matrix layers get outputs of standard deviation 1, batch normalisation gets the statistics of this batch, and parameters
    with one number per channel (biases, scales of normalisation and of residual branches) are moved away from 0 and 1.

    Args:
        model: In training or evaluation mode; left in evaluation mode.
        inputs: A batch of its inputs.
    """
    generator = torch.Generator().manual_seed(SEED)
    model.eval()
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.numel() == max(parameter.shape, default=0):
                parameter.add_(0.2 * torch.randn(parameter.shape, generator=generator))
    normalisations = [module for module in model.modules() if isinstance(module, _BatchNorm)]
    momenta = [module.momentum for module in normalisations]
    for module in normalisations:
        module.train()
        module.momentum = 1.0
    layers = [module for module in model.modules() if isinstance(module, _MATRIX_LAYERS)]
    normalise = _normaliser()
    hooks = [layer.register_forward_hook(normalise) for layer in layers]
    try:
        with torch.no_grad():
            model(inputs)
    finally:
        for hook in hooks:
            hook.remove()
        for module, momentum in zip(normalisations, momenta, strict=True):
            module.momentum = momentum
        model.eval()


def _normaliser() -> Callable[[nn.Module, Any, Tensor], Tensor]:
    """A hook that scales each layer once to an output of standard deviation 1; layers may share weights."""
    scaled: set[int] = set()

    def normalise(layer: nn.Module, _: Any, output: Tensor) -> Tensor:
        size, parameters = float(output.std()), list(layer.parameters(recurse=False))
        if not size > _FADED or any(id(parameter) in scaled for parameter in parameters):  # or NaN
            return output
        for parameter in parameters:
            parameter.div_(size)
            scaled.add(id(parameter))
        return output / size

    return normalise


def expected_output(candidate: CheckedModel) -> dict[str, Any]:
    """The output of a model with seeded and calibrated weights for a seeded batch of two."""
    model = candidate.calibrated()
    with torch.no_grad():
        outputs = model(candidate.batch(model)[0])
    return {"options": dict(candidate.options), **describe_outputs(outputs)}


def describe_outputs(outputs: Any) -> dict[str, Any]:
    """Shape, mean, standard deviation and some values of each output."""
    leaves = [leaf.float().cpu() for leaf in tree_leaves(outputs) if isinstance(leaf, Tensor)]
    return {
        "shapes": [list(leaf.shape) for leaf in leaves],
        "means": [float(leaf.mean()) for leaf in leaves],
        "deviations": [float(leaf.std()) for leaf in leaves],
        "values": [_spread(leaf.flatten()).tolist() for leaf in leaves],
    }


def _spread(values: Tensor) -> Tensor:
    """Ten evenly spaced values: the first values of a text, say, do not depend on what follows."""
    places = torch.linspace(0, len(values) - 1, min(10, len(values))).round().long()
    return values[places]


def compare_outputs(found: Mapping[str, Any], expected: Mapping[str, Any]) -> str:
    """The difference between two outputs as text; empty if they agree to three digits.

    Very deep networks amplify the rounding of their first layers, which differs between types of CPUs: resnet269 by 0.007 of the outputs'
    standard deviation. The key `tolerance` of what is expected allows more.
    """
    tolerance = float(expected.get("tolerance", _TOLERANCE))
    if found["shapes"] != expected["shapes"]:
        return f"the shapes are {found['shapes']} instead of {expected['shapes']}"
    scale = max(map(abs, expected["deviations"]))
    for key in ("means", "deviations", "values"):
        for one, other in zip(_flat(found[key]), _flat(expected[key]), strict=True):
            if not math.isclose(one, other, rel_tol=tolerance, abs_tol=tolerance * scale):
                return f"{key} differ: {one:.6g} instead of {other:.6g}"
    return ""


def _flat(values: Any) -> list[float]:
    return [number for value in values for number in (value if isinstance(value, list) else [value])]


def exported(candidate: CheckedModel) -> str:
    """The builder is in its module's `__all__`."""
    builder = builder_of(candidate.name)
    names = getattr(sys.modules[builder.__module__], "__all__", ())
    if builder.__name__ not in names:
        raise CheckError(f"{builder.__name__} is not in __all__ of {builder.__module__}")
    return f"{builder.__name__} in {Path(inspect.getfile(builder)).name}"


def described(candidate: CheckedModel) -> str:
    """It has a title, and its docstring names a source."""
    builder = builder_of(candidate.name)
    with torch.device("meta"):  # no weights are needed for its title
        title = get_model(candidate.name, **candidate.options).title
    if not title:
        raise CheckError("the model has no title for reports")
    module = inspect.getdoc(sys.modules[builder.__module__]) or ""
    words = f"{inspect.getdoc(builder) or ''} {module}"
    if not re.search(r"\b(19|20)\d\d\b|arXiv|https?://", words):
        raise CheckError("its docstring cites no source: add author and year, or a link")
    return (inspect.getdoc(builder) or module).splitlines()[0]


def keyword_options(candidate: CheckedModel) -> str:
    """Options of the builder are keyword-only and have defaults."""
    builder = builder_of(candidate.name)
    parameters = [one for one in inspect.signature(builder).parameters.values() if one.name != "self"]
    wrong = [
        one.name
        for one in parameters
        if one.kind is not one.VAR_KEYWORD and (one.kind is not one.KEYWORD_ONLY or one.default is one.empty)
    ]
    if wrong:
        raise CheckError(f"make {', '.join(wrong)} keyword-only with a default: def builder(*, {wrong[0]}=...)")
    if any(one.kind is one.VAR_KEYWORD for one in parameters):  # passed on to the class of the model
        made = getattr(sys.modules[builder.__module__], inspect.signature(builder).return_annotation, None)
        own = inspect.signature(made).parameters.values() if made else ()
        parameters = [one for one in own if one.kind is one.KEYWORD_ONLY and one.default is not one.empty]
    return ", ".join(one.name for one in parameters) or "no options"


def forward(candidate: CheckedModel) -> str:
    """The output fits the targets: the loss is one finite number."""
    model = candidate.seeded().eval()
    inputs, targets = candidate.batch(model)
    with torch.no_grad():
        loss = model.loss(model(inputs), targets)
    if loss.shape != () or not torch.isfinite(loss):
        raise CheckError(f"the loss is {loss}")
    return f"loss {float(loss):.4g}"


def backward(candidate: CheckedModel) -> str:
    """Every weight gets a finite gradient."""
    model = candidate.seeded().train()
    inputs, targets = candidate.batch(model)
    model.loss(model(inputs), targets).backward()
    weights = dict(model.named_parameters())
    without = [key for key, weight in weights.items() if weight.requires_grad and weight.grad is None]
    if without:
        raise CheckError(f"no gradient reaches {', '.join(without[:3])}" + (" and more" if len(without) > 3 else ""))
    bad = [key for key, weight in weights.items() if weight.grad is not None and not torch.isfinite(weight.grad).all()]
    if bad:
        raise CheckError(f"the gradient of {bad[0]} is not finite")
    return f"{len(weights)} tensors have gradients"


def parameters(candidate: CheckedModel) -> str:
    """The model has weights; their number is to be compared with the publication."""
    count = candidate.seeded().num_parameters()
    if count == 0:
        raise CheckError("the model has no trainable values")
    return f"{count:,} trainable values: compare with the publication and add the number to tests/pytorch_benchmarks/models/test_models.py"


def autocast(candidate: CheckedModel) -> str:
    """Under autocast the output is finite and close to the one in float32."""
    model = candidate.seeded().eval()
    inputs, targets = candidate.batch(model)
    with torch.no_grad():
        plain = model.loss(model(inputs), targets)
        with torch.autocast(torch.device(candidate.device).type, torch.bfloat16):
            cast = model.loss(model(inputs), targets)
    if not torch.isfinite(cast):
        raise CheckError(f"under autocast the loss is {float(cast)}")
    if abs(float(cast) - float(plain)) > 0.1 * abs(float(plain)) + 0.05:
        raise CheckError(f"under autocast the loss is {float(cast):.4g} instead of {float(plain):.4g}")
    return f"loss {float(cast):.4g} in bfloat16"


def script(candidate: CheckedModel) -> str:
    """The scripted model gives the same output."""
    model = candidate.seeded().eval()
    inputs, _ = candidate.batch(model)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch warns that scripting is deprecated
            scripted = torch.jit.script(model)
    except Exception as error:  # the script compiler raises many kinds of exceptions
        reason = next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)
        raise SkippedError(f"the model cannot be scripted: {reason}") from None
    with torch.no_grad():
        pairs = zip(*map(tree_leaves, (model(inputs), scripted(inputs))), strict=True)
    for one, other in pairs:
        if isinstance(one, Tensor) and not torch.allclose(one, other, rtol=1e-3, atol=1e-4):
            raise CheckError(
                f"the output of the scripted model differs by up to {float((one - other).abs().max()):.3g}"
            )
    return "the same output"


def seeds(candidate: CheckedModel) -> str:
    """The same seed gives the same output."""
    if expected_output(candidate) != expected_output(candidate):
        raise CheckError("two runs differ")
    return "two runs agree"


def expected(candidate: CheckedModel) -> str:
    """The output equals the one stored with the tests."""
    path = candidate.expected
    if candidate.home is None and not path.parent.is_dir():
        raise SkippedError("this copy comes without tests")
    accept = os.environ.get("EXPECTTEST_ACCEPT") == "1"
    if not path.is_file() and not accept:
        how = f"EXPECTTEST_ACCEPT=1 pytest tests/pytorch_benchmarks/test_every_model.py -k {candidate.name}"
        if candidate.home is not None:
            how = "EXPECTTEST_ACCEPT=1 dlbs pack check"
        raise CheckError(f"{_short(path)} does not exist: create it with {how}")
    if accept:
        path.parent.mkdir(exist_ok=True)
        before = json.loads(path.read_text()) if path.is_file() else {}
        tolerance = {"tolerance": before["tolerance"]} if "tolerance" in before else {}
        path.write_text(json.dumps({**tolerance, **expected_output(candidate)}, indent=1) + "\n")
        return f"accepted: {_short(path)}"
    kept = json.loads(path.read_text())
    difference = compare_outputs(expected_output(replace(candidate, options=kept.get("options", {}))), kept)
    if difference:
        raise CheckError(f"the output differs from {_short(path)}: {difference}")
    return f"same as in {_short(path)}"


def _short(path: Path) -> str:
    return str(path.relative_to(ROOT)) if path.is_relative_to(ROOT) else str(path)


class _Marker(nn.Identity):
    """Placeholder for a layer."""


def layers(candidate: CheckedModel) -> str:
    """Normalisation and nonlinearities can be chosen by passing constructors, and are used throughout."""
    with torch.device("meta"):
        usual = get_model(candidate.name, **candidate.options)
    kinds = {"norm": _NORMS, "activation": tuple(type(make()) for make in ACTIVATIONS.values())}
    said = []
    for option, types in kinds.items():
        there = sum(isinstance(module, types) for module in usual.modules())
        if not there:
            continue
        try:
            with torch.device("meta"):
                model = get_model(candidate.name, **{**candidate.options, option: lambda *_: _Marker()})
        except TypeError:
            continue
        taken = sum(isinstance(module, _Marker) for module in model.modules())
        if not taken:
            raise CheckError(f"the option {option} is accepted, but none of the {there} layers uses it")
        said.append(f"{option} of {taken} of {there} layers")
    if not said:
        raise SkippedError("the model has no options norm or activation that accept layer constructors")
    return ", ".join(said)


def documented(candidate: CheckedModel) -> str:
    """A page documents the model."""
    if not candidate.page.is_file():
        raise SkippedError("this copy comes without documentation")
    if not re.search(rf"\b{re.escape(candidate.name)}\b", candidate.page.read_text(encoding="utf-8")):
        raise CheckError(f"{_short(candidate.page)} does not mention the model")
    return _short(candidate.page)


def recipe(candidate: CheckedModel) -> str:
    """A configuration that trains the model exists."""
    if not candidate.recipe.is_file():
        raise SkippedError(f"{_short(candidate.recipe)}, which would train the model, does not exist")
    models = _models_of(candidate.recipe.read_text(encoding="utf-8"))
    if candidate.name not in models:
        raise CheckError(f"{_short(candidate.recipe)} trains {', '.join(models) or 'no model'} (exp.model)")
    return _short(candidate.recipe)


def _models_of(recipe: str) -> list[str]:
    """The values of exp.model in a configuration: one, or a list in one or more lines. Containers have no YAML parser."""
    found: list[str] = []
    for given in re.finditer(r"^ *[\"']?exp\.model[\"']? *:([^\n]*)\n?((?: *- [^\n]*\n?)*)", recipe, re.MULTILINE):
        values = re.sub(r"(^|\s)#.*", "", "\n".join(given.groups()), flags=re.MULTILINE)
        found += re.findall(r"[\w.:-]*\w[\w.:-]*", values)
    return found


def trained(candidate: CheckedModel) -> str:
    """Trained weights are available, fit the model, and have a measured accuracy."""
    found = list_weights(candidate.name)
    if candidate.home is not None:
        beside = {str(path): read_weights(path) for path in sorted((candidate.home / "weights").glob("*.json"))}
        # A pack may have several models, each with separate weights.
        found |= {name: entry for name, entry in beside.items() if entry.model == candidate.name}
    if not found:
        raise SkippedError("no trained weights: train.py writes them with their entry (docs/training.md)")
    said = []
    for name, entry in found.items():
        misfits = get_model(candidate.name, **entry.model_opts).load_weights(entry.tensors())
        if misfits:
            raise CheckError(f"{name} does not fit: {misfits}")
        if "accuracy_top1" not in entry.metrics or entry.transforms is None:
            raise CheckError(f"{name} has no accuracy or no transforms")
        said.append(f"{Path(name).stem}: {entry.metrics['accuracy_top1']:.2f} %")
    return ", ".join(said)


CHECKS: dict[str, Callable[[CheckedModel], str]] = {
    "exported": exported,
    "described": described,
    "documented": documented,
    "options": keyword_options,
    "layers": layers,
    "forward": forward,
    "backward": backward,
    "parameters": parameters,
    "autocast": autocast,
    "script": script,
    "seeds": seeds,
    "expected output": expected,
    "recipe": recipe,
    "weights": trained,
}


def run_checks(checks: Mapping[str, Callable[[Any], str]], candidate: Any) -> dict[str, str]:
    """Print the outcome of each check as soon as it is known; returns `ok`, `failed` or `skipped` of each."""
    statuses = {}
    for name, check in checks.items():
        try:
            status, words = "ok", check(candidate)
        except CheckError as error:
            status, words = "failed", str(error)
        except SkippedError as error:
            status, words = "skipped", str(error)
        except Exception as error:
            status, words = "failed", problem(error)
        statuses[name] = status
        print_finding(name, status, words)
    return statuses


def main(arguments: Sequence[str] | None = None) -> int:
    """Check a model; return 1 if a check failed."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("name")
    parser.add_argument("--options", type=json.loads, default={}, metavar="JSON", help="options of the builder")
    parser.add_argument("--device", default="cpu", metavar="NAME", help="device to check it on: cpu, cuda")
    parser.add_argument("--architecture", type=Path, metavar="FILE", help="Python file that registers the model")
    parser.add_argument("--debug", action="store_true", help="print the traceback of an unforeseen error")
    options = parser.parse_args(arguments)
    try:
        if options.architecture:
            load_architecture(options.architecture)
        home = options.architecture.resolve().parent if options.architecture else None
        builder_of(options.name)
    except BenchmarkError as error:
        print_finding("registered", "failed", str(error))
        return 1
    candidate = CheckedModel(options.name, options.options, home, options.device)
    return int("failed" in run_checks(CHECKS, candidate).values())


if __name__ == "__main__":
    sys.exit(guarded(main))
