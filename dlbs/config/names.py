"""Names of parameters, frameworks and models: hints for those that do not exist here, from the table `former.yaml`."""

from __future__ import annotations

import ast
import functools
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from benchmark_core.text import truth
from dlbs.config import documents
from dlbs.core.errors import did_you_mean
from dlbs.core.files import dlbs_root, read_source
from dlbs.core.text import text


@dataclass(frozen=True, slots=True)
class Former:
    """A parameter of the original DLBS, and its replacement; `former.yaml` describes the keys."""

    name: str
    new: str = ""
    why: str = ""
    values: Mapping[str, Mapping[str, Any] | None] = field(default_factory=dict)
    words: Mapping[str, str | None] = field(default_factory=dict)
    omit: bool = False
    own: bool = False
    reference: str = ""

    def has(self, value: Any) -> bool:
        """Whether a value has changed its meaning, or has none."""
        return self._word(value) in self.values

    def meaning(self, value: Any) -> Mapping[str, Any] | None:
        """The parameters to set for a value that `has` accepts; None if it has no equivalent."""
        return self.values[self._word(value)]

    def _word(self, value: Any) -> str:
        """The text of a value, normalised if it is a boolean (`t`, `on`, 1)."""
        word = text(value)
        meant = truth(value) if {"true", "false"} <= self.values.keys() and word not in self.values else None
        return word if meant is None else text(meant)

    @property
    def hint(self) -> str:
        """The replacement, as a sentence without its full stop."""
        said = f"{self.name} is now {self.new}" if self.new and self.new != self.name else ""
        if not self.new:
            meanings = {value: _settings(meant) for value, meant in self.values.items() if meant}
            if not any(settings in self.why for settings in meanings.values()):
                said = ", ".join(f"{self.name}={value} is now {settings}" for value, settings in meanings.items())
        if self.own:
            said = (
                f"DLBS does not read {self.name}; declare it with a 'desc', or rename it outside the shipped namespaces"
            )
        elif not said and not self.why and self.omit:
            said = f"remove {self.name}"
        return ": ".join(filter(None, (said, self.why)))


@dataclass(frozen=True, slots=True)
class FormerExpression:
    """A construct of the original's expressions, and its replacement.

    Attributes:
        shown: Its name in the manual.
        pattern: A regular expression that finds it.
        say: The advice.
        becomes: The replacement, if it means exactly the same; None if the user has to decide.
        differs: Whether it is still valid, but means something else.
    """

    shown: str
    pattern: str
    say: str
    becomes: str | None = None
    differs: bool = False


class FormerNames(NamedTuple):
    """Names of other tools and of the original DLBS.

    Attributes:
        words: Word of another tool, or a likely guess → the parameter or setting.
        names: The parameters of the original; a final `*` in a name matches any rest.
        frameworks: Those that only the original had.
        expressions: In the order in which they are replaced.
        options: Verb → option, or option and value → the replacement.
    """

    words: Mapping[str, str]
    names: tuple[Former, ...]
    frameworks: tuple[str, ...]
    expressions: tuple[FormerExpression, ...]
    options: Mapping[str, Mapping[str, str]]


@functools.cache
def table() -> FormerNames:
    """The content of `former.yaml`."""
    data = documents.load(Path(__file__).with_name("former.yaml")).data
    return FormerNames(
        {word: ours for ours, words in data["words"].items() for word in words},
        tuple(Former(name, **row) for name, row in data["names"].items()),
        tuple(data["frameworks"]),
        tuple(FormerExpression(**row) for row in data["expressions"]),
        data["options"],
    )


def former(name: str) -> Former | None:
    """The row of a name of the original; None if there is none."""
    for row in table().names:
        if row.name == name or (row.name.endswith("*") and name.startswith(row.name[:-1])):
            return row
    return None


def name_hint(name: str, known: Iterable[str]) -> str:
    """Words to write instead of an unknown name: its replacement if the original DLBS had it, the parameter of that meaning, or the closest
    names; may be empty."""
    known = list(known)
    close = our_word(name, known) or did_you_mean(name, known)
    return former_hint(name) or close or framework_hint(name)


def former_hint(name: str) -> str:
    """The replacement of a parameter that only the original had; empty for other names."""
    row = former(name)
    return "" if row is None else row.hint


