"""Hooks of mkdocs that add generated pages, the changelog, and the examples that pages link to."""

from __future__ import annotations

import re
import textwrap
from pathlib import Path
from typing import Any

import griffe
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

from scripts import ROOT
from scripts.site.pages import generated_pages


def slug(text: str, separator: str) -> str:
    """Convert to lower case, without punctuation; each blank becomes a dash."""
    kept = re.sub(r"[^\w\- ]", "", text.lower())
    return kept.strip().replace(" ", separator)


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


_OUTSIDE = {
    "CHANGELOG.md": "changelog.md",
    "CONTRIBUTING.md": "contributing.md",
    "SECURITY.md": "security-policy.md",
    "README.md": "readme.md",
}


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add pages that are not files in docs/."""
    for path, markdown in generated_pages().items():
        files.append(File.generated(config, path, content=markdown))
    for name, path in _OUTSIDE.items():
        files.append(File.generated(config, path, content=_inside((ROOT / name).read_text(encoding="utf-8"))))
    for path, readme in example_pages().items():
        files.append(File.generated(config, path, content=_example(readme.read_text(encoding="utf-8"))))
    return files


def example_pages() -> dict[str, Path]:
    """Pages of examples: path in the site → README."""
    return {f"examples/{readme.parent.name}.md": readme for readme in (ROOT / "examples").glob("*/README.md")}


def _inside(markdown: str) -> str:
    """A page from the repository's root, with its links to docs/ adapted."""
    return _examples(re.sub(r"\]\(docs/", "](", markdown), "")


def _example(markdown: str) -> str:
    return re.sub(r"\]\((?:\.\./)+docs/", "](../", re.sub(r"\]\(([\w-]+\.(?:ya?ml|py|ipynb|sh))\)", r"](#)", markdown))


def _examples(markdown: str, up: str) -> str:
    """Convert links to examples to links to their pages; other files of the repository are named without a link."""
    markdown = re.sub(r"\]\((?:\.\./)?examples/([\w-]+)/?(?:[\w.-]+)?\)", rf"]({up}examples/\1.md)", markdown)
    for name, path in _OUTSIDE.items():
        markdown = re.sub(rf"\]\((?:\.\./)?{re.escape(name)}", f"]({up}{path}", markdown)
    return re.sub(r"\[([^\]]+)\]\(\.\./[^)]+\)", r"\1", markdown)


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Convert links that leave docs/ to links to pages of the site."""
    if "/" in page.file.src_uri:
        return markdown
    return _examples(markdown, "")


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Add pages that are missing in the navigation to it."""
    named = set(re.findall(r"[\w./-]+\.md", str(config.nav)))
    written = {path.name for path in (ROOT / "docs").glob("*.md")}
    rest = {"Examples": sorted(example_pages()), "More": sorted((written | set(_OUTSIDE.values())) - named)}
    for section in config.nav or ():
        for title, pages in rest.items():
            if isinstance(section, dict) and title in section:
                section[title] = pages
    return config
