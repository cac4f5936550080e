"""The cache of the merged configuration: never outdated, and never needed."""

from __future__ import annotations

import marshal
import os
import zlib
from collections.abc import Callable
from pathlib import Path

import pytest

from dlbs.config import documents, load
from dlbs.config.config import Config
from dlbs.config.load import shipped_files
from dlbs.core.files import dlbs_root, read_text

FILES = (
    ("base.yaml", "parameters:\n  a.b: {val: [1, 2.5, null, true], type: list, desc: A list.}\n"),
    ("more.yaml", "parameters: {a.c: {val: ä, desc: A letter., val_domain: [ä, u]}}\n"),
)


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return tmp_path / "dlbs" / "config"


def shipped(files: tuple[tuple[str, str], ...] = FILES) -> Config:
    """Load a configuration as a new process does."""
    load._merged.cache_clear()
    return load.shipped(files)


@pytest.fixture
def no_parser(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shipped()
    monkeypatch.setattr(documents, "parse", lambda name, source: pytest.fail(f"parsed {name} again"))


def test_shipped_files_are_the_same_from_the_cache(cache: Path) -> None:
    files = tuple((str(path), read_text(path)) for path in shipped_files(dlbs_root()))
    assert shipped(files) == shipped(files) == load._unpacked(load._packed(load._merge_all(files)))
    assert len(list(cache.iterdir())) == 1


def test_what_is_cached_is_what_was_merged() -> None:
    files = (
        *FILES,
        ("c.yaml", "frameworks: {mine: [a]}\nvariables: {a.c: [u, ä]}\nextensions: [{cases: [{a.b: []}]}]\n"),
    )
    merged = load._merge_all(files)
    merged.namespaces = frozenset({"a"})
    assert merged.variables
    assert merged.extensions
    assert merged.builds_on
    assert shipped(files) == shipped(files) == merged


@pytest.mark.usefixtures("no_parser")
def test_the_second_time_nothing_is_parsed() -> None:
    config = shipped()
    assert config.settings["a.b"] == ([1, 2.5, None, True], "base.yaml:2")
    assert config.declarations["a.c"].domain == ("ä", "u")


def test_each_caller_gets_a_configuration_of_its_own() -> None:
    shipped().settings["a.b"].value.append(3)
    assert load.shipped(FILES).settings["a.b"].value == [1, 2.5, None, True]


def test_a_changed_text_is_merged_again() -> None:
    shipped()
    changed = (FILES[0], ("more.yaml", FILES[1][1].replace("val: ä", "val: u")))
    assert shipped(changed).settings["a.c"].value == "u"
    assert shipped().settings["a.c"].value == "ä"


def test_another_python_has_a_cache_of_its_own(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shipped()
    monkeypatch.setattr(load, "_FORMAT", load._FORMAT + " of another Python")
    assert shipped().settings["a.c"].value == "ä"
    assert len(list(cache.iterdir())) == 2


def test_a_cache_of_another_format_is_written_again(cache: Path) -> None:
    expected = shipped()
    (file,) = cache.iterdir()
    form, files, packed = marshal.loads(file.read_bytes()[4:])
    file.write_bytes(sealed(marshal.dumps((f"{form} before", files, packed[:-1]))))
    assert shipped() == expected
    assert marshal.loads(file.read_bytes()[4:])[0] == form


def sealed(data: bytes) -> bytes:
    return zlib.crc32(data).to_bytes(4, "big") + data


@pytest.mark.parametrize(
    "change",
    [
        lambda data: data[:40],
        lambda data: data[:-9] + b"x" + data[-8:],
        lambda data: b"",
        lambda data: sealed(b""),
        lambda data: sealed(marshal.dumps(None)),
        lambda data: sealed(marshal.dumps((*marshal.loads(data[4:])[:2], b""))),
        lambda data: sealed(marshal.dumps((*marshal.loads(data[4:])[:2], marshal.dumps((1, 2, 3, 4, 5, 6))))),
    ],
)
def test_a_damaged_cache_is_written_again(cache: Path, change: Callable[[bytes], bytes]) -> None:
    expected = shipped()
    (file,) = cache.iterdir()
    written = file.read_bytes()
    file.write_bytes(change(written))
    assert shipped() == expected
    assert file.read_bytes() == written


def test_a_cache_of_another_user_is_not_trusted(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shipped()
    (file,) = cache.iterdir()
    form, files, packed = marshal.loads(file.read_bytes()[4:])
    file.write_bytes(sealed(marshal.dumps((form, files, packed.replace(b"letter", b"trojan")))))
    assert shipped().declarations["a.c"].desc == "A trojan."
    other = os.geteuid() + 1
    monkeypatch.setattr(os, "geteuid", lambda: other)
    assert shipped().declarations["a.c"].desc == "A letter."


def test_a_relative_cache_directory_is_ignored(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", "relative")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    shipped()
    assert [path.name for path in tmp_path.iterdir()] == ["home"]
    assert list((tmp_path / "home" / ".cache" / "dlbs" / "config").iterdir())


def test_a_user_without_a_home_directory_has_no_cache(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)

    def no_home() -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(Path, "home", no_home)
    assert shipped().settings


def test_a_cache_that_cannot_be_written_is_no_error(cache: Path) -> None:
    cache.parent.write_text("a file in place of the directory")
    assert shipped().settings


def test_only_some_caches_are_kept(cache: Path) -> None:
    for number in range(12):
        shipped(((f"{number}/base.yaml", "parameters: {}\n"),))
    assert len(list(cache.iterdir())) == load._MOST
