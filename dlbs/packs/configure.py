"""The first stage of the pipeline: from files, `-P/-V/-E` and packs to the configuration that a plan is built from.

The command line and Python callers both begin here. It lies above `config/`, which knows nothing of packs.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from typing import Any

from dlbs.config.config import Config
from dlbs.config.flags import Assignments, assignments
from dlbs.config.load import load_config
from dlbs.launch.reads import check_typed_names
from dlbs.packs.extend import add_packs, chosen_packs

__all__ = ["configure"]


def configure(
    files: Iterable[str | os.PathLike[str]] = (),
    *,
    parameters: Assignments = (),
    variables: Assignments = (),
    extensions: Iterable[str | Mapping[str, Any]] = (),
    discard_default: bool = False,
    select: Iterable[str] = (),
    exclude: Iterable[str] = (),
    plan: str | os.PathLike[str] | None = None,
) -> Config:
    """Load a configuration, and add what the packs that it names say.

    Args:
        files: Configuration files, later ones winning.
        parameters: `{"exp.model": "alexnet"}`, or `name=value` texts as `-P` takes them.
        variables: `{"exp.model": ["alexnet", "vgg16"]}`, or `name=[...]` texts as `-V` takes them.
        extensions: Mappings with a condition, or their JSON texts.
        discard_default: Leave the shipped values out; the declarations stay.
        select: Run the packs with one of these words as name, tag or install group.
        exclude: Of them, leave out those with one of these words.
        plan: A written plan whose experiments `parameters` will change; its names are known too.

    Raises:
        ConfigError: Malformed, unknown keys or names, wrong types, no such pack, or a parameter that nothing uses.
    """
    given, varied = dict(assignments("-P", parameters)), dict(assignments("-V", variables))
    select, exclude = list(select), list(exclude)
    if select or exclude:
        given["exp.framework"] = "pack"
        varied["exp.pack"] = chosen_packs(select, exclude)
    config = load_config(
        files, parameters=given, variables=varied, extensions=extensions, discard_default=discard_default
    )
    add_packs(config)
    check_typed_names(config, plan)
    return config
