"""Find problems of a pack before it is installed or run."""

from __future__ import annotations

import ast
import json
import os
import subprocess
import sys
from collections.abc import Iterator

from dlbs.config.models import registered_in
from dlbs.files import dlbs_root
from dlbs.jsonio import load_json
from dlbs.packs.definition import Pack
from dlbs.packs.environments import UNPINNED, is_installed, python_of
from dlbs.packs.extend import constant_argv, needs_environment, starts_itself, uses_voir
from dlbs.packs.places import Places

__all__ = [
    "Finding",
    "check_architecture_pack",
    "check_model_pack",
    "check_pack",
    "check_registered_model",
    "findings_of",
]

Finding = tuple[bool, str]  # whether it passed, and a message


def check_pack(pack: Pack) -> Iterator[Finding]:
    """Check a pack without running its code."""
    yield True, f"definition: {pack.where}"
    if pack.kind == "benchmark":
        yield from _check_benchmark(pack)
    if pack.kind == "container":
        yield from _check_container(pack)


def check_registered_model(name: str, device: str) -> Iterator[Finding]:
    """Run the checks that models of pytorch_benchmarks have to pass, in a separate process.

    Args:
        name: Name of a registered model.
        device: Device that it runs on.
    """
    command = [sys.executable, "-m", "pytorch_benchmarks.checks.model", name, "--device", device]
    yield from findings_of(command, {**os.environ, "PYTHONPATH": str(dlbs_root() / "python")})


def check_architecture_pack(pack: Pack, device: str) -> Iterator[Finding]:
    """Run the same checks for each model of an architecture pack.

    Raises:
        LaunchError: The pack is not installed.
    """
    file = pack.directory / "architecture.py"
    for name in registered_in(file):
        options = json.dumps(pack.argv) if isinstance(pack.argv, dict) else "{}"
        module = ["-m", "pytorch_benchmarks.checks.model", name, "--architecture", str(file), "--options", options]
        module += ["--device", device]
        yield from findings_of([python_of(pack), *module], _environment(pack))


def check_model_pack(pack: Pack, device: str) -> Iterator[Finding]:
    """Check a model by running it in a separate process.

    Args:
        pack: A model pack.
        device: Device that it runs on.

    Raises:
        LaunchError: The pack is not installed, or its interpreter cannot be started.
    """
    command = [python_of(pack), "-m", "pytorch_benchmarks.checks.torchbench", str(pack.directory), "--device", device]
    command += ["--pack_args", json.dumps(constant_argv(pack))]
    yield from findings_of(command, _environment(pack))


def _environment(pack: Pack) -> dict[str, str]:
    return {**os.environ, **Places.of().variables(pack), "PYTHONPATH": str(dlbs_root() / "python")}


def findings_of(command: list[str], environment: dict[str, str]) -> Iterator[Finding]:
    """The findings of a check program, which prints a JSON line for each check, as soon as they are printed."""
    looked = 0
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True, errors="replace") as process:
        assert process.stdout is not None
        for line in process.stdout:
            try:
                finding = load_json(line)
                status, words = finding["status"], f"{finding['check']}: {finding['message']}"
            except (ValueError, KeyError, TypeError):
                continue  # output of the model itself
            looked += 1
            yield status != "failed", words if status != "skipped" else f"{words} (skipped)"
    if not looked:
        yield False, f"the checks ended with exit code {process.returncode} without output"


def _check_container(pack: Pack) -> Iterator[Finding]:
    there = (pack.directory / "inputs.jsonl").is_file()
    yield (
        there,
        "inputs.jsonl contains its inputs" if there else "inputs.jsonl is missing: the container cannot be measured",
    )
    tests = any((pack.directory / "tests").glob("*test*.py"))
    yield tests, "it has tests" if tests else "it has no tests"


def _check_benchmark(pack: Pack) -> Iterator[Finding]:
    for name in ("main.py", "prepare.py", "voirfile.py", "benchfile.py"):
        path = pack.directory / name
        if not path.is_file():
            continue
        try:
            ast.parse(path.read_bytes(), str(path))
        except (SyntaxError, ValueError) as error:
            yield False, f"{name}: line {getattr(error, 'lineno', '?')}: {getattr(error, 'msg', error)}"
        else:
            yield True, f"{name} is valid Python"
    unpinned = pack.directory / "requirements.in"
    if pack.install_variant == UNPINNED:
        yield True, "requirements: unpinned" if unpinned.is_file() else "requirements: none"
    elif unpinned.is_file():
        pinned = pack.directory / f"requirements.{pack.install_variant}.txt"
        there = pinned.is_file()
        yield (
            there,
            f"requirements: {pinned.name}"
            + ("" if there else f" is missing; run dlbs pack pin {pack.name} --variant {pack.install_variant}"),
        )
    if uses_voir(pack.directory):
        yield True, "measured with voir"
    else:
        source = (
            (pack.directory / "main.py").read_text(encoding="utf-8", errors="replace")
            if (pack.directory / "main.py").is_file()
            else ""
        )
        tells = "results." in source or starts_itself(pack.directory)
        yield tells, "prints results" if tells else "main.py neither uses voir nor prints __results.throughput__="
    if not needs_environment(pack):
        yield True, "it needs no separate environment"
        return
    how = "installed" if is_installed(pack) else f"not installed (run dlbs pack install {pack.name})"
    yield True, f"environment {Places.of().environment(pack)}: {how}"
