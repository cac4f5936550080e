"""The list that a new model has to pass: `python -m pytorch_benchmarks.model_check NAME` prints a JSON line for each thing that was looked at."""

from __future__ import annotations

import argparse
import inspect
import json
import re
import sys
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.utils._pytree import tree_leaves

from pytorch_benchmarks.errors import BenchmarkError
from pytorch_benchmarks.model_factory import builder_of, get_model
from pytorch_benchmarks.models.model import Model

__all__ = ["CHECKS", "CheckError", "NotPossibleError", "check_model", "expected_output", "main"]

_SEED = 1234


class CheckError(Exception):
    """Something about the model is not as it should be; the message says what to do."""


class NotPossibleError(Exception):
    """What is looked at cannot be had of this model, which is no failure."""


def expected_output(name: str, **options: Any) -> dict[str, Any]:
    """What a model with seeded weights gives for a seeded batch of two: shape, mean, deviation and first values of each output.

    Args:
        name: Of a registered model.
        options: Of its builder.
    """
    model = _seeded(name, **options).eval()
    with torch.no_grad():
        outputs = model(model.inputs(2, torch.Generator().manual_seed(_SEED)))
    leaves = [leaf.float() for leaf in tree_leaves(outputs) if isinstance(leaf, Tensor)]
    return {
        "shapes": [list(leaf.shape) for leaf in leaves],
        "means": [float(leaf.mean()) for leaf in leaves],
        "deviations": [float(leaf.std()) for leaf in leaves],
        "first": [leaf.flatten()[:5].tolist() for leaf in leaves],
    }


def _seeded(name: str, **options: Any) -> Model:
    torch.manual_seed(_SEED)
    return get_model(name, **options)


def _batch(model: Model) -> tuple[Any, Tensor]:
    generator = torch.Generator().manual_seed(_SEED)
    return model.inputs(2, generator), model.targets(2, generator)


def exported(name: str, options: dict[str, Any]) -> str:
    """The builder stands in its module's `__all__`."""
    builder = builder_of(name)
    names = getattr(sys.modules[builder.__module__], "__all__", ())
    if builder.__name__ not in names:
        raise CheckError(f"{builder.__name__} is not in __all__ of {builder.__module__}")
    return f"{builder.__name__} in {builder.__module__.rpartition('.')[2]}.py"


def described(name: str, options: dict[str, Any]) -> str:
    """It has a title, and its docstring names a source."""
    builder = builder_of(name)
    with torch.device("meta"):  # no weights are needed for its title
        title = get_model(name, **options).title
    if not title:
        raise CheckError("it has no title for reports")
    module = inspect.getdoc(sys.modules[builder.__module__]) or ""
    words = f"{inspect.getdoc(builder) or ''} {module}"
    if not re.search(r"\b(19|20)\d\d\b|arXiv|https?://", words):
        raise CheckError("its docstring names no source: author and year, or a link")
    return (inspect.getdoc(builder) or module).splitlines()[0]


def keyword_options(name: str, options: dict[str, Any]) -> str:
    """Options of the builder have names and defaults, and can be given by name only."""
    parameters = [one for one in inspect.signature(builder_of(name)).parameters.values() if one.name != "self"]
    wrong = [
        one.name
        for one in parameters
        if one.kind not in {one.KEYWORD_ONLY, one.VAR_KEYWORD} or one.default is one.empty
    ]
    wrong = [one for one in wrong if one not in {"kwargs", "options"}]
    if wrong:
        raise CheckError(f"make {', '.join(wrong)} keyword-only with a default: def builder(*, {wrong[0]}=...)")
    return ", ".join(one.name for one in parameters) or "no options"


def forward(name: str, options: dict[str, Any]) -> str:
    """Its output fits its targets: the loss is one finite number."""
    model = _seeded(name, **options).eval()
    inputs, targets = _batch(model)
    with torch.no_grad():
        loss = model.loss(model(inputs), targets)
    if loss.shape != () or not torch.isfinite(loss):
        raise CheckError(f"the loss is {loss}")
    return f"loss {float(loss):.4g}"


