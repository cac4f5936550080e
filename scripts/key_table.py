"""Write the table of keys in docs/log-format.md from dlbs/results/keys.yaml: `python -m scripts.key_table`."""

from __future__ import annotations

import re

from dlbs.results.key_table import markdown_table
from scripts.environments import ROOT

PAGE = ROOT / "docs" / "log-format.md"


def main() -> None:
    """Update the page."""
    page = PAGE.read_text(encoding="utf-8")
    made = re.sub(
        r"(<!-- keys: .* -->\n\n).*?(\n<!-- end of keys -->)",
        lambda found: found[1] + markdown_table() + found[2],
        page,
        flags=re.DOTALL,
    )
    PAGE.write_text(made, encoding="utf-8")


if __name__ == "__main__":
    main()
