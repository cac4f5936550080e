"""Plan files: reading and writing lists of experiments as streams."""

from __future__ import annotations

import contextlib
import io
import json
import os
import stat
import zlib
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import IO, Any

from dlbs.core.errors import ConfigError
from dlbs.core.experiment import Experiment, check_plan_names
from dlbs.core.files import JsonError, load_json, write_atomically

# Characters; a small compressed file may unpack to any number of them.
_LONGEST_LINE = 64 << 20
_LARGEST_LIST = 512 << 20
_BLOCK = 1 << 20
_LINES = "write .jsonl, which is read line by line"


def write_plan(path: str | os.PathLike[str], experiments: Iterable[Experiment]) -> int:
    """Write a plan, one experiment per line, and return the number of experiments.

    A `.json` file is a JSON list, a `.jsonl` file has a JSON object on each line; `.gz` may follow. The file appears under its
    name only when it is complete.

    Raises:
        ConfigError: A value is not UTF-8, or the file cannot be written.
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
            try:
                stream.write(encode(experiment))
            except UnicodeEncodeError:
                check_encoding(experiment)
                raise
            if is_lines:
                stream.write("\n")
            count += 1
        if not is_lines:
            stream.write("\n]\n")
    return count


def holds_experiments(path: str | os.PathLike[str]) -> bool:
    """Whether a plan file holds experiments, rather than a grid of them: it is `.jsonl`, begins with a bracket, or is no regular file.

    Of a file that does not exist, the name determines what is missing.
    """
    name = str(path).removesuffix(".gz")
    if name.endswith(".jsonl") or name != str(path):
        return True
    try:
        mode = os.stat(path).st_mode
        if not stat.S_ISREG(mode):
            return not stat.S_ISDIR(mode) and not name.endswith((".yaml", ".yml"))  # a pipe can be read only once
        with _open(path) as stream:
            return stream.read(_BLOCK).lstrip().startswith("[")
    except FileNotFoundError:
        return not name.endswith((".yaml", ".yml"))
    except (OSError, UnicodeDecodeError):
        return False


def check_output(path: str | os.PathLike[str]) -> None:
    """Raise a ConfigError if a file exists that is not a plan as `write_plan` writes it: a grid, results, or anything else."""
    try:
        if not stat.S_ISREG(os.stat(path).st_mode):
            return
        with _open(path) as stream:
            start = stream.read(_BLOCK).lstrip().removeprefix("[").lstrip()
        first = json.JSONDecoder().raw_decode(start)[0] if start.rstrip() not in ("", "]") else {"exp.id": ""}
    except (FileNotFoundError, NotADirectoryError):
        return
    except (OSError, ValueError, EOFError, zlib.error, RecursionError):
        first = None
    names = list(first) if isinstance(first, dict) else []
    if not any(name.startswith("exp.") for name in names) or any(name.startswith("results.") for name in names):
        raise ConfigError(
            "exists, and holds no experiments of a plan", where=str(path), hint="remove it, or write to another file"
        )


def check_rereadable(path: str | os.PathLike[str]) -> None:
    """Raise a ConfigError for a pipe, which can be read only once."""
    with contextlib.suppress(OSError):
        if stat.S_ISFIFO(os.stat(path).st_mode):
            raise ConfigError(
                "is a pipe, which can be read only once",
                where=str(path),
                hint="write the plan to a file: dlbs build -o plan.jsonl",
            )


def check_encoding(
    experiment: Mapping[str, Any],
    target: str = "a plan",
    hint: str = "write it in UTF-8, or run it without a plan file",
) -> None:
    """Raise a ConfigError if a name or value contains bytes that are not UTF-8: no plan could be read back with them."""
    for name, value in experiment.items():
        try:
            json.dumps({name: value}, ensure_ascii=False).encode()
        except UnicodeEncodeError:
            raise ConfigError(
                f"{name} is not UTF-8, so it cannot be written to {target}: {json.dumps(value)[:80]}",
                hint=hint,
            ) from None


def read_plan(path: str | os.PathLike[str]) -> Iterator[Experiment]:
    """Yield the experiments of a plan file; a `.jsonl` file is read as it is consumed.

    Raises:
        ConfigError: The file is missing, a device, too large, not JSON or not a list of experiments, or a name is malformed.
    """
    name = str(path)
    checked: set[tuple[str, ...]] = set()
    try:
        with _open(path) as stream:
            if _is_lines(path):
                for number, line in enumerate(iter(lambda: stream.readline(_LONGEST_LINE + 1), ""), start=1):
                    if len(line) > _LONGEST_LINE:
                        raise ConfigError(f"is longer than {_LONGEST_LINE:,} characters", where=f"{name}:{number}")
                    if line.strip():
                        yield _experiment(_parse(line, f"{name}:{number}"), f"{name}:{number}", checked)
                return
            source = stream.read(_LARGEST_LIST + 1)
        if len(source) > _LARGEST_LIST:
            raise ConfigError(f"is longer than {_LARGEST_LIST:,} characters", where=name, hint=_LINES)
        data = _parse(source, name)
    except FileNotFoundError:
        raise ConfigError("no such plan", where=name, hint=f"dlbs build -o {name} writes one") from None
    except (OSError, UnicodeDecodeError, EOFError, zlib.error) as error:
        raise ConfigError(f"cannot be read: {error}", where=name) from None
    except MemoryError:
        raise ConfigError("is too large for the memory of this machine", where=name, hint=_LINES) from None
    if not isinstance(data, list):
        raise ConfigError(
            "experiments must be a JSON list", where=name, hint="a grid is a mapping, in a .yaml or .json file"
        )
    for number, item in enumerate(data, start=1):
        yield _experiment(item, f"{name}: experiment {number}", checked)


def plan_contains(path: str | os.PathLike[str], words: Iterable[str]) -> bool:
    """Whether a plan file contains one of some words, as plain text; false if it cannot be read, which `read_plan` reports."""
    words = list(words)
    overlap = max(map(len, words))
    before = ""
    with contextlib.suppress(OSError, UnicodeDecodeError, EOFError, zlib.error), _open(path) as stream:
        while block := stream.read(_BLOCK):
            if any(word in before + block for word in words):
                return True
            before = block[-overlap:]
    return False


def _is_lines(path: str | os.PathLike[str]) -> bool:
    return str(path).removesuffix(".gz").endswith(".jsonl")


def _open(path: str | os.PathLike[str]) -> IO[str]:
    """Open a file, a pipe such as `<(command)` of a shell, or a terminal."""
    stream = Path(path).open("rb")
    mode = os.fstat(stream.fileno()).st_mode
    if (stat.S_ISCHR(mode) and not stream.isatty()) or stat.S_ISBLK(mode):
        stream.close()
        raise OSError("is a device")
    if not str(path).endswith(".gz"):
        return io.TextIOWrapper(stream, encoding="utf-8")
    import gzip

    return io.TextIOWrapper(gzip.GzipFile(fileobj=stream), encoding="utf-8")


def _parse(source: str, where: str) -> object:
    try:
        return load_json(source)
    except JsonError as error:
        place = where if error.line == 1 else f"{where}:{error.line}"
        raise ConfigError(f"not JSON: {error.what}", where=place) from None


def _experiment(item: object, where: str, checked: set[tuple[str, ...]]) -> Experiment:
    """Check one experiment; `checked` caches the few sets of names of a plan."""
    if not isinstance(item, dict):
        raise ConfigError("an experiment must be a JSON object of parameters", where=where)
    names = tuple(item)
    if names not in checked:
        check_plan_names(names, where)
        checked.add(names)
    return item
