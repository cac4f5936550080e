"""Classes of `setup.py` files written for Repro, which map Dockerfiles to images; `dlbs pack build` builds them."""

from __future__ import annotations

from typing import Any

from dlbs.packs.registry import Registrable

__all__ = ["RootSubcommand", "SetupSubcommand", "Subcommand"]


class Subcommand(Registrable):
    """A command of Repro's command line, which DLBS can load but does not run."""

    def add_subparser(self, model: str, parser: Any) -> None:
        """Add the options of the command."""
        raise NotImplementedError

    def run(self, args: Any) -> None:
        """Run the command."""
        raise NotImplementedError


class RootSubcommand(Subcommand):
    """A top-level command."""


class SetupSubcommand(Subcommand):
    """The command `setup` of one model."""
