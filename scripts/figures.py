"""Figures of the program's shape: files, lines, imports, chains of imports, modules at the start of a run, words of the manual.

    python -m scripts.figures                     this tree
    python -m scripts.figures --before REVISION   a revision beside it

tests/test_rooms.py limits some of them. Lines of code are lines without blanks, comments and docstrings.
"""

from __future__ import annotations

import argparse
import ast
import io
import json
import os
import re
import subprocess
import sys
import tarfile
import tempfile
import tokenize
from collections.abc import Iterable, Iterator
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

from scripts import ROOT

PROGRAM = ("dlbs", "python")
# What `dlbs run` does to import its modules: one experiment of the dummy framework.
RUN = """
import sys
bare = set(sys.modules)
from dlbs.cli.main import main
sys.argv = ["dlbs", "run", "-q", "-Pexp.framework=dummy", "-Pexp.docker=false", "-Pexp.log_dir=" + sys.argv[1]]
try:
    main()
except SystemExit as end:
    assert not end.code, end.code
loaded = sorted(set(sys.modules) - bare)
print(len(loaded), sum(name.split(".")[0] in ("dlbs", "benchmark_core") for name in loaded))
"""


class Lines(NamedTuple):
    """Lines of code, and those of them that are imports or `__all__`."""

    code: int
    imports: int


class Module(NamedTuple):
    """A module of the program.

    Attributes:
        name: Its dotted name.
        room: Its folder.
        lines: Its lines.
        eager: Modules that it imports when it is imported, without those for types only.
        lazy: Modules that its functions import.
    """

    name: str
    room: str
    lines: Lines
    eager: frozenset[str]
    lazy: frozenset[str]


class Tree:
    """A checkout of the program."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.files = [path for part in PROGRAM for path in sorted((root / part).rglob("*.py"))]

    @cached_property
    def modules(self) -> dict[str, Module]:
        """All modules by name; scripts that are copied elsewhere before they run import nothing of ours."""
        names = {_name(self.root, path): path for path in self.files}
        return {name: _module(name, path, self.root, names.keys()) for name, path in names.items()}

    @property
    def lines(self) -> Lines:
        every = [module.lines for module in self.modules.values()]
        return Lines(sum(one.code for one in every), sum(one.imports for one in every))

    def chain(self, *, lazy: bool) -> list[str]:
        """The longest chain of imports; modules that import each other count as one."""
        graph = {name: one.eager | (one.lazy if lazy else frozenset()) for name, one in self.modules.items()}
        longest: dict[str, list[str]] = {}
        for circle in _components(graph):
            below = [longest[to] for name in circle for to in graph[name] if to in longest]
            longest.update({name: [name, *max(below, key=len, default=[])] for name in circle})
        return max(longest.values(), key=len, default=[])

    def rooms(self) -> tuple[int, int]:
        """Number of folders with code, and of pairs of which one imports from the other."""
        arrows = {
            (one.room, self.modules[to].room)
            for one in self.modules.values()
            for to in one.eager | one.lazy
            if self.modules[to].room != one.room
        }
        return len({one.room for one in self.modules.values() if one.lines.code}), len(arrows)

    def start(self) -> tuple[int, int]:
        """Modules that `dlbs run` loads beyond a bare Python for one experiment, when its caches are filled: all, ours."""
        path = os.pathsep.join([str(self.root), str(self.root / "python")])
        environment = {**os.environ, "PYTHONPATH": path, "DLBS_ROOT": str(self.root)}
        with tempfile.TemporaryDirectory() as logs:
            for number in ("1", "2"):
                command = [sys.executable, "-c", RUN, f"{logs}/{number}"]
                done = subprocess.run(command, env=environment, cwd=logs, capture_output=True, text=True, check=True)
        every, ours = done.stdout.split()[-2:]
        return int(every), int(ours)

    def words(self) -> tuple[int, int]:
        """Pages of the manual, and their words without tables that the program generates."""
        pages = [self.root / "README.md", *sorted((self.root / "docs").glob("*.md"))]
        texts = [page.read_text(encoding="utf-8") for page in pages]
        generated = re.compile(r"<!-- (\w+): .*?<!-- end of \1 -->", re.DOTALL)
        return len(pages), sum(len(generated.sub("", text).split()) for text in texts)


def _name(root: Path, path: Path) -> str:
    parts = list(path.relative_to(root).with_suffix("").parts)
    parts = parts[1:] if parts[0] == "python" else parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def _module(name: str, path: Path, root: Path, names: Iterable[str]) -> Module:
    source = path.read_text(encoding="utf-8")
    tree = ast.parse(source)
    package = name if path.name == "__init__.py" else name.rpartition(".")[0]
    eager, lazy = set[str](), set[str]()
    for node, inside in _imports(tree):
        found = {to for to in _targets(node, package, set(names)) if to != name}
        (lazy if inside else eager).update(found)
    room = str(path.parent.relative_to(root))
    return Module(name, room, _lines(source, tree), frozenset(eager), frozenset(lazy - eager))


def _imports(tree: ast.AST, inside: bool = False) -> Iterator[tuple[ast.Import | ast.ImportFrom, bool]]:
    """Import statements, and whether they are in a function; not those for types."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, (ast.Import, ast.ImportFrom)):
            yield node, inside
        elif not (isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"):
            yield from _imports(node, inside or isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)))


