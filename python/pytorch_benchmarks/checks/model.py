"""The checks that a new model has to pass: `python -m pytorch_benchmarks.checks.model NAME` prints a JSON line for each.

`EXPECTTEST_ACCEPT=1` in the environment accepts the model's current output.
"""

from __future__ import annotations

import argparse
import inspect
import json
import os
import re
import sys
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

from pytorch_benchmarks.checks.expected_outputs import ROOT, Subject, compare_outputs, expected_output
from pytorch_benchmarks.checks.finding import CheckError, print_finding, problem
from pytorch_benchmarks.errors import BenchmarkError
from pytorch_benchmarks.model_factory import builder_of, get_model, load_architecture
from pytorch_benchmarks.models.layers import ACTIVATIONS
from pytorch_benchmarks.models.weights import list_weights, read_weights
from pytorch_benchmarks.unforeseen import guarded

__all__ = ["CHECKS", "NotPossibleError", "check_model", "main"]


class NotPossibleError(Exception):
    """A check does not apply to this model, which is no failure."""


def exported(subject: Subject) -> str:
    """The builder is in its module's `__all__`."""
    builder = builder_of(subject.name)
    names = getattr(sys.modules[builder.__module__], "__all__", ())
    if builder.__name__ not in names:
        raise CheckError(f"{builder.__name__} is not in __all__ of {builder.__module__}")
    return f"{builder.__name__} in {Path(inspect.getfile(builder)).name}"


def described(subject: Subject) -> str:
    """It has a title, and its docstring names a source."""
    builder = builder_of(subject.name)
    with torch.device("meta"):  # no weights are needed for its title
        title = get_model(subject.name, **subject.options).title
    if not title:
        raise CheckError("the model has no title for reports")
    module = inspect.getdoc(sys.modules[builder.__module__]) or ""
    words = f"{inspect.getdoc(builder) or ''} {module}"
    if not re.search(r"\b(19|20)\d\d\b|arXiv|https?://", words):
        raise CheckError("its docstring cites no source: add author and year, or a link")
    return (inspect.getdoc(builder) or module).splitlines()[0]


def keyword_options(subject: Subject) -> str:
    """Options of the builder are keyword-only and have defaults."""
    builder = builder_of(subject.name)
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


def forward(subject: Subject) -> str:
    """The output fits the targets: the loss is one finite number."""
    model = subject.seeded().eval()
    inputs, targets = subject.batch(model)
    with torch.no_grad():
        loss = model.loss(model(inputs), targets)
    if loss.shape != () or not torch.isfinite(loss):
        raise CheckError(f"the loss is {loss}")
    return f"loss {float(loss):.4g}"


def backward(subject: Subject) -> str:
    """Every weight gets a finite gradient."""
    model = subject.seeded().train()
    inputs, targets = subject.batch(model)
    model.loss(model(inputs), targets).backward()
    weights = dict(model.named_parameters())
    without = [key for key, weight in weights.items() if weight.requires_grad and weight.grad is None]
    if without:
        raise CheckError(f"no gradient reaches {', '.join(without[:3])}" + (" and more" if len(without) > 3 else ""))
    bad = [key for key, weight in weights.items() if weight.grad is not None and not torch.isfinite(weight.grad).all()]
    if bad:
        raise CheckError(f"the gradient of {bad[0]} is not finite")
    return f"{len(weights)} tensors have gradients"


def parameters(subject: Subject) -> str:
    """The model has weights; their number is to be compared with the publication."""
    count = subject.seeded().num_parameters()
    if count == 0:
        raise CheckError("the model has no trainable values")
    return f"{count:,} trainable values: compare with the publication and add the number to tests/pytorch_benchmarks/models/test_models.py"


