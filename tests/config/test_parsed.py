"""The cache of the parsed configuration: never outdated, and never needed."""

from __future__ import annotations

import marshal
import os
import zlib
from pathlib import Path

import pytest

from dlbs.config import parsed
from dlbs.config.documents import parse, read
from dlbs.config.load import shipped_files
from dlbs.files import dlbs_root

FILES = (("base.yaml", "parameters:\n  a.b: {val: [1, 2.5, null, true]}\n"), ("more.yaml", "parameters: {a.c: ä}\n"))


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return tmp_path / "dlbs" / "config"


@pytest.fixture
def no_parser(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    parsed.parse_all(FILES)
    monkeypatch.setattr(parsed, "parse", lambda name, source: pytest.fail(f"parsed {name} again"))


def test_shipped_files_are_the_same_from_the_cache(cache: Path) -> None:
    files = tuple((str(path), read(path)) for path in shipped_files(dlbs_root()))
    assert parsed.parse_all(files) == parsed.parse_all(files) == [parse(*file) for file in files]
    assert len(list(cache.iterdir())) == 1


@pytest.mark.usefixtures("no_parser")
def test_the_second_time_nothing_is_parsed() -> None:
    first, second = parsed.parse_all(FILES)
    assert first.data == {"parameters": {"a.b": {"val": [1, 2.5, None, True]}}}
    assert first.where("parameters", "a.b") == "base.yaml:2"
    assert second.data == {"parameters": {"a.c": "ä"}}


def test_a_changed_text_is_parsed_again(cache: Path) -> None:
    parsed.parse_all(FILES)
    changed = (FILES[0], ("more.yaml", "parameters: {a.c: u}\n"))
    assert parsed.parse_all(changed)[1].data == {"parameters": {"a.c": "u"}}
    assert parsed.parse_all(FILES)[1].data == {"parameters": {"a.c": "ä"}}


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
        lambda data: sealed(marshal.dumps((*marshal.loads(data[4:])[:2], [("base.yaml",)]))),
    ],
)
def test_a_damaged_cache_is_written_again(cache: Path, change: object) -> None:
    expected = parsed.parse_all(FILES)
    (file,) = cache.iterdir()
    file.write_bytes(change(file.read_bytes()))  # type: ignore[operator]
    assert parsed.parse_all(FILES) == expected
    assert parsed._read(file, FILES) == expected


def test_a_cache_of_another_user_is_not_trusted(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    parsed.parse_all(FILES)
    (file,) = cache.iterdir()
    assert parsed._read(file, FILES) is not None
    other = os.geteuid() + 1
    monkeypatch.setattr(os, "geteuid", lambda: other)
    assert parsed._read(file, FILES) is None


def test_a_relative_cache_directory_is_ignored(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", "relative")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    parsed.parse_all(FILES)
    assert [path.name for path in tmp_path.iterdir()] == ["home"]
    assert list((tmp_path / "home" / ".cache" / "dlbs" / "config").iterdir())


def test_a_user_without_a_home_directory_has_no_cache(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)

    def no_home() -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(Path, "home", no_home)
    assert parsed.parse_all(FILES)[0].data


def test_a_cache_that_cannot_be_written_is_no_error(cache: Path) -> None:
    cache.parent.parent.mkdir(exist_ok=True)
    cache.parent.write_text("a file in place of the directory")
    assert parsed.parse_all(FILES)[0].data


def test_only_some_caches_are_kept(cache: Path) -> None:
    for number in range(12):
        parsed.parse_all(((f"{number}/base.yaml", "parameters: {}\n"),))
    assert len(list(cache.iterdir())) == parsed._MOST
