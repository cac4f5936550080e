"""Options and values of the original DLBS (HewlettPackard/dlcookbook-dlbs) that were renamed or removed, and their replacements."""

from __future__ import annotations

import click

__all__ = ["FORMER_OPTIONS", "FORMER_VALUES", "former_option_hint"]

_RECURSIVE = "leave it out: directories are always searched recursively"
_ONE_FILE = "leave it out: one file may contain everything"

# Verb → option → replacement. Options may be written with dashes or underscores.
FORMER_OPTIONS = {
    "help": {
        "--params": "write the name alone: dlbs help NAME, or a regular expression",
        "--text": "write the word alone: dlbs help WORD",
    },
    "parse": {
        "--keys": "write --output-params KEY,KEY",
        "--log-dir": "write the directory alone: dlbs parse DIRECTORY",
        "--summary-file": "write --output-file FILE",
        "--benchmarks-per-file": _ONE_FILE,
        "--num-output-files": _ONE_FILE,
        "--strict": "write --filter-params KEY,KEY",
    },
    "report": {
        "--summary-file": "write the file alone: dlbs report FILE",
        "--target-variable": "leave it out: --type prints times, throughput, speed-up and efficiency; --values KEY prints others",
        "--query": "write --filter-query",
        "--report": "write --type regular, weak or strong",
        "--log-dir": "write the directory alone: dlbs report --series DIRECTORY",
        "--log-file": "write the file alone: dlbs report --series FILE",
        "--recursive": _RECURSIVE,
        "--select": "write --filter-query",
    },
    "plot": {
        "--xparam": "write --x KEY",
        "--yparam": "write --y KEY",
        "--recursive": _RECURSIVE,
        "--aggregation": "leave it out: points are medians of repeats, with their interval",
        "--chart-file": "write --output-file FILE",
        "--chart-type": "leave it out, or write --type: dlbs plot --help lists them",
        "--chart-opts": "write --title TEXT; axes and legend are labelled automatically",
        "--baseline-xvalue": "write --baseline NAME=VALUE, such as --baseline exp.num_gpus=1",
        "--baseline-series": "write --baseline NAME=VALUE, such as --baseline exp.framework=pytorch",
        "--series-file": "leave it out: dlbs report --rows NAME --cols NAME --format json has the numbers",
    },
}

# Verb → option → value → replacement.
FORMER_VALUES = {
    "report": {
        "--type": {
            "exploration": "write --type regular",
            "weak-scaling": "write --type weak",
            "strong-scaling": "write --type strong",
        },
    },
}


def former_option_hint(error: click.ClickException) -> str:
    """The replacement of an option or value that only the original's verb had; empty for others."""
    context = error.ctx if isinstance(error, click.UsageError) else None
    if context is None:
        return ""
    verb = context.command.name or ""
    if isinstance(error, click.NoSuchOption):
        return FORMER_OPTIONS.get(verb, {}).get(error.option_name.replace("_", "-"), "")
    if isinstance(error, click.BadParameter) and error.param is not None:
        values = FORMER_VALUES.get(verb, {}).get(error.param.opts[0], {})
        return next((said for value, said in values.items() if error.message.startswith(repr(value))), "")
    return ""