def autocast(subject: Subject) -> str:
    """Under autocast the output is finite and close to the one in float32."""
    model = subject.seeded().eval()
    inputs, targets = subject.batch(model)
    with torch.no_grad():
        plain = model.loss(model(inputs), targets)
        with torch.autocast(torch.device(subject.device).type, torch.bfloat16):
            cast = model.loss(model(inputs), targets)
    if not torch.isfinite(cast):
        raise CheckError(f"under autocast the loss is {float(cast)}")
    if abs(float(cast) - float(plain)) > 0.1 * abs(float(plain)) + 0.05:
        raise CheckError(f"under autocast the loss is {float(cast):.4g} instead of {float(plain):.4g}")
    return f"loss {float(cast):.4g} in bfloat16"


def script(subject: Subject) -> str:
    """The scripted model gives the same output."""
    model = subject.seeded().eval()
    inputs, _ = subject.batch(model)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch warns that scripting is deprecated
            scripted = torch.jit.script(model)
    except Exception as error:  # the script compiler raises many kinds of exceptions
        reason = next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)
        raise NotPossibleError(f"the model cannot be scripted: {reason}") from None
    with torch.no_grad():
        pairs = zip(*map(tree_leaves, (model(inputs), scripted(inputs))), strict=True)
    for one, other in pairs:
        if isinstance(one, Tensor) and not torch.allclose(one, other, rtol=1e-3, atol=1e-4):
            raise CheckError(
                f"the output of the scripted model differs by up to {float((one - other).abs().max()):.3g}"
            )
    return "the same output"


def seeds(subject: Subject) -> str:
    """The same seed gives the same output."""
    if expected_output(subject) != expected_output(subject):
        raise CheckError("two runs differ")
    return "two runs agree"


def expected(subject: Subject) -> str:
    """The output equals the one stored with the tests."""
    path = subject.expected
    if subject.home is None and not path.parent.is_dir():
        raise NotPossibleError("this copy comes without tests")
    accept = os.environ.get("EXPECTTEST_ACCEPT") == "1"
    if not path.is_file() and not accept:
        how = f"EXPECTTEST_ACCEPT=1 pytest tests/pytorch_benchmarks/checks/test_model.py -k {subject.name}"
        if subject.home is not None:
            how = "EXPECTTEST_ACCEPT=1 dlbs pack check"
        raise CheckError(f"{_short(path)} does not exist: create it with {how}")
    if accept:
        path.parent.mkdir(exist_ok=True)
        before = json.loads(path.read_text()) if path.is_file() else {}
        tolerance = {"tolerance": before["tolerance"]} if "tolerance" in before else {}
        path.write_text(json.dumps({**tolerance, **expected_output(subject)}, indent=1) + "\n")
        return f"accepted: {_short(path)}"
    kept = json.loads(path.read_text())
    difference = compare_outputs(expected_output(replace(subject, options=kept.get("options", {}))), kept)
    if difference:
        raise CheckError(f"the output differs from {_short(path)}: {difference}")
    return f"same as in {_short(path)}"


def _short(path: Path) -> str:
    return str(path.relative_to(ROOT)) if path.is_relative_to(ROOT) else str(path)


class _Marker(nn.Identity):
    """Placeholder for a layer."""


def layers(subject: Subject) -> str:
    """Normalisation and nonlinearities can be chosen by passing constructors, and are used throughout."""
    with torch.device("meta"):
        usual = get_model(subject.name, **subject.options)
    kinds = {"norm": _NORMS, "activation": tuple(type(make()) for make in ACTIVATIONS.values())}
    said = []
    for option, types in kinds.items():
        there = sum(isinstance(module, types) for module in usual.modules())
        if not there:
            continue
        try:
            with torch.device("meta"):
                model = get_model(subject.name, **{**subject.options, option: lambda *_: _Marker()})
        except TypeError:
            continue
        taken = sum(isinstance(module, _Marker) for module in model.modules())
        if not taken:
            raise CheckError(f"the option {option} is accepted, but none of the {there} layers uses it")
        said.append(f"{option} of {taken} of {there} layers")
    if not said:
        raise NotPossibleError("the model has no options norm or activation that accept layer constructors")
    return ", ".join(said)


_NORMS = (nn.modules.batchnorm._BatchNorm, nn.LayerNorm, nn.GroupNorm, nn.RMSNorm)


