"""The list that a new model has to pass: `python -m pytorch_benchmarks.checks.model NAME` prints a JSON line for each check.

`EXPECTTEST_ACCEPT=1` in the environment accepts the model's output as it is now.
"""

from __future__ import annotations

import argparse
import inspect
import json
import os
import re
import sys
import warnings
from collections.abc import Callable, Sequence
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
    """What is looked at cannot be had of this model, which is no failure."""


def exported(subject: Subject) -> str:
    """The builder stands in its module's `__all__`."""
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
        raise CheckError("it has no title for reports")
    module = inspect.getdoc(sys.modules[builder.__module__]) or ""
    words = f"{inspect.getdoc(builder) or ''} {module}"
    if not re.search(r"\b(19|20)\d\d\b|arXiv|https?://", words):
        raise CheckError("its docstring names no source: author and year, or a link")
    return (inspect.getdoc(builder) or module).splitlines()[0]


def keyword_options(subject: Subject) -> str:
    """Options of the builder have names and defaults, and can be given by name only."""
    builder = builder_of(subject.name)
    parameters = [one for one in inspect.signature(builder).parameters.values() if one.name != "self"]
    wrong = [
        one.name
        for one in parameters
        if one.kind is not one.VAR_KEYWORD and (one.kind is not one.KEYWORD_ONLY or one.default is one.empty)
    ]
    if wrong:
        raise CheckError(f"make {', '.join(wrong)} keyword-only with a default: def builder(*, {wrong[0]}=...)")
    if any(one.kind is one.VAR_KEYWORD for one in parameters):  # they are those of the class that it makes
        made = getattr(sys.modules[builder.__module__], inspect.signature(builder).return_annotation, None)
        own = inspect.signature(made).parameters.values() if made else ()
        parameters = [one for one in own if one.kind is one.KEYWORD_ONLY and one.default is not one.empty]
    return ", ".join(one.name for one in parameters) or "no options"


def forward(subject: Subject) -> str:
    """Its output fits its targets: the loss is one finite number."""
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
        raise CheckError(f"no gradient reaches {', '.join(without[:3])}" + (" and others" if len(without) > 3 else ""))
    bad = [key for key, weight in weights.items() if weight.grad is not None and not torch.isfinite(weight.grad).all()]
    if bad:
        raise CheckError(f"the gradient of {bad[0]} is not finite")
    return f"{len(weights)} tensors have gradients"


def parameters(subject: Subject) -> str:
    """It has weights; their number is to be compared with the publication."""
    count = subject.seeded().num_parameters()
    if count == 0:
        raise CheckError("it has no trainable values")
    return f"{count:,} trainable values: compare with the publication, and put the number into tests/pytorch_benchmarks/models/test_models.py"


def autocast(subject: Subject) -> str:
    """Under autocast its output is finite and near that of float32."""
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
    """Scripted, it gives what it gives otherwise."""
    model = subject.seeded().eval()
    inputs, _ = subject.batch(model)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch says that scripts are a thing of the past
            scripted = torch.jit.script(model)
    except Exception as error:  # the compiler of scripts raises many kinds
        reason = next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)
        raise NotPossibleError(f"it cannot be scripted: {reason}") from None
    with torch.no_grad():
        pairs = zip(*map(tree_leaves, (model(inputs), scripted(inputs))), strict=True)
    for one, other in pairs:
        if isinstance(one, Tensor) and not torch.allclose(one, other, rtol=1e-3, atol=1e-4):
            raise CheckError(f"scripted, its output differs by up to {float((one - other).abs().max()):.3g}")
    return "the same output"


def seeds(subject: Subject) -> str:
    """The same seed gives the same output."""
    if expected_output(subject) != expected_output(subject):
        raise CheckError("two runs differ")
    return "two runs agree"


def expected(subject: Subject) -> str:
    """Its output is the one that is kept with the tests."""
    path = subject.expected
    if subject.home is None and not path.parent.is_dir():
        raise NotPossibleError("there are no tests beside this copy")
    accept = os.environ.get("EXPECTTEST_ACCEPT") == "1"
    if not path.is_file() and not accept:
        how = f"EXPECTTEST_ACCEPT=1 pytest tests/pytorch_benchmarks/checks/test_model.py -k {subject.name}"
        if subject.home is not None:
            how = "EXPECTTEST_ACCEPT=1 dlbs pack check"
        raise CheckError(f"there is no {_short(path)}: {how} writes it")
    if accept:
        path.parent.mkdir(exist_ok=True)
        path.write_text(json.dumps(expected_output(subject), indent=1) + "\n")
        return f"accepted: {_short(path)}"
    kept = json.loads(path.read_text())
    difference = compare_outputs(expected_output(replace(subject, options=kept.get("options", {}))), kept)
    if difference:
        raise CheckError(f"its output is not that of {_short(path)}: {difference}")
    return f"that of {_short(path)}"


