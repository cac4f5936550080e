"""Generated pages of the site: command, parameter, key and API reference, and the map of modules."""

from __future__ import annotations

import json

import dlbs
from dlbs.config.declarations import Parameter
from dlbs.config.load import load_config
from dlbs.results.keys import markdown_table
from scripts.module_map import module_map
from scripts.site.commands import command_reference


def _text(value: object) -> str:
    return str(value).replace("|", "\\|").replace("\n", " ")


def _about(parameter: Parameter) -> str:
    text = _text(parameter.desc).replace("<", "&lt;").replace("*", "\\*")
    if parameter.domain is not None:
        text += " One of " + ", ".join(f"`{_text(json.dumps(one))}`" for one in parameter.domain) + "."
    if parameter.regexp:
        text += f" Matches `{_text(parameter.regexp)}`."
    return text


def parameter_reference() -> str:
    """The page of all declared parameters, by namespace."""
    config = load_config()
    lines = [
        "# Parameter reference",
        "",
        "All parameters with type, default and description, from `config/`. `dlbs help NAME` prints one.",
        "",
    ]
    namespaces: dict[str, list[Parameter]] = {}
    for name, parameter in config.declarations.items():
        namespaces.setdefault(name.split(".")[0], []).append(parameter)
    for namespace, parameters in namespaces.items():
        lines += [f"## {namespace}", "", "| parameter | type | default | meaning |", "| --- | --- | --- | --- |"]
        for one in parameters:
            setting = config.settings.get(one.name)
            default = f"`{_text(json.dumps(setting.value, ensure_ascii=False))}`" if setting is not None else ""
            lines.append(f"| `{one.name}` | {one.type} | {default} | {_about(one)} |")
        lines.append("")
    return "\n".join(lines)


def key_reference() -> str:
    """The page of all keys of logs and results."""
    table = markdown_table().replace("](", "](../").replace("](../#", "](#")
    return f"# Result keys\n\nThe keys in logs and results files. `dlbs help KEY` prints one. [Log format](../log-format.md) describes how they are written.\n\n{table}"


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
