"""An extension of griffe that puts examples in docstrings into separate sections, so that their output is not read as Markdown."""

from __future__ import annotations

import re
import textwrap
from typing import Any

import griffe

__all__ = ["Doctests"]


class Doctests(griffe.Extension):
    """Put the paragraphs of a docstring that begin with `>>>` into sections."""

    def on_object(self, *, obj: griffe.Object, **kwargs: Any) -> None:
        """Change the docstring of an object."""
        if obj.docstring:
            obj.docstring.value = re.sub(
                r"^>>> .*(?:\n.+)*",
                lambda found: "Examples:\n" + textwrap.indent(found[0], "    "),
                obj.docstring.value,
                flags=re.MULTILINE,
            )
