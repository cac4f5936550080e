"""Generate the tables of options in the manual from the fields: `python -m scripts.options_manual PAGE...` updates pages.

A table is placed between `<!-- options: CommonOptions -->` and `<!-- end of options -->`; it contains the options that a class adds or changes.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Sequence
from pathlib import Path

from benchmark_core.crash import guarded
from benchmark_core.options import default_text, options_of
from pytorch_benchmarks.options import BenchmarkOptions, CommonOptions, ServingOptions
from pytorch_benchmarks.training.options import TrainingOptions

_KINDS: dict[str, type[CommonOptions]] = {
    kind.__name__: kind for kind in (CommonOptions, ServingOptions, BenchmarkOptions, TrainingOptions)
}
_TABLE = re.compile(r"(<!-- options: (\w+) -->\n).*?(<!-- end of options -->)", re.DOTALL)


def options_table(kind: type[CommonOptions]) -> str:
    """A Markdown table of the options that a class adds to its base, or changes in default or text."""
    bases = [base for base in kind.__mro__[1:] if base.__name__ in _KINDS]
    inherited = [(one.name, one.default, known) for base in bases for one, known in options_of(base)]
    rows = ["| option | values | default | meaning |", "| --- | --- | --- | --- |"]
    for one, known in options_of(kind):
        if (one.name, one.default, known) not in inherited:
            values = ", ".join(f"`{choice}`" for choice in known.choices if choice) or known.metavar.replace("|", ", ")
            default = f"`{default_text(one)}`" if default_text(one) else ""
            rows.append(f"| `--{one.name}` | {values} | {default} | {known.help.rstrip('.')} |")
    return "\n".join(rows) + "\n"


def with_tables(page: str) -> str:
    """Regenerate the tables in the text of a page."""
    return _TABLE.sub(lambda found: f"{found[1]}\n{options_table(_KINDS[found[2]])}\n{found[3]}", page)


def main(pages: Sequence[str] | None = None) -> int:
    """Update the tables of pages."""
    for path in map(Path, sys.argv[1:] if pages is None else pages):
        path.write_text(with_tables(path.read_text(encoding="utf-8")), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(guarded(main))