def _targets(node: ast.Import | ast.ImportFrom, package: str, names: set[str]) -> Iterator[str]:
    if isinstance(node, ast.Import):
        yield from (alias.name for alias in node.names if alias.name in names)
        return
    parents = package.split(".")
    base = ".".join(parents[: len(parents) - node.level + 1]) if node.level else ""
    module = ".".join(part for part in (base, node.module) if part)
    for alias in node.names:
        yield from [to for to in (f"{module}.{alias.name}", module) if to in names][:1]


def _lines(source: str, tree: ast.Module) -> Lines:
    skipped = {tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT, tokenize.ENDMARKER}
    code = set[int]()
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type not in skipped:
            code.update(range(token.start[0], token.end[0] + 1))
    imports = set[int]()
    for node in ast.walk(tree):
        numbers = range(getattr(node, "lineno", 0), (getattr(node, "end_lineno", 0) or 0) + 1)
        if isinstance(node, _DOCUMENTED) and ast.get_docstring(node, clean=False) is not None:
            code.difference_update(range(node.body[0].lineno, (node.body[0].end_lineno or 0) + 1))
        names = [ast.unparse(target) for target in node.targets] if isinstance(node, ast.Assign) else []
        if isinstance(node, (ast.Import, ast.ImportFrom)) or "__all__" in names:
            imports.update(numbers)
    return Lines(len(code), len(imports & code))


_DOCUMENTED = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)


def _components(graph: dict[str, frozenset[str]]) -> list[list[str]]:
    """Circles of a graph and its single nodes, each behind what it leads to (Tarjan 1972)."""
    index: dict[str, int] = {}
    low: dict[str, int] = {}
    stack: list[str] = []
    found: list[list[str]] = []

    def visit(name: str) -> None:
        index[name] = low[name] = len(index)
        stack.append(name)
        for to in sorted(graph[name]):
            if to not in index:
                visit(to)
                low[name] = min(low[name], low[to])
            elif to in stack:
                low[name] = min(low[name], index[to])
        if low[name] == index[name]:
            at = stack.index(name)
            found.append(stack[at:])
            del stack[at:]

    for name in sorted(graph):
        if name not in index:
            visit(name)
    return found


def figures(tree: Tree) -> dict[str, str]:
    """All figures of a tree, in words."""
    lines, rooms, (pages, words), (every, ours) = tree.lines, tree.rooms(), tree.words(), tree.start()
    return {
        "Python files": f"{len(tree.files):,}",
        "lines of code": f"{lines.code:,}",
        "of them imports and `__all__`": f"{lines.imports:,} ({100 * lines.imports / lines.code:.1f} %)",
        "longest chain of imports, with those in functions": f"{len(tree.chain(lazy=False))}, {len(tree.chain(lazy=True))}",
        "modules at the start of a run, ours": f"{every}, {ours}",
        "folders, arrows between them": f"{rooms[0]}, {rooms[1]}",
        "words of the manual, pages": f"{words:,}, {pages}",
    }


def main() -> None:
    """Print the figures as a Markdown table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else None)
    parser.add_argument("--before", metavar="REVISION", help="also the figures of a Git revision")
    parser.add_argument("--chains", action="store_true", help="also the longest chains of imports")
    parser.add_argument("--json", action="store_true", help="print JSON")
    arguments = parser.parse_args()
    tree = Tree(ROOT)
    columns = {"now": figures(tree)}
    if arguments.before:
        archive = subprocess.run(["git", "archive", arguments.before], cwd=ROOT, capture_output=True, check=True).stdout
        with tempfile.TemporaryDirectory() as directory, tarfile.open(fileobj=io.BytesIO(archive)) as tar:
            tar.extractall(directory)  # our own commit
            columns = {"before": figures(Tree(Path(directory))), **columns}
    if arguments.json:
        print(json.dumps(columns, indent=2))
    else:
        print(f"| | {' | '.join(columns)} |\n| --- |{' ---: |' * len(columns)}")
        for name in columns["now"]:
            print(f"| {name} | {' | '.join(column[name] for column in columns.values())} |")
    for lazy in (False, True) if arguments.chains else ():
        print("\n" + " → ".join(tree.chain(lazy=lazy)))


if __name__ == "__main__":
    main()
