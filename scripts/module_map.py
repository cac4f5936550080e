"""The map of modules, a page of the site: every package and module with the first line of its docstring."""

from __future__ import annotations

import ast
import re
from pathlib import Path

from scripts import ROOT


def rooms() -> list[str]:
    """The directories with modules: those of dlbs in the order of the pipeline (the layers in pyproject.toml), then those of the programs."""
    (layers,) = re.findall(r"layers = \[\n(.*?)\n\]", (ROOT / "pyproject.toml").read_text(encoding="utf-8"), re.DOTALL)
    order = ["", *reversed(re.findall(r"[\w]+", layers))]

    def position(room: str) -> tuple[bool, int, str]:
        package = room.partition("/")[2].split("/")[0]
        return not room.startswith("dlbs"), order.index(package) if package in order else len(order), room

    found = {
        path.parent.relative_to(ROOT).as_posix()
        for top in ("dlbs", "python")
        for path in (ROOT / top).rglob("*.py")
        if not {"templates", "migrations"} & set(path.parts)
    }
    return sorted(found, key=position)


def modules_of(room: str) -> list[Path]:
    """The modules of a directory, without those of its subdirectories."""
    return sorted(path for path in (ROOT / room).glob("*.py") if path.name != "__init__.py")


def first_line(path: Path) -> str:
    """The first paragraph of a module's docstring as one line; empty if there is none."""
    docstring = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
    return " ".join(docstring.split("\n\n")[0].split())


def module_map() -> str:
    """The page as Markdown."""
    lines = [
        "# Map of modules",
        "",
        "Each module with the first line of its docstring, in the order of the pipeline. [Contributing](../contributing.md)"
        " says why the packages are as they are.",
    ]
    for room in rooms():
        package = ROOT / room / "__init__.py"
        about = first_line(package) if package.is_file() else ""
        lines += ["", f"## {room}/", "", *([about, ""] if about else [])]
        lines += [f"- `{path.name}`: {_text(first_line(path))}" for path in modules_of(room)]
    return "\n".join(lines) + "\n"


def _text(line: str) -> str:
    """A line of a docstring, without what Markdown would read as a tag or a link."""
    parts = line.split("`")
    parts[::2] = [part.replace("<", "&lt;").replace("[", "\\[") for part in parts[::2]]  # the rest is code
    return "`".join(parts)
