"""Render templates of launchers with Jinja2 in a sandbox, because a plan may name an untrusted template.

Rendering prints a mark for each value. Only the finished script shows the context of a value that passed through blocks, loops and
included templates; it is quoted then.
"""

from __future__ import annotations

import os
import re
import shlex
import sys
import threading
from collections.abc import Callable, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

from dlbs.core.errors import LaunchError
from dlbs.core.experiment import Experiment
from dlbs.core.files import dlbs_root
from dlbs.core.text import text
from dlbs.launch.without_jinja import Namespace, NotPlainError, Rendering
from dlbs.launch.words import MARK, Name, Words, written

VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


_KEY = str(int.from_bytes(os.urandom(8), "big"))  # no value can contain such a mark; digits pass through most filters
_MARKS = re.compile(f"{MARK}{_KEY}\\.([0-9]+){MARK}")


class _Printed:
    """The values of one rendering, and the place where its template prints each."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.values: list[Any] = []
        self.places: list[tuple[Any, int]] = []  # the template and the line of its Python code

    def print(self, value: Any) -> str:
        """Return the mark for a value; called by the Python code that Jinja2 generates from a template."""
        if type(value).__name__ == "Undefined":
            str(value)  # raises, with the name
        frame = sys._getframe(2)
        self.places.append((frame.f_globals.get("__jinja_template__"), frame.f_lineno))
        self.values.append(value)
        return f"{MARK}{_KEY}.{len(self.values) - 1}{MARK}"

    def script(self, printed: str) -> str:
        """Replace the marks with quoted values."""
        parts = _MARKS.split(printed)
        pieces, numbers = parts[::2], [int(number) for number in parts[1::2]]
        if any(MARK in piece for piece in pieces):
            hint = "values are quoted after filters, so a filter must not change the output of a block or of another file's macro"
            raise LaunchError(f"U+{ord(MARK):X} or a damaged value is in the script", where=str(self.path), hint=hint)
        return written(pieces, [self._whole(self.values[n]) for n in numbers], lambda n: self.where(numbers[n]))

    def _whole(self, value: Any) -> Any:
        """Return a value; the output of a macro or of `{% set %}...{% endset %}` is a value that contains marks."""
        if isinstance(value, Words):
            return Words([self._whole(item) for item in value.items])
        if isinstance(value, str):
            return self.script(value) if _KEY in value else value
        return self.script(text(value)) if _KEY in text(value) else value

    def where(self, number: int) -> str:
        template, line = self.places[number]
        if template is None:
            return str(self.path)
        return f"{template.filename or self.path}:{template.get_corresponding_lineno(line)}"


class _Current(threading.local):
    """The rendering by Jinja2 that this thread is in."""

    printed: _Printed


_current = _Current()


def render(path: Path, context: Mapping[str, Any], missing: Callable[[str], LaunchError]) -> str:
    """Render a template to a script.

    Args:
        path: The template.
        context: Names for the template, in addition to the namespaces of parameters.
        missing: Makes the error for an undefined name.

    Raises:
        LaunchError: The template is malformed, uses an undefined name, or prints a value where none is allowed.
    """
    where = str(path)
    try:
        plain = Rendering(path, _launchers(), context, _FILTERS, _jinja_tree)
        if not any(MARK in piece for piece in plain.pieces):
            return written(plain.pieces, plain.values, lambda _: where)
    except (LaunchError, NotPlainError):
        pass  # Jinja2 renders it, or reports the error with its line
    import jinja2

    printed = _Printed(path)
    _current.printed = printed
    try:
        return printed.script(str(_environment(where).get_template(path.name).render(context)))
    except LaunchError as error:
        raise LaunchError(error.what, where=error.where or where, hint=error.hint) from None
    except jinja2.TemplateSyntaxError as error:
        raise LaunchError(f"malformed template: {error.message}", where=f"{path}:{error.lineno}") from None
    except jinja2.UndefinedError as error:
        raise missing(str(error)) from None
    except jinja2.TemplateNotFound as error:
        raise LaunchError(f"uses the template {error}, which does not exist", where=where) from None
    except jinja2.TemplateError as error:
        raise LaunchError(f"cannot be rendered: {error}", where=where) from None
    except RecursionError:
        hint = "a template must not include or extend itself"
        raise LaunchError("cannot be rendered: nested too deeply", where=where, hint=hint) from None
    except (ArithmeticError, LookupError, OSError, TypeError, ValueError) as error:
        raise LaunchError(f"cannot be rendered: {type(error).__name__}: {error}", where=where) from None
    finally:
        del _current.printed


def namespaces(experiment: Experiment) -> dict[str, Any]:
    """A template's names for parameters: `exp` for all that begin with `exp.`, and those without a dot."""
    prefixes, single = _prefixes(tuple(experiment))
    return {
        **{prefix: Namespace(experiment, prefix) for prefix in prefixes},
        **{name: experiment[name] for name in single},
    }


@lru_cache(maxsize=16)
def _prefixes(names: tuple[str, ...]) -> tuple[list[str], list[str]]:
    """The first parts of names with dots, and the names without; the experiments of a plan have the same names."""
    return list(dict.fromkeys(name.split(".")[0] for name in names if "." in name)), [
        name for name in names if "." not in name
    ]


@lru_cache(maxsize=64)
def _environment(path: str) -> Any:
    """The sandbox; it caches compiled templates until their files change."""
    import jinja2
    from jinja2.sandbox import SandboxedEnvironment

    class Undefined(jinja2.StrictUndefined):
        @property
        def _undefined_message(self) -> str:
            """The full name of the missing parameter, or the reason why the sandbox rejects the access."""
            if self._undefined_hint:
                return str(self._undefined_hint)
            owner = self._undefined_obj
            name = str(self._undefined_name)
            return f"{owner._prefix}.{name}" if isinstance(owner, Namespace) else name

    @jinja2.pass_context  # prevents Jinja2 from calling it for constants when it compiles a template
    def finalize(context: Any, value: Any) -> str:
        return _current.printed.print(value)

    directories = [str(Path(path).parent), str(_launchers())]
    made = SandboxedEnvironment(
        loader=jinja2.FileSystemLoader(directories),
        undefined=Undefined,
        finalize=finalize,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    made.filters.update(_FILTERS)
    return made


def _jinja_tree(source: str) -> Any:
    """The syntax tree of a template that Jinja2 accepts."""
    environment = _environment(".")
    environment.compile(source)
    return environment.parse(source)


def _launchers() -> Path:
    return dlbs_root() / "scripts" / "launchers"


def _as_it_is(value: Any) -> Any:
    """The filter `sh`, which makes the quoting of a value explicit."""
    return value


def _words(values: Any) -> Words:
    """A list as shell words, one per element except null, including empty strings; a string is split like in a shell."""
    if isinstance(values, Words):
        return values
    items = shlex.split(values) if isinstance(values, str) else values or ()
    return Words([item for item in items if item is not None])


def _arguments(options: Mapping[str, Any], prefix: str = "") -> list[str]:
    """Options of a program as `--name=value`, with a prefix before their names; empty ones are omitted."""
    return [f"--{prefix}{name}={text(value)}" for name, value in options.items() if value not in (None, "", [], {})]


def _variable(name: Any) -> Name:
    if not VARIABLE.fullmatch(str(name)):
        raise LaunchError(f"{name!r} is not the name of an environment variable")
    return Name(name)


_FILTERS: dict[str, Callable[..., Any]] = {
    "arguments": _arguments,
    "list": list,
    "sh": _as_it_is,
    "variable": _variable,
    "words": _words,
}
