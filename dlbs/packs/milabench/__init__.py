"""The interface of milabench (github.com/mila-iqia/milabench), which runs benchfiles written for it as benchmark packs.

`MODULES` maps modules of milabench to modules here with the same names.
"""

from __future__ import annotations

__all__ = ["MODULES"]

MODULES = {
    "milabench": "",
    "milabench.commands": "dlbs.packs.milabench.plans",
    "milabench.commands.executors": "",
    "milabench.fs": "dlbs.packs.milabench.paths",
    "milabench.merge": "dlbs.packs.milabench.options",
    "milabench.pack": "dlbs.packs.milabench.package",
    "milabench.utils": "dlbs.packs.milabench.options",
}
