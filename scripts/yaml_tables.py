"""Write the tables of the manual that are in YAML files: `python -m scripts.yaml_tables`.

Keys of results (dlbs/results/keys.yaml) are in docs/log-format.md; names, expressions and options of the original DLBS (dlbs/config/former.yaml) in
docs/migrating.md, each between `<!-- NAME: ... -->` and `<!-- end of NAME -->`.
"""

from __future__ import annotations

import re

from dlbs.config.names import Former, table
from dlbs.core.text import text
from dlbs.results.keys import markdown_table
from scripts import ROOT

PAGES = (ROOT / "docs" / "log-format.md", ROOT / "docs" / "migrating.md")
_TABLE = re.compile(r"(<!-- (keys|names|expressions|options): .* -->\n\n).*?(\n<!-- end of \2 -->)", re.DOTALL)


def with_tables(page: str) -> str:
    """Regenerate the tables in the text of a page."""
    return _TABLE.sub(lambda found: found[1] + _TABLES[found[2]]() + found[3], page)


def _names() -> str:
    rows = ["| original | now | why |", "| --- | --- | --- |", *map(_name, table().names)]
    return "\n".join(rows) + "\n"


def _name(one: Former) -> str:
    new = f"`{one.new}`" if one.new else ""
    changes = []
    for value, settings in one.values.items():
        if settings is None:
            changes.append(f"`{value}` has no equivalent")
        else:
            becomes = " ".join(f"`{name}={text(setting)}`" for name, setting in settings.items())
            changes.append(f"`{value}`: {becomes or 'leave it out'}")
    changes += [f"`{old}`: {f'`{word}`' if word else 'nothing'}" for old, word in one.words.items()]
    if not new and not changes:
        new = "declare it, or rename it" if one.own else "leave it out" if one.omit else "none"
    return f"| `{one.name}` | {', '.join(filter(None, (new, *changes)))} | {one.why} |".replace("|  |", "| |")


def _expressions() -> str:
    rows = ["| original | write |", "| --- | --- |"]
    rows += [f"| {one.shown} | {one.say} |".replace("\\", "") for one in table().expressions]
    return "\n".join(rows) + "\n"


def _options() -> str:
    rows = ["| verb | original | now |", "| --- | --- | --- |"]
    for verb, options in table().options.items():
        rows += [f"| `{verb}` | `{_underscored(option)}` | {said} |" for option, said in options.items()]
    return "\n".join(rows) + "\n"


def _underscored(option: str) -> str:
    """An option as the original wrote it; a value behind it stays."""
    name, _, value = option.removeprefix("--").partition(" ")
    return f"--{name.replace('-', '_')} {value}".rstrip()


_TABLES = {"keys": markdown_table, "names": _names, "expressions": _expressions, "options": _options}


def main() -> None:
    """Update the pages."""
    for page in PAGES:
        page.write_text(with_tables(page.read_text(encoding="utf-8")), encoding="utf-8")


if __name__ == "__main__":
    main()
