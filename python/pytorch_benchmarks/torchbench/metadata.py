"""Read a TorchBench model's `metadata.yaml`: batch sizes by device, and unsupported combinations."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from pytorch_benchmarks.errors import UsageError

__all__ = ["default_batch", "read_metadata", "refusal"]

_LIKE = {"AMD Instinct MI210": "NVIDIA A100-SXM4-40GB"}  # devices for which the suite uses the sizes of another one


def read_metadata(directory: Path) -> Mapping[str, Any]:
    """The contents of `metadata.yaml` in a model's directory; empty without one.

    Raises:
        UsageError: The file cannot be read, or PyYAML is missing.
    """
    path = directory / "metadata.yaml"
    if not path.is_file():
        return {}
    try:
        import yaml
    except ImportError:
        raise UsageError(f"{path} cannot be read without PyYAML: pip install pyyaml") from None
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise UsageError(f"{path} cannot be read: {str(error).splitlines()[0]}") from None
    return content if isinstance(content, dict) else {}


def default_batch(metadata: Mapping[str, Any], test: str, device: str) -> int:
    """The batch size for `train` or `eval` on a device of this type; 0 if unspecified."""
    name = _name(device)
    devices = metadata.get("devices")
    entry = devices.get(_LIKE.get(name, name)) if isinstance(devices, dict) else None
    size = entry.get(f"{test}_batch_size") if isinstance(entry, dict) else None
    return size if isinstance(size, int) and size > 0 else 0


def refusal(metadata: Mapping[str, Any], test: str, device: str) -> str:
    """Why a phase is unsupported on a device, given by type or title; empty if it is supported.

    Entries about other options, such as jit, are left to the model.
    """
    asked = {"test": (test,), "device": (torch.device(device).type, _name(device))}
    for entry in metadata.get("not_implemented") or ():
        if isinstance(entry, dict) and entry and all(value in asked.get(key, ()) for key, value in entry.items()):
            return f"metadata.yaml: not implemented: {', '.join(f'{key} {value}' for key, value in entry.items())}"
    return ""


def _name(device: str) -> str:
    kind = torch.device(device).type
    return torch.cuda.get_device_name(device) if kind == "cuda" else kind
