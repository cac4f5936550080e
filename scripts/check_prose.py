"""Check the English of all texts: terms of the field, short lines of Markdown.

    python -m scripts.check_prose [FILE...]

Without files: the manual, README, CHANGELOG, CONTRIBUTING, descriptions of parameters, and all strings and docstrings in Python code except
tests. Code in Markdown, names in backticks, output of programs and generated parts of pages are ignored. Prints file:line, the words, and
a replacement; the exit code is 1 if there are findings.
"""

from __future__ import annotations

import ast
import functools
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import yaml

from scripts import ROOT

LONGEST = 120  # characters of a line of Markdown that is not a table, a single link or code
SCOPE = (
    "README.md",
    "CHANGELOG.md",
    "CONTRIBUTING.md",
    "docs/**/*.md",
    "examples/**/*.md",
    "config/**/*.yaml",
    "dlbs/**/*.py",
    "python/**/*.py",
    "scripts/**/*.py",
    "benchmarks/**/*.py",
)
_FENCE = re.compile(r"^\s*(```|~~~)")
_CODE = re.compile(r"`[^`]*`|\]\([^)]*\)|<[^>]*>|https?://\S+")
_GENERATED = re.compile(r"<!-- (options|names|expressions): ")


def main(arguments: list[str]) -> int:
    """Check files, or all of them; returns the exit code."""
    files = [Path(name) for name in arguments] or sorted({file for glob in SCOPE for file in ROOT.glob(glob)})
    found = [finding for file in files for finding in findings(file)]
    print(*found, sep="\n")
    if found:
        print(f"{len(found)} findings; docs/glossary.md has the terms")
    return 1 if found else 0


def findings(file: Path) -> Iterator[str]:
    """The findings of a file: `file:line: 'found': use instead`."""
    name = file.relative_to(ROOT) if file.is_relative_to(ROOT) else file
    for number, line, is_prose in _lines(file):
        text = _CODE.sub("`code`", line)
        for pattern, use, unless in _words():
            for match in pattern.finditer(text):
                if unless is None or not unless.search(text):
                    yield f"{name}:{number}: {match[0].strip(' .;:|')!r}: use {use}"
        if is_prose and len(line) > LONGEST and " " in line.strip()[:LONGEST]:
            yield f"{name}:{number}: {len(line)} characters; at most {LONGEST}"


def _lines(file: Path) -> Iterator[tuple[int, str, bool]]:
    """(number, line, whether it is a paragraph of Markdown) of a file's texts."""
    text = file.read_text(encoding="utf-8")
    if file.suffix == ".md":
        yield from _markdown(text)
    elif file.suffix == ".py":
        yield from _strings(text)
    else:
        yield from ((number, line, False) for number, line in enumerate(text.splitlines(), 1))


def _markdown(text: str) -> Iterator[tuple[int, str, bool]]:
    fenced = generated = False
    for number, line in enumerate(text.splitlines(), 1):
        if line.startswith("<!-- "):
            generated = bool(_GENERATED.match(line))
        elif _FENCE.match(line):
            fenced = not fenced
        elif not fenced and not generated and not line.startswith("    "):
            yield number, line, not line.lstrip().startswith(("|", "<!--", "![", "[!["))


def _strings(text: str) -> Iterator[tuple[int, str, bool]]:
    """Strings of more than two words: docstrings, help, messages."""
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and node.value.count(" ") > 1:
            for offset, line in enumerate(node.value.splitlines()):
                yield node.lineno + offset, line, False


@functools.cache
def _words() -> list[tuple[re.Pattern[str], str, re.Pattern[str] | None]]:
    """(pattern, replacement, context in which a match is allowed) of each word."""
    words = yaml.safe_load((Path(__file__).parent / "prose_words.yaml").read_text(encoding="utf-8"))
    return [
        (
            re.compile(word["pattern"], re.IGNORECASE),
            word["use"],
            re.compile(word["unless"], re.IGNORECASE) if "unless" in word else None,
        )
        for word in words
    ]


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
