"""A cache of exported models, keyed by everything that determines the export."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from importlib import metadata
from pathlib import Path

from benchmark_core.exits import BenchmarkError, SkippedError, UsageError
from benchmark_core.files import synced
from onnxruntime_benchmarks.options import OnnxOptions

# As named by `_name` and `cached_model`.
_TEMPORARY = re.compile(r".+_b\d+_[a-z0-9]+_[0-9a-f]{12}\.part[a-z0-9_]{8}", re.DOTALL)
_ABANDONED = 86400.0  # seconds without a change after which the process that exported was killed

_ROOT = Path(__file__).absolute().parents[1]


def cached_model(options: OnnxOptions) -> Path:
    """The ONNX file of the requested model; exported now if it is not cached.

    Raises:
        UsageError: PyTorch, needed for the export, is not installed; or the model is unknown.
        SkippedError: The model cannot be exported.
    """
    place = Path(options.cache_dir or _default_directory()).expanduser().absolute() / _name(options)
    file = place / "model.onnx"
    if file.is_file():
        return file
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        _remove_abandoned(place.parent)
        # A name that no other process has: those in containers may have the same number.
        with tempfile.TemporaryDirectory(prefix=f"{place.name}.part", dir=place.parent) as beside:
            made = Path(beside) / "exported"  # readable for others, unlike the directory around it
            made.mkdir()
            print(f"exporting {options.model} to {file}", flush=True)
            _export(options, made / "model.onnx")
            for one in made.iterdir():
                synced(one)  # a torn one would be taken for the model for ever
            try:
                os.replace(made, place)
            except OSError:
                if not file.is_file():  # otherwise another process was faster
                    raise
    except OSError as error:
        raise UsageError(f"--cache_dir: cannot write {place}: {error.strerror}") from None
    return file


def _remove_abandoned(directory: Path) -> None:
    """Remove exports of this user's processes that were killed."""
    for path in directory.iterdir():
        if _TEMPORARY.fullmatch(path.name):
            with suppress(FileNotFoundError):  # removed by another process
                status = path.lstat()
                is_ours = stat.S_ISDIR(status.st_mode) and status.st_uid == os.geteuid()
                if is_ours and time.time() - status.st_mtime > _ABANDONED:
                    shutil.rmtree(path, ignore_errors=True)


def _default_directory() -> str:
    directory = os.environ.get("XDG_CACHE_HOME", "")
    return f"{directory if os.path.isabs(directory) else '~/.cache'}/dlbs/onnx"  # XDG ignores relative paths


def _dtype(options: OnnxOptions) -> str:
    return options.dtype if options.dtype in {"float16", "int8"} else "float32"


def _name(options: OnnxOptions) -> str:
    """Name of a model's directory: readable, with a digest of everything that determines its contents."""
    packages = ["torch", "onnx", "onnxscript", options.model.partition(":")[0] if ":" in options.model else ""]
    if _dtype(options) == "int8":  # quantised by ONNX Runtime
        packages += ["onnxruntime", "onnxruntime-gpu"]
    sources = sorted((_ROOT / "pytorch_benchmarks" / "models").glob("*.py"))
    code = hashlib.sha256(b"".join(path.read_bytes() for path in [*sources, Path(__file__).with_name("export.py")]))
    made_from = [
        options.model,
        options.model_opts,
        options.batch_size,
        options.seed,
        _dtype(options),
        {name: _version(name) for name in filter(None, packages)},
        code.hexdigest(),
    ]
    digest = hashlib.sha256(json.dumps(made_from, sort_keys=True).encode()).hexdigest()
    return f"{options.model.replace(':', '-').replace('/', '-')}_b{options.batch_size}_{_dtype(options)}_{digest[:12]}"


def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return ""


def _export(options: OnnxOptions, file: Path) -> None:
    """Export in a separate process: PyTorch would leave threads and memory behind in this one."""
    arguments = {
        "model": options.model,
        "model_opts": json.dumps(options.model_opts),
        "batch_size": options.batch_size,
        "seed": options.seed,
        "dtype": _dtype(options),
        "debug": str(options.debug).lower(),
        "out": file,
    }
    command = [sys.executable, "-m", "onnxruntime_benchmarks.export"]
    paths = [str(_ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
    done = subprocess.run(
        command + [f"--{name}={value}" for name, value in arguments.items()],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(paths)},
        capture_output=True,
        errors="replace",
        check=False,
    )
    if done.returncode == 0:
        return
    said = [line.removeprefix("error: ") for line in done.stderr.splitlines() if line.startswith("error: ")]
    reason = said[-1] if said else f"the export of {options.model} ended with exit code {done.returncode}"
    if not said or options.debug:
        print(done.stdout + done.stderr, flush=True)
    kinds: dict[int, type[BenchmarkError]] = {kind.exit_code: kind for kind in (UsageError, SkippedError)}
    raise kinds.get(done.returncode, BenchmarkError)(reason)


METADATA_KEY = "dlbs"

Bound = int | list[int]  # of all values of an input, or of each position in its last dimension


@dataclass(frozen=True, slots=True)
class Description:
    """Facts that a graph does not contain.

    Attributes:
        title, unit: Of the model, for reports.
        parameters: Number of trainable values of the exported model; its graph may contain different ones, folded or quantised.
        exporter: The program that wrote the file.
        bounds: Integer input → exclusive upper bound of its values.
    """

    title: str
    unit: str = "instances"
    parameters: int = 0
    exporter: str = ""
    bounds: Mapping[str, Bound] = field(default_factory=dict)

    def as_metadata(self) -> str:
        """Return it as a value of the file's metadata."""
        return json.dumps(asdict(self))

    @staticmethod
    def of(metadata: Mapping[str, str]) -> Description | None:
        """Read it from a file's metadata; None if another program wrote the file."""
        return Description(**json.loads(metadata[METADATA_KEY])) if METADATA_KEY in metadata else None
