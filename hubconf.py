"""Entry points for torch.hub: every model of pytorch_benchmarks, by its name.

model = torch.hub.load("path/to/this/checkout", "resnet18", source="local", weights="resnet18.json")
"""

from __future__ import annotations

import os
import sys
from functools import partial

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "python"))

from pytorch_benchmarks.model_factory import builder_of, get_model, list_models

dependencies = ["torch", "numpy"]


def _entry(name: str) -> partial:
    """Builds a model; its docstring is that of the builder."""
    entry = partial(get_model, name)
    entry.__doc__ = builder_of(name).__doc__
    return entry


globals().update({name: _entry(name) for name in list_models()})
