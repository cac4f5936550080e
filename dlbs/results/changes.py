"""Differences in code and software between sides of a comparison: commits, files, packages, images."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from dlbs.core.text import counted, first_few, text
from dlbs.results.columns import hashable
from dlbs.results.runs import Record, Runs
from dlbs.run.stale import different, package_list, package_words, packages_in, version_of

COMMIT = "exp.code.commit"
VERSION = (COMMIT, "exp.code.diff", "exp.code.dirty")
_PACKAGES = ("exp.software.packages", "exp.software.versions", "exp.software.package_list")
# Mappings of a name to a commit and a difference.
_PARTS = ("exp.code.repositories", "exp.code.submodules", "exp.code.editable")
_IMAGES = ("exp.docker_image_digests", "exp.docker_image_id")


def versions_of(runs: Runs) -> list[str]:
    """The different versions of the code of some runs: `a1b2c3d`, `9f8e7d6-dirty`."""
    return list(dict.fromkeys(filter(None, runs.each(VERSION, version_words))))


def version_words(run: Record) -> str:
    """The version of the code of a run; empty if it is unknown."""
    return version_of(run).words if run.get(COMMIT) else ""


def mixed_lines(runs: Runs, names: Sequence[str]) -> list[str]:
    """A warning if runs that are equal in these parameters, and share a cell, are of several versions of the code."""
    versions = versions_of(runs)
    if len(versions) < 2 or all(len(versions_of(members)) < 2 for members in runs.group(names).values()):
        return []
    return [f"cells mix {len(versions)} versions of the code ({first_few(versions)}); --rows {COMMIT} separates them"]


def changes(a: Runs, b: Runs) -> dict[str, Any]:
    """Differences in code and software between two sides, as plain data, without those that either side does not know.

    Returns:
        `versions`: of the code on each side. `files`: those that ran whose content differs; `data`: others that the commands name.
        `repositories`: versions of others, of submodules and of packages in editable mode, on each side. `packages`: name → version on each
        side, null if missing; empty if only the digests of the lists are known. `decisive`: those of them that decide how fast a model runs.
        `images`: of containers, on each side.
    """
    found: dict[str, Any] = {}
    versions = [versions_of(side) for side in (a, b)]
    if all(versions) and set(versions[0]) != set(versions[1]):
        found["versions"] = versions
    files = [_mapped(side, "exp.code.files") for side in (a, b)]
    if all(files) and (names := _different(files)):
        found["files"] = sorted(names)
    data = [_mapped(side, "exp.code.data") for side in (a, b)]
    # An output that a command names differs between the runs of one side, too.
    single = [{name for name, digests in one.items() if len(digests) == 1 and None not in digests} for one in data]
    if names := [name for name in _different(data) if name in single[0] & single[1]]:
        found["data"] = sorted(names)
    parts = [{name: one for key in _PARTS for name, one in _mapped(side, key).items()} for side in (a, b)]
    if names := [name for name in _different(parts) if all(name in one for one in parts)]:
        found["repositories"] = {name: [sorted(one[name]) for one in parts] for name in names}
    for key in _IMAGES:
        images = [[text(value) for value in side.distinct(key) if value not in (None, "", [])] for side in (a, b)]
        if all(images) and set(images[0]) != set(images[1]):
            found["images"] = images
            break
    digests = [set(filter(None, map(text, side.distinct(_PACKAGES[0])))) for side in (a, b)]
    if all(digests) and digests[0] != digests[1]:
        lists = [_packages(side) for side in (a, b)]
        names = different(lists[0][0], lists[1][0])
        if names or not all(one[0] for one in lists):
            found["packages"] = {name: [one[0].get(name) for one in lists] for name in names}
            found["decisive"] = sorted({*lists[0][1], *lists[1][1]} & set(names))
    return found


def change_words(found: dict[str, Any]) -> list[str]:
    """`torch 2.12.0 → 2.13.0, 3 other packages` and `commit a1b2c3d → 9f8e7d6, 4 files`, for what `changes` returns."""
    words = []
    if "packages" in found:
        before, after = (
            {name: pair[at] for name, pair in found["packages"].items() if pair[at] is not None} for at in (0, 1)
        )
        words.append(package_words(before, after, found["decisive"]) or "other packages")
    files = found.get("files", [])
    count = counted(len(files), "file") if len(files) > 1 else first_few(files)
    if "versions" in found:
        one, other = (first_few(versions) for versions in found["versions"])
        words.append(f"commit {one} → {other}{f', {count}' if files else ''}")
    elif files:
        words.append(f"{first_few(files)} changed")
    if "data" in found:
        words.append(f"data {first_few(found['data'])} changed")
    for name, (before, after) in found.get("repositories", {}).items():
        words.append(f"{name} {first_few(before)} → {first_few(after)}")
    if "images" in found:
        words.append(f"image {' → '.join(first_few([_short(one) for one in images]) for images in found['images'])}")
    return words


def _short(image: str) -> str:
    return image.removeprefix("sha256:")[:12] if image.startswith("sha256:") else image


def _mapped(runs: Runs, key: str) -> dict[str, set[Any]]:
    """Name → the values that it has in a mapping of some runs; repositories as `a1b2c3d`, or `a1b2c3d-1a2b3c` with the digest of a difference."""
    found: dict[str, set[Any]] = {}
    for values in runs.distinct(key):
        for name, value in values.items() if isinstance(values, dict) else ():
            if isinstance(value, dict):
                value = "-".join(filter(None, [text(value.get("commit"))[:7], text(value.get("diff"))[:6]]))
            found.setdefault(name, set()).add(hashable(value))
    return found


def _different(sides: Sequence[Mapping[str, set[Any]]]) -> list[str]:
    return [name for name in {**sides[0], **sides[1]} if sides[0].get(name) != sides[1].get(name)]


def _packages(runs: Runs) -> tuple[dict[str, str], list[str]]:
    """Package → its versions in the environments of some runs, from the lists beside their logs; and the decisive ones."""
    found: dict[str, dict[str, None]] = {}
    decisive: dict[str, None] = {}
    for run in (members[0] for members in runs.group(_PACKAGES[:1]).values()):
        versions = run.get("exp.software.versions")
        short = {name: text(one) for name, one in versions.items()} if isinstance(versions, dict) else {}
        decisive.update(dict.fromkeys(short))
        for name, version in (packages_in(package_list(Path(text(run.get("exp.log_file"))), run)) or short).items():
            found.setdefault(name, {})[version] = None
    return {name: first_few([*versions], " or ") for name, versions in found.items()}, [*decisive]
