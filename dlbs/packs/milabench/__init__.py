"""The interface of milabench (github.com/mila-iqia/milabench), so that benchfiles written for it run as benchmark packs.

`MODULES` says which module here has the names of which module there.
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
