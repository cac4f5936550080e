"""The names of Repro's `common`."""

from __future__ import annotations

from dlbs.errors import ConfigError as ConfigurationError
from dlbs.packs.registry import Registrable
from dlbs.packs.repro import values as util
from dlbs.packs.repro.files import TemporaryDirectory

__all__ = ["ConfigurationError", "Registrable", "TemporaryDirectory", "util"]