def our_word(name: str, known: Iterable[str]) -> str:
    """Suggest names for a word of another tool, or for a parameter's last part alone: `did you mean 'exp.dtype'?`; may be empty."""
    last = name.lower().replace("-", "_").rpartition(".")[2]
    ours = table().words.get(last)
    words = [ours] if ours else sorted({one for one in known if one.rpartition(".")[2] == last})
    return "did you mean " + " or ".join(map(repr, words[:3])) + "?" if words else ""


def framework_hint(name: str) -> str:
    """The hint for a framework that only the original had, or for a parameter of one; empty for others."""
    framework, _, parameter = name.partition(".")
    if framework not in table().frameworks:
        return ""
    what_to_do = f"set {name}, or remove it" if parameter else "docs/launchers.md describes how to add it"
    return f"the original's framework {framework} is not included in DLBS: {what_to_do}"


def value_hint(name: str, value: Any) -> str:
    """The replacement of a value that has changed its meaning or has none; empty if it means the same as in the original."""
    row = former(name)
    if row is None:
        return ""
    words = [word for word in re.split(r"[,\s]+", text(value)) if word in row.words]
    if words:
        new = dict.fromkeys(row.words[word] or "" for word in words)
        return f"{name}={','.join(words)} is now {name}={','.join(filter(None, new))}" + (
            f"; {row.why}" if row.why else ""
        )
    if not row.has(value):
        return ""
    meant = row.meaning(value)
    if meant is None:
        return row.why
    return f"{name}={text(value)} is now {_settings(meant)}" if meant else ""


def meant_by(word: str) -> str:
    """The parameter that a word of another tool means; empty if there is none."""
    return table().words.get(word, "").partition("=")[0]


def word_hint(name: str, value: Any) -> str:
    """The value that a word of another tool means: `did you mean 'float16'?` for `fp16`; may be empty."""
    ours, _, meant = table().words.get(text(value).lower(), "").partition("=")
    return f"did you mean {meant!r}?" if ours == name and meant else ""


def _settings(meant: Mapping[str, Any]) -> str:
    return " ".join(f"{new}={text(becomes)}" for new, becomes in meant.items())


def expression_hint(value: Any) -> str:
    """The advice for a construct that only the original's expressions allow; empty if a value has none."""
    if not isinstance(value, str) or "$(" not in value:
        return ""
    return next((row.say for row in table().expressions if re.search(row.pattern, value)), "")


def option_hint(verb: str, option: str, value: str = "") -> str:
    """The replacement of an option that only the original's program had, or of an option's value; empty for others."""
    return table().options.get(verb, {}).get(f"{option} {value}".strip(), "")


@functools.lru_cache(maxsize=1)
def known_models() -> dict[str, str]:
    """The models of pytorch_benchmarks, with the first lines of their docstrings, read from their sources without importing torch."""
    models: dict[str, str] = {}
    for path in sorted((dlbs_root() / "python" / "pytorch_benchmarks" / "models").glob("*.py")):
        models.update(registered_in(path))
    return models


def registered_in(path: Path) -> dict[str, str]:
    """The models that a file registers, with the first lines of their docstrings; empty if it is missing or not Python."""
    try:
        body = ast.parse(read_source(path)).body
    except (OSError, SyntaxError, ValueError, RecursionError, MemoryError):
        return {}
    models: dict[str, str] = {}
    for node in body:
        if isinstance(node, ast.ClassDef):  # the original DLBS's way to name models
            models.update(dict.fromkeys(_implements(node), (ast.get_docstring(node) or "").partition("\n")[0]))
        if isinstance(node, (ast.FunctionDef, ast.ClassDef)):
            for decorator in node.decorator_list:
                if isinstance(decorator, ast.Call) and getattr(decorator.func, "id", "") == "register_model":
                    lines = (ast.get_docstring(node) or "").splitlines()
                    for argument in decorator.args:
                        if isinstance(argument, ast.Constant):
                            models[str(argument.value)] = lines[0] if lines else ""
    return models


def _implements(model: ast.ClassDef) -> list[str]:
    """The values of a class's attribute `implements`: one name, or a list of names."""
    for node in model.body:
        if isinstance(node, ast.Assign) and any(
            isinstance(name, ast.Name) and name.id == "implements" for name in node.targets
        ):
            values = node.value.elts if isinstance(node.value, (ast.List, ast.Tuple)) else [node.value]
            return [value.value for value in values if isinstance(value, ast.Constant) and isinstance(value.value, str)]
    return []
