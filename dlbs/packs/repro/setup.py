"""Classes of `setup.py` files that were written for Repro: which Dockerfile becomes which image. `dlbs pack build` builds it."""

from __future__ import annotations

from typing import Any

from dlbs.packs.registry import Registrable

__all__ = ["RootSubcommand", "SetupSubcommand", "Subcommand"]


class Subcommand(Registrable):
    """A verb of Repro's command line, which DLBS does not have: loading one is enough."""

    def add_subparser(self, model: str, parser: Any) -> None:
        """Options of the verb."""
        raise NotImplementedError

    def run(self, args: Any) -> None:
        """What the verb does."""
        raise NotImplementedError


class RootSubcommand(Subcommand):
    """A verb itself."""


class SetupSubcommand(Subcommand):
    """The verb `setup` of one model."""
