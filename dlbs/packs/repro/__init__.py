"""The interface of Repro (github.com/danieldeutsch/repro), which runs model files written for it as container packs.

`MODULES` maps modules of Repro to modules here with the same names.
"""

from __future__ import annotations

__all__ = ["MODULES"]

MODULES = {
    "repro": "dlbs.packs.repro.places",
    "repro.commands": "",
    "repro.commands.subcommand": "dlbs.packs.repro.setup",
    "repro.common": "dlbs.packs.repro.common",
    "repro.common.checks": "dlbs.packs.repro.common",
    "repro.common.docker": "dlbs.packs.repro.docker",
    "repro.common.io": "dlbs.packs.repro.files",
    "repro.common.registrable": "dlbs.packs.registry",
    "repro.common.tempdir": "dlbs.packs.repro.files",
    "repro.common.util": "dlbs.packs.repro.values",
    "repro.data": "",
    "repro.data.dataset_readers": "dlbs.packs.repro.readers",
    "repro.data.output_writers": "dlbs.packs.repro.writers",
    "repro.data.types": "dlbs.packs.repro.types",
    "repro.models": "dlbs.packs.repro.models",
    "repro.models.model": "dlbs.packs.repro.models",
    "repro.testing": "dlbs.packs.repro.testing",
    "overrides": "dlbs.packs.repro.overriding",
}
