"""Plans: lists of experiments, built from a configuration or read from a file, as streams."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import IO, Any

from dlbs.builder import build, varying_names
from dlbs.config import Config, dlbs_root
from dlbs.documents import write_atomically
from dlbs.errors import ConfigError
from dlbs.order import ordered
from dlbs.processor import Experiment, Processor

__all__ = ["processor_for", "read_plan", "resolved_plan", "write_plan"]


def processor_for(config: Config) -> Processor:
    """A processor that knows the configuration's declarations, and where DLBS and its Python are.

    `${DLBS_ROOT}` and `${DLBS_PYTHON}` can be referred to like environment variables, which they may be.
    """
    environ = {"DLBS_ROOT": str(dlbs_root()), "DLBS_PYTHON": sys.executable or "python3", **os.environ}
    return Processor(config.declarations, environ, varying_names(config))


def write_plan(path: str | os.PathLike[str], experiments: Iterable[Experiment]) -> int:
    """Write a plan, one experiment a line, and return how many there were.

    A `.json` file is a JSON list, a `.jsonl` file has a JSON object on each line; `.gz` may follow. The file appears under its
    name only when it is complete.
    """
    encode = json.JSONEncoder(ensure_ascii=False).encode
    is_lines = _is_lines(path)
    count = 0
    with write_atomically(path) as stream:
        if not is_lines:
            stream.write("[")
        for experiment in experiments:
            if not is_lines:
                stream.write(",\n" if count else "\n")
            stream.write(encode(experiment))
            if is_lines:
                stream.write("\n")
            count += 1
        if not is_lines:
            stream.write("\n]\n")
    return count


def read_plan(path: str | os.PathLike[str]) -> Iterator[Experiment]:
    """Yield the experiments of a plan file; a `.jsonl` file is read as it is consumed.

    Raises:
        ConfigError: The file is missing, not JSON, or holds something else than experiments.
    """
    name = str(path)
    try:
        with _open(path) as stream:
            if _is_lines(path):
                for number, line in enumerate(stream, start=1):
                    if line.strip():
                        yield _experiment(_parse(line, f"{name}:{number}"), f"{name}:{number}")
                return
            source = stream.read()
    except FileNotFoundError:
        raise ConfigError("no such plan", where=name, hint=f"dlbs build --plan {name} writes one") from None
    except (OSError, UnicodeDecodeError, EOFError) as error:
        raise ConfigError(f"cannot be read: {error}", where=name) from None
    data = _parse(source, name)
    if not isinstance(data, list):
        raise ConfigError("a plan is a JSON list of experiments", where=name, hint="a configuration goes with --config")
    for number, item in enumerate(data, start=1):
        yield _experiment(item, f"{name}: experiment {number}")


def _is_lines(path: str | os.PathLike[str]) -> bool:
    return str(path).removesuffix(".gz").endswith(".jsonl")


def _open(path: str | os.PathLike[str]) -> IO[str]:
    if not str(path).endswith(".gz"):
        return Path(path).open(encoding="utf-8")
    import gzip

    return gzip.open(path, "rt", encoding="utf-8")


def _parse(source: str, where: str) -> object:
    try:
        return json.loads(source)
    except json.JSONDecodeError as error:
        place = where if error.lineno == 1 else f"{where}:{error.lineno}"
        raise ConfigError(f"not JSON: {error.msg}", where=place) from None
    except RecursionError:
        raise ConfigError("not JSON: nested too deeply", where=where) from None


def _experiment(item: object, where: str) -> Experiment:
    if not isinstance(item, dict):
        raise ConfigError("an experiment is a JSON object of parameters", where=where)
    return item


def resolved_plan(
    config: Config, plan: str | None, *, order: str = "plan", seed: int = 0, **overrides: Any
) -> Callable[[], Iterator[Experiment]]:
    """A function that gives the resolved plan each time it is called: plans are streams.

    Args:
        config: Makes the plan, or only declares the parameters of a written one.
        plan: A written plan. `-P` changes its experiments too.
        order: In which order, and the seed of a random one.
        overrides: Values that win over all others.
    """
    if plan is not None and config.variables:
        names = ", ".join(config.variable_origins.values())
        raise ConfigError("variables make a plan, but --plan gives one", where=names, hint="use build --plan first")
    given = {name: config.settings[name].value for name in config.from_command_line} if plan is not None else {}
    given.update(overrides)

    def experiments() -> Iterator[Experiment]:
        raw = build(config) if plan is None else read_plan(plan)
        return processor_for(config).resolve_all({**one, **given} for one in ordered(raw, order, seed))

    return experiments