def _short(path: Path) -> str:
    return str(path.relative_to(ROOT)) if path.is_relative_to(ROOT) else str(path)


class _Marker(nn.Identity):
    """Stands where a layer would be."""


def layers(subject: Subject) -> str:
    """Normalisation and nonlinearities can be chosen by passing their constructors, and are used wherever there is one."""
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
            raise CheckError(f"the option {option} is taken, but none of the {there} layers is made with it")
        said.append(f"{option} of {taken} of {there} layers")
    if not said:
        raise NotPossibleError("no options norm or activation that take constructors of layers")
    return ", ".join(said)


_NORMS = (nn.modules.batchnorm._BatchNorm, nn.LayerNorm, nn.GroupNorm, nn.RMSNorm)


def documented(subject: Subject) -> str:
    """A page speaks of it."""
    if not subject.page.is_file():
        raise NotPossibleError("there is no documentation beside this copy")
    if not re.search(rf"\b{re.escape(subject.name)}\b", subject.page.read_text(encoding="utf-8")):
        raise CheckError(f"{_short(subject.page)} does not speak of it")
    return _short(subject.page)


def recipe(subject: Subject) -> str:
    """The command that trains it is written down."""
    if not subject.recipe.is_file():
        raise NotPossibleError(f"there is no {_short(subject.recipe)} that trains it")
    if subject.name not in subject.recipe.read_text(encoding="utf-8"):
        raise CheckError(f"{_short(subject.recipe)} is not for it")
    return _short(subject.recipe)


def trained(subject: Subject) -> str:
    """Weights of it are at hand, they fit, and their accuracy was measured."""
    found = list_weights(subject.name)
    if subject.home is not None:
        for path in sorted((subject.home / "weights").glob("*.json")):
            found[str(path)] = read_weights(path)
    if not found:
        raise NotPossibleError("no trained weights here: train.py writes them with their entry (docs/training.md)")
    said = []
    for name, entry in found.items():
        misfits = get_model(subject.name, **entry.model_opts).load_weights(entry.tensors())
        if misfits:
            raise CheckError(f"{name} does not fit: {misfits}")
        if "accuracy_top1" not in entry.metrics or entry.transforms is None:
            raise CheckError(f"{name} does not say how accurate it is, or what pictures go through")
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


def check_model(subject: Subject) -> list[tuple[str, str, str]]:
    """What was looked at, whether it is `ok`, `failed` or `skipped`, and in what words.

    Raises:
        UnknownModelError: There is no such model.
    """
    builder_of(subject.name)
    found = []
    for title, check in CHECKS.items():
        try:
            found.append((title, "ok", check(subject)))
        except CheckError as error:
            found.append((title, "failed", str(error)))
        except NotPossibleError as error:
            found.append((title, "skipped", str(error)))
        except Exception as error:
            found.append((title, "failed", problem(error)))
    return found


def main(arguments: Sequence[str] | None = None) -> int:
    """Check a model; return 1 if something is not as it should be."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("name")
    parser.add_argument("--options", type=json.loads, default={}, metavar="JSON", help="options of the builder")
    parser.add_argument("--device", default="cpu", metavar="NAME", help="where it is looked at: cpu, cuda")
    parser.add_argument("--architecture", type=Path, metavar="FILE", help="Python file that registers it")
    parser.add_argument("--debug", action="store_true", help="print the traceback of an unforeseen error")
    options = parser.parse_args(arguments)
    try:
        if options.architecture:
            load_architecture(options.architecture)
        home = options.architecture.resolve().parent if options.architecture else None
        found = check_model(Subject(options.name, options.options, home, options.device))
    except BenchmarkError as error:
        found = [("registered", "failed", str(error))]
    for title, status, words in found:
        print_finding(title, status, words)
    return int(any(status == "failed" for _, status, _ in found))


if __name__ == "__main__":
    sys.exit(guarded(main))
