"""YAML and JSON documents with the line of each key, for errors with file:line."""

from __future__ import annotations

import functools
import os
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from dlbs.core.errors import ConfigError
from dlbs.core.files import MAX_DEPTH, JsonError, load_json, read_text


@dataclass(slots=True)
class Document:
    """A parsed file.

    Attributes:
        path: The path as the user wrote it.
        data: Plain data.
        lines: Path of keys (`("parameters", "exp.model")`) → line number, from 1.
    """

    path: str
    data: Any
    lines: dict[tuple[Any, ...], int] = field(default_factory=dict)

    def where(self, *keys: Any) -> str:
        """`file:line` of the nearest key that has one."""
        for end in range(len(keys), 0, -1):
            if keys[:end] in self.lines:
                return f"{self.path}:{self.lines[keys[:end]]}"
        return self.path


def load(path: str | os.PathLike[str]) -> Document:
    """Read a `.json`, `.yaml` or `.yml` file.

    Raises:
        ConfigError: It cannot be read, is malformed, or has a duplicate key.
    """
    return parse(str(path), read_text(path))


def parse(name: str, source: str) -> Document:
    """Parse the text of a file; the ending of its name determines the format.

    Raises:
        ConfigError: It is malformed, or has a duplicate key.
    """
    if name.endswith(".json"):
        return _load_json(name, source)
    if name.endswith((".yaml", ".yml")):
        return _load_yaml(name, source)
    raise ConfigError("unknown file type", where=name, hint="name it .yaml, .yml or .json")


def _load_json(name: str, source: str) -> Document:
    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        made = dict(pairs)
        if len(made) < len(pairs):
            key, line = _duplicate(source)
            raise ConfigError(f"duplicate key {key!r}", where=f"{name}:{line}", hint="remove one of them")
        return made

    try:
        data = load_json(source, object_pairs=unique)
    except JsonError as error:
        raise ConfigError(f"not JSON: {error.what}", where=f"{name}:{error.line}") from None
    return Document(name, data, dict(_json_lines(source, 2)))


def _duplicate(source: str) -> tuple[str, int]:
    """The first key that a JSON text repeats, at any depth, and its second line."""
    seen = set()
    for path, line in _json_lines(source, depth=len(source)):
        if path in seen:
            return path[-1], line
        seen.add(path)
    raise AssertionError("the text has no duplicate key")


def _json_lines(source: str, depth: int) -> Iterator[tuple[_Path, int]]:
    """The path and line of each key and list item of a JSON text down to this depth, in order."""
    path: list[Any] = []  # for each open container: the current key, or the index of the current item
    line, counted, position = 1, 0, 0
    is_new = False  # whether a key or an item begins
    while (found := _TOKEN.search(source, position)) is not None:
        token, start, position = found[0], found.start(), found.end()
        if token in "]}":
            path.pop()
            is_new = False
            continue
        if token == ",":
            is_new = True
            continue
        if is_new:
            line += source.count("\n", counted, start)
            counted = start
            is_item = isinstance(path[-1], int)
            path[-1] = path[-1] + 1 if is_item else load_json(token)
            yield tuple(path), line
            is_new = False
            if not is_item:
                continue
        if token in "[{":
            if len(path) < depth:
                path.append(-1 if token == "[" else "")
                is_new = True
            else:
                position = _end(source, position)


def _end(source: str, position: int) -> int:
    """The end of a container of a JSON text that begins before a position."""
    depth = 1
    for found in _BRACKET.finditer(source, position):
        if found[0] in "[{":
            depth += 1
        elif found[0] in "]}":
            depth -= 1
            if depth == 0:
                return found.end()
    return len(source)


_Path = tuple[Any, ...]  # keys, and indexes of list items
_STRING = r'"[^"\\]*(?:\\.[^"\\]*)*"'  # with the brackets in it
_TOKEN = re.compile(rf"{_STRING}|[][{{}},]|[^][{{}},:\s\"]+", re.DOTALL)
_BRACKET = re.compile(rf"{_STRING}|[][{{}}]", re.DOTALL)


def _load_yaml(name: str, source: str) -> Document:
    import yaml

    loader_class = _yaml_loader()
    document = Document(name, None)
    loader = loader_class(source)
    try:
        _check_depth(source, loader_class)
        node = loader.get_single_node()
        if node is not None:
            # Aliases are expanded when read: without a bound, nine lines can expand to a billion values.
            _note_lines(document, node, (), [100_000])
            document.data = loader.construct_document(node)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        place = f"{name}:{mark.line + 1}" if mark else name
        line = source.splitlines()[mark.line : mark.line + 1] if mark else []
        if line and re.match(r" *\t", line[0]):
            raise ConfigError("a tab in the indentation", where=place, hint="YAML needs spaces") from None
        raise ConfigError(f"not YAML: {getattr(error, 'problem', None) or error}", where=place) from None
    except RecursionError:
        raise ConfigError("not YAML: nested too deeply, or an alias inside itself", where=name) from None
    except (ValueError, TypeError) as error:
        raise ConfigError(f"not YAML: {error}", where=name) from None
    finally:
        loader.dispose()
    return document


