"""Write the module map in CONTRIBUTING.md from the first lines of docstrings: `python scripts/module_map.py`.

The docstrings are the only source, so that the map cannot become outdated; a test compares them.
"""

from __future__ import annotations

import ast
import textwrap
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
BEGIN, END = "<!-- map of modules: make docs -->", "<!-- end of the map -->"
# In the order of the pipeline: a directory imports from those above it in this list, never from those below.
ROOMS = [
    "dlbs",
    *(
        f"dlbs/{name}"
        for name in ("machine", "language", "config", "plan", "launch", "packs", "executors", "run", "results")
    ),
    *(
        f"dlbs/results/{name}"
        for name in ("read", "statistics", "tables", "plots", "export", "page", "store", "history")
    ),
    *(f"dlbs/packs/{name}" for name in ("milabench", "repro")),
    "dlbs/cli",
    "python/pytorch_benchmarks",
    *(
        f"python/pytorch_benchmarks/{name}"
        for name in (
            "options",
            "data",
            "models",
            "phases",
            "measure",
            "serving",
            "training",
            "torchbench",
            "torchbench/frameworks",
            "checks",
        )
    ),
    "python/pack_runner",
    "python/pack_runner/provided/benchmate",
    "python/command_runner",
    "python/onnxruntime_benchmarks",
    "python/jax_benchmarks",
    "python/jax_benchmarks/models",
]


def modules_of(room: str) -> list[Path]:
    """The modules of a directory, without those of its subdirectories."""
    return sorted(path for path in (ROOT / room).glob("*.py") if path.name != "__init__.py")


def first_line(path: Path) -> str:
    """The first paragraph of a module's docstring as one line; empty if there is none."""
    docstring = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
    return " ".join(docstring.split("\n\n")[0].split())


def lines() -> Iterator[str]:
    """The map as Markdown."""
    for room in ROOMS:
        package = ROOT / room / "__init__.py"
        yield ""
        yield f"### `{room}/`"
        about = first_line(package) if package.is_file() else ""
        if about:
            yield ""
            yield from textwrap.wrap(about, 120)
        yield ""
        for path in modules_of(room):
            yield from textwrap.wrap(f"- `{path.name}`: {first_line(path)}", 120, subsequent_indent="  ")


def contributing() -> str:
    """CONTRIBUTING.md with the current map."""
    page = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    before, _, rest = page.partition(BEGIN)
    _, _, after = rest.partition(END)
    return f"{before}{BEGIN}\n" + "\n".join(lines()) + f"\n\n{END}{after}"


if __name__ == "__main__":
    (ROOT / "CONTRIBUTING.md").write_text(contributing(), encoding="utf-8")
