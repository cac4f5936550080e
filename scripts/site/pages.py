"""Generated pages of the site: command, parameter, key and API reference, and the map of modules."""

from __future__ import annotations

import json

import dlbs
from dlbs.config.declarations import Parameter
from dlbs.config.load import load_config
from dlbs.results.keys import known_keys
from scripts.module_map import module_map
from scripts.site.commands import command_reference

_FIRST_IN_SEARCH = ("---", "search:", "  boost: 4", "---", "")  # a short section is what was searched for


def _text(value: object) -> str:
    return str(value).replace("\n", " ")


def _about(parameter: Parameter) -> str:
    text = _text(parameter.desc).replace("<", "&lt;").replace("*", "\\*")
    if parameter.domain is not None:
        text += " One of " + ", ".join(f"`{_text(json.dumps(one))}`" for one in parameter.domain) + "."
    if parameter.regexp:
        text += f" Matches `{_text(parameter.regexp)}`."
    return text


def parameter_reference() -> str:
    """The page of all declared parameters, by namespace; each has a heading, which the search finds."""
    config = load_config()
    lines = [
        *_FIRST_IN_SEARCH,
        "# Parameter reference",
        "",
        "All parameters with type, default and description, from `config/`. `dlbs help NAME` prints one.",
        "",
    ]
    namespaces: dict[str, list[Parameter]] = {}
    for name, parameter in config.declarations.items():
        namespaces.setdefault(name.split(".")[0], []).append(parameter)
    for namespace, parameters in namespaces.items():
        lines += [f"## {namespace}", ""]
        for one in parameters:
            setting = config.settings.get(one.name)
            default = "" if setting is None else f", default `{_text(json.dumps(setting.value, ensure_ascii=False))}`"
            lines += [f"#### {one.name}", "", f"{one.type}{default}: {_about(one)}", ""]
    return "\n".join(lines)


def key_reference() -> str:
    """The page of all keys of logs and results; each row has a heading, which the search finds."""
    lines = [
        *_FIRST_IN_SEARCH,
        "# Result keys",
        "",
        "The keys in logs and results files. `dlbs help KEY` prints one. [Log format](../log-format.md) describes how they are written.",
        "",
    ]
    for row in dict.fromkeys(known_keys().values()):
        keys = ", ".join(f"`{key}`" for key in row.keys)
        unit = f", in {', '.join(row.units)}" if row.units else ""
        meaning = row.meaning.replace("](", "](../").replace("](../#", "](#")
        lines += [f"#### {row.keys[0]}", "", f"{keys}{unit}: {meaning}", ""]
    return "\n".join(lines)


def api_reference() -> str:
    """The API reference, from docstrings."""
    lines = [
        "# API reference",
        "",
        "The functions and classes of `import dlbs`. [Python API](../python-api.md) explains it.",
        "",
    ]
    for name in dlbs.__all__:
        if name != "__version__":
            found = getattr(dlbs, name)
            lines += [f"::: {found.__module__}.{found.__qualname__}", ""]
    return "\n".join(lines)


def generated_pages() -> dict[str, str]:
    """Generated pages: path in the site → Markdown."""
    return {
        "reference/commands.md": command_reference(),
        "reference/parameters.md": parameter_reference(),
        "reference/keys.md": key_reference(),
        "reference/api.md": api_reference(),
        "reference/modules.md": module_map(),
    }