@functools.cache
def _yaml_loader() -> Any:
    """A loader of YAML 1.1 with two rules of YAML 1.2: numbers of base 60 are text (`4:00:00` is no 14400), and `1e-3` and `-.5` are numbers.

    It gives an error for a tagged value of another kind (`!!int x`), for which PyYAML raises errors of any type.
    """
    import yaml

    class Loader(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):  # type: ignore[misc]
        def resolve(self, kind: Any, value: Any, implicit: Any) -> Any:
            tag = super().resolve(kind, value, implicit)
            return _TAG + "str" if tag in _NUMBERS and ":" in value else tag

    def checked(construct: Callable[[Any, Any], Any], kind: str) -> Callable[[Any, Any], Any]:
        def constructed(loader: Any, node: Any) -> Any:
            try:
                return construct(loader, node)
            except (ValueError, LookupError):
                problem = f"{node.value!r} is not a value of the type {kind}"
                raise yaml.constructor.ConstructorError(problem=problem, problem_mark=node.start_mark) from None

        return constructed

    Loader.add_implicit_resolver(_TAG + "float", _FLOAT, list("-+.0123456789"))
    for kind in ("int", "float", "bool"):
        Loader.add_constructor(_TAG + kind, checked(getattr(Loader, f"construct_yaml_{kind}"), kind))
    return Loader


def _check_depth(source: str, loader_class: Any) -> None:
    """Raise a RecursionError for deep nesting: libyaml builds its nodes by recursion, and a stack overflow in C would end the process."""
    import yaml

    nesting = _FLAT.sub("", source)
    if nesting.count("[") + nesting.count("{") < MAX_DEPTH and not _DEEP_BLOCK.search(source):
        return
    depth = 0
    for event in yaml.parse(source, Loader=loader_class):
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        if depth > MAX_DEPTH:
            raise RecursionError


_DEEP_BLOCK = re.compile(rf"^[ \-?:]{{{MAX_DEPTH // 2 - 1},}}", re.MULTILINE)  # two levels may begin in one column
_FLAT = re.compile(r"""\[[^][{}"'#\n]*]|\{[^][{}"'#\n]*}""")  # brackets or text, with nothing nested inside
_MAX_NUMBER = 3_000  # hexadecimal digits; Python prints no whole number of more than 4,300 decimal ones
_TAG = "tag:yaml.org,2002:"
_DATA = {_TAG + kind for kind in ("str", "int", "float", "bool", "null", "map", "seq", "merge")}
_NUMBERS = {_TAG + "int", _TAG + "float"}
# Numbers of YAML 1.2 that are texts in 1.1, which requires a point and the sign of the exponent.
_FLOAT = re.compile(r"[-+]?(?:[0-9]+(?:\.[0-9]*)?[eE][-+]?[0-9]+|\.[0-9]+(?:[eE][-+]?[0-9]+)?)$")
_OCTAL = re.compile(r"([-+]?)0[0_]*([1-7]_*[0-7][0-7_]*)")  # whole numbers that differ in base 8 and in base 10


def _note_lines(document: Document, node: Any, path: tuple[Any, ...], left: list[int]) -> None:
    left[0] -= 1
    if left[0] < 0:
        raise ConfigError("has more than 100,000 values once aliases are expanded", where=document.path)
    if node.tag not in _DATA:  # a date, bytes, a set
        where = f"{document.path}:{node.start_mark.line + 1}"
        shown = repr(node.value) if node.id == "scalar" else node.tag
        raise ConfigError(f"{shown} has no equivalent in JSON", where=where, hint="write a quoted string, or a list")
    if node.tag.endswith(":int") and len(node.value) > _MAX_NUMBER:
        where = f"{document.path}:{node.start_mark.line + 1}"
        raise ConfigError(f"a number of {len(node.value):,} digits", where=where, hint="write a quoted string")
    octal = _OCTAL.fullmatch(node.value) if node.tag.endswith(":int") and not node.style else None
    if octal is not None:
        where = f"{document.path}:{node.start_mark.line + 1}"
        hint = f"write {octal[1]}{octal[2]}, or '{node.value}' in quotes for a text"
        what = f"{node.value} is octal in YAML 1.1 and decimal in YAML 1.2"
        raise ConfigError(what, where=where, hint=hint)
    if node.id == "mapping":
        seen = set()
        for key, value in node.value:
            line = key.start_mark.line + 1
            if key.id == "scalar" and key.tag not in {"tag:yaml.org,2002:str", "tag:yaml.org,2002:merge"}:
                where = f"{document.path}:{line}"  # 1 and 01 would be one key
                raise ConfigError(
                    f"key {key.value} is not a string", where=where, hint=f"write '{key.value}' in quotes"
                )
            if key.id == "scalar":
                if key.value in seen and key.value != "<<":
                    where = f"{document.path}:{line}"
                    raise ConfigError(f"duplicate key {key.value!r}", where=where)
                seen.add(key.value)
                document.lines.setdefault((*path, key.value), line)
            _note_lines(document, value, (*path, getattr(key, "value", None) if key.id == "scalar" else None), left)
    elif node.id == "sequence":
        for index, item in enumerate(node.value):
            document.lines.setdefault((*path, index), item.start_mark.line + 1)
            _note_lines(document, item, (*path, index), left)