def backward(name: str, options: dict[str, Any]) -> str:
    """Every weight gets a finite gradient."""
    model = _seeded(name, **options).train()
    inputs, targets = _batch(model)
    model.loss(model(inputs), targets).backward()
    weights = dict(model.named_parameters())
    without = [key for key, weight in weights.items() if weight.requires_grad and weight.grad is None]
    if without:
        raise CheckError(f"no gradient reaches {', '.join(without[:3])}" + (" and others" if len(without) > 3 else ""))
    bad = [key for key, weight in weights.items() if weight.grad is not None and not torch.isfinite(weight.grad).all()]
    if bad:
        raise CheckError(f"the gradient of {bad[0]} is not finite")
    return f"{len(weights)} tensors have gradients"


def parameters(name: str, options: dict[str, Any]) -> str:
    """It has weights; their number is to be compared with the publication."""
    count = _seeded(name, **options).num_parameters()
    if count == 0:
        raise CheckError("it has no trainable values")
    return f"{count:,} trainable values: compare with the publication, and put the number into tests/test_models.py"


def autocast(name: str, options: dict[str, Any]) -> str:
    """Under autocast its output is finite and near that of float32."""
    model = _seeded(name, **options).eval()
    inputs, targets = _batch(model)
    with torch.no_grad():
        plain = model.loss(model(inputs), targets)
        with torch.autocast("cpu", torch.bfloat16):
            cast = model.loss(model(inputs), targets)
    if not torch.isfinite(cast):
        raise CheckError(f"under autocast the loss is {float(cast)}")
    if abs(float(cast) - float(plain)) > 0.1 * abs(float(plain)) + 0.05:
        raise CheckError(f"under autocast the loss is {float(cast):.4g} instead of {float(plain):.4g}")
    return f"loss {float(cast):.4g} in bfloat16"


def script(name: str, options: dict[str, Any]) -> str:
    """Scripted, it gives what it gives otherwise."""
    model = _seeded(name, **options).eval()
    inputs, _ = _batch(model)
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


def seeds(name: str, options: dict[str, Any]) -> str:
    """The same seed gives the same output."""
    if expected_output(name, **options) != expected_output(name, **options):
        raise CheckError("two runs differ")
    return "two runs agree"


def expected(name: str, options: dict[str, Any]) -> str:
    """Its expected output is among the tests, where there are tests."""
    directory = Path(__file__).resolve().parents[2] / "tests" / "expected"
    if not directory.is_dir():
        raise NotPossibleError("there are no tests beside this copy")
    if not (directory / f"{name}.json").is_file():
        raise CheckError(
            f"there is no tests/expected/{name}.json: EXPECTTEST_ACCEPT=1 pytest tests/test_models.py -k {name} writes it"
        )
    return f"tests/expected/{name}.json"


CHECKS: dict[str, Callable[[str, dict[str, Any]], str]] = {
    "exported": exported,
    "described": described,
    "options": keyword_options,
    "forward": forward,
    "backward": backward,
    "parameters": parameters,
    "autocast": autocast,
    "script": script,
    "seeds": seeds,
    "expected output": expected,
}


def check_model(name: str, options: dict[str, Any]) -> list[tuple[str, str, str]]:
    """What was looked at, whether it is `ok`, `failed` or `skipped`, and in what words.

    Raises:
        UnknownModelError: There is no such model.
    """
    builder_of(name)
    found = []
    for title, check in CHECKS.items():
        try:
            found.append((title, "ok", check(name, options)))
        except CheckError as error:
            found.append((title, "failed", str(error)))
        except NotPossibleError as error:
            found.append((title, "skipped", str(error)))
        except Exception as error:
            found.append((title, "failed", f"{type(error).__name__}: {error}"))
    return found


def main(arguments: Sequence[str] | None = None) -> int:
    """Check a model; return 1 if something is not as it should be."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("name")
    parser.add_argument("--options", type=json.loads, default={}, metavar="JSON", help="options of the builder")
    options = parser.parse_args(arguments)
    try:
        found = check_model(options.name, options.options)
    except BenchmarkError as error:
        found = [("registered", "failed", str(error))]
    for title, status, words in found:
        print(json.dumps({"check": title, "status": status, "message": " ".join(words.split())[:300]}), flush=True)
    return int(any(status == "failed" for _, status, _ in found))


if __name__ == "__main__":
    sys.exit(main())