def documented(subject: Subject) -> str:
    """A page documents the model."""
    if not subject.page.is_file():
        raise NotPossibleError("this copy comes without documentation")
    if not re.search(rf"\b{re.escape(subject.name)}\b", subject.page.read_text(encoding="utf-8")):
        raise CheckError(f"{_short(subject.page)} does not mention the model")
    return _short(subject.page)


def recipe(subject: Subject) -> str:
    """A configuration that trains the model exists."""
    if not subject.recipe.is_file():
        raise NotPossibleError(f"{_short(subject.recipe)}, which would train the model, does not exist")
    models = _models_of(subject.recipe.read_text(encoding="utf-8"))
    if subject.name not in models:
        raise CheckError(f"{_short(subject.recipe)} trains {', '.join(models) or 'no model'} (exp.model)")
    return _short(subject.recipe)


def _models_of(recipe: str) -> list[str]:
    """The values of exp.model in a configuration: one, or a list in one or more lines. Containers have no YAML parser."""
    found: list[str] = []
    for given in re.finditer(r"^ *[\"']?exp\.model[\"']? *:([^\n]*)\n?((?: *- [^\n]*\n?)*)", recipe, re.MULTILINE):
        values = re.sub(r"(^|\s)#.*", "", "\n".join(given.groups()), flags=re.MULTILINE)
        found += re.findall(r"[\w.:-]*\w[\w.:-]*", values)
    return found


def trained(subject: Subject) -> str:
    """Trained weights are available, fit the model, and have a measured accuracy."""
    found = list_weights(subject.name)
    if subject.home is not None:
        beside = {str(path): read_weights(path) for path in sorted((subject.home / "weights").glob("*.json"))}
        # A pack may have several models, each with separate weights.
        found |= {name: entry for name, entry in beside.items() if entry.model == subject.name}
    if not found:
        raise NotPossibleError("no trained weights: train.py writes them with their entry (docs/training.md)")
    said = []
    for name, entry in found.items():
        misfits = get_model(subject.name, **entry.model_opts).load_weights(entry.tensors())
        if misfits:
            raise CheckError(f"{name} does not fit: {misfits}")
        if "accuracy_top1" not in entry.metrics or entry.transforms is None:
            raise CheckError(f"{name} has no accuracy or no transforms")
        said.append(f"{Path(name).stem}: {entry.metrics['accuracy_top1']:.2f} %")
    return ", ".join(said)


CHECKS: dict[str, Callable[[Subject], str]] = {
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


def check_model(subject: Subject) -> Iterator[tuple[str, str, str]]:
    """Yield the name of each check, `ok`, `failed` or `skipped`, and a message, as soon as it is known.

    Raises:
        UnknownModelError: The model is unknown.
    """
    builder_of(subject.name)
    for title, check in CHECKS.items():
        try:
            found = ("ok", check(subject))
        except CheckError as error:
            found = ("failed", str(error))
        except NotPossibleError as error:
            found = ("skipped", str(error))
        except Exception as error:
            found = ("failed", problem(error))
        yield title, *found


def main(arguments: Sequence[str] | None = None) -> int:
    """Check a model; return 1 if a check failed."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("name")
    parser.add_argument("--options", type=json.loads, default={}, metavar="JSON", help="options of the builder")
    parser.add_argument("--device", default="cpu", metavar="NAME", help="device to check it on: cpu, cuda")
    parser.add_argument("--architecture", type=Path, metavar="FILE", help="Python file that registers the model")
    parser.add_argument("--debug", action="store_true", help="print the traceback of an unforeseen error")
    options = parser.parse_args(arguments)
    failed = False
    try:
        if options.architecture:
            load_architecture(options.architecture)
        home = options.architecture.resolve().parent if options.architecture else None
        for title, status, words in check_model(Subject(options.name, options.options, home, options.device)):
            print_finding(title, status, words)
            failed |= status == "failed"
    except BenchmarkError as error:
        print_finding("registered", "failed", str(error))
        return 1
    return int(failed)


if __name__ == "__main__":
    sys.exit(guarded(main))
