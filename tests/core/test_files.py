"""Files: atomic writes, and opens that follow no link and wait for no pipe."""

from __future__ import annotations

import gzip
import os
from pathlib import Path

import pytest

from dlbs.core.errors import ConfigError, LogError
from dlbs.core.files import create_file, open_regular, read_small, write_atomically, write_bytes, write_to_cache
from dlbs.core.logs import first_values, last_values


def test_a_file_appears_only_when_it_is_complete(tmp_path: Path) -> None:
    target = tmp_path / "plan.json"
    target.write_text("old")

    def interrupted() -> None:
        with write_atomically(target) as stream:
            stream.write("half")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert target.read_text() == "old"
    with write_atomically(target) as stream:
        stream.write("whole")
    assert target.read_text() == "whole"
    assert os.listdir(tmp_path) == ["plan.json"]


def test_gz_is_compressed(tmp_path: Path) -> None:
    with write_atomically(tmp_path / "plan.json.gz") as stream:
        stream.write("ü" * 1000)
    assert gzip.decompress((tmp_path / "plan.json.gz").read_bytes()).decode() == "ü" * 1000


@pytest.mark.parametrize("name", ["x" * 255, "é" * 127, "\N{GRINNING FACE}" * 63], ids=["1 byte", "2 bytes", "4 bytes"])
def test_a_long_name_leaves_room_for_the_temporary_one(tmp_path: Path, name: str) -> None:
    target = tmp_path / name
    write_bytes(target, b"1")
    assert target.read_bytes() == b"1"


def test_what_cannot_be_written_is_a_clear_error(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ConfigError, match=r"file/plan\.json: cannot be written: Not a directory"):
        write_bytes(tmp_path / "file" / "plan.json", b"")


def test_what_killed_processes_left_in_a_cache_is_removed(tmp_path: Path) -> None:
    stale, fresh, other = ".a.marshal.0123456789ab.tmp", ".a.marshal.ba9876543210.tmp", "notes.0123456789ab.tmp"
    for name in (stale, fresh, other, "target"):
        (tmp_path / name).touch()
    (tmp_path / ".link.0123456789ab.tmp").symlink_to("target")
    (tmp_path / ".directory.0123456789ab.tmp").mkdir()
    for path in tmp_path.iterdir():
        if path.name != fresh:
            os.utime(path, (0, 0), follow_symlinks=False)
    kept = set(os.listdir(tmp_path)) - {stale}
    write_bytes(tmp_path / "log", b"")
    assert (tmp_path / stale).exists(), "a directory of the user's stays as it is"
    write_to_cache(tmp_path / "b.marshal", b"new", most=1)
    assert set(os.listdir(tmp_path)) == kept | {"b.marshal", "log"}


def test_new_files_get_the_permissions_of_the_umask(tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        write_bytes(tmp_path / "file", b"")
    finally:
        os.umask(before)
    assert (tmp_path / "file").stat().st_mode & 0o777 == 0o640


def test_a_new_file_is_not_written_through_a_link(tmp_path: Path) -> None:
    (tmp_path / "precious").write_text("mine")
    (tmp_path / "link").symlink_to("precious")
    (tmp_path / "dangling").symlink_to("nowhere")
    for name in ("link", "dangling", "precious"):
        with pytest.raises(FileExistsError):
            create_file(tmp_path / name)
    assert (tmp_path / "precious").read_text() == "mine"
    assert not (tmp_path / "nowhere").exists()


def test_replacing_a_link_leaves_its_target_alone(tmp_path: Path) -> None:
    (tmp_path / "precious").write_text("mine")
    (tmp_path / "link").symlink_to("precious")
    with pytest.raises(ConfigError, match="is not a regular file and is not replaced"):
        write_bytes(tmp_path / "link", b"new")
    assert (tmp_path / "precious").read_text() == "mine"


def not_regular(directory: Path) -> dict[str, Path]:
    (directory / "target").write_text("secret")
    os.mkfifo(directory / "pipe")
    (directory / "link").symlink_to("target")
    (directory / "zero").symlink_to("/dev/zero")
    (directory / "directory").mkdir()
    return {name: directory / name for name in ("pipe", "link", "zero", "directory")}


def test_pipes_links_devices_and_directories_are_not_read(tmp_path: Path) -> None:
    for path in [*not_regular(tmp_path).values(), Path("/dev/zero")]:
        with pytest.raises(LogError, match=r"not a regular file|symbolic link"):
            open_regular(path)
        for read in (first_values, last_values):
            with pytest.raises(LogError, match=r"not a regular file|symbolic link"):
                read(path)


def test_a_small_file_is_read_whole_or_not_at_all(tmp_path: Path) -> None:
    file = tmp_path / "a.log"
    for content in (b"", b"x", b"x" * 100):
        file.write_bytes(content)
        assert read_small(file, 100) == content
    assert read_small(file, 99) is None
    assert read_small("/proc/self/stat", 100) is None  # its size is 0, but it has content


def test_a_link_that_the_user_names_may_be_followed_but_not_to_a_device(tmp_path: Path) -> None:
    paths = not_regular(tmp_path)
    with open_regular(paths["link"], follow_links=True) as stream:
        assert stream.read() == b"secret"
    with pytest.raises(LogError, match="not a regular file"):
        open_regular(paths["zero"], follow_links=True)


def test_a_missing_log_has_no_values(tmp_path: Path) -> None:
    assert first_values(tmp_path / "nope") == last_values(tmp_path / "nope") == {}


@pytest.mark.parametrize("value", ["9" * 5000, "[" * 5000, '"\\ud800', "{"])
def test_a_broken_value_hides_no_other(tmp_path: Path, value: str) -> None:
    log = tmp_path / "a.log"
    log.write_text(f'__exp.model__= "alexnet"\n__x__= {value}\n__exp.status__= "ok"\n')
    assert first_values(log) == last_values(log) == {"exp.model": "alexnet", "exp.status": "ok"}
