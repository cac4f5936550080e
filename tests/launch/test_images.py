"""Images, by whatever command takes docker's arguments: here a program that notes them and answers as it is told."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from dlbs.core.errors import LaunchError
from dlbs.launch.containers import build_image, inspect_image, list_images, pull_image, push_image, tag_image

pytestmark = pytest.mark.integration  # starts shells

ANSWER = [
    {"Id": "sha256:aa", "RepoTags": ["dlbs/b:1", "dlbs/a:1"], "Size": 5, "Created": "2026-01-02T03:04:05Z"},
    {"Id": "bb", "RepoTags": None, "Size": 6, "Created": "2026-01-02T03:04:05Z"},
    {"Id": "cc", "RepoTags": ["localhost/dlbs/c:1"], "Size": 7, "Created": "2026-01-02T03:04:05Z"},
]


@pytest.fixture
def command(tmp_path: Path) -> str:
    """A stand-in for docker that lists two images, and fails for a name with `wrong` in it."""
    (tmp_path / "answer.json").write_text(json.dumps(ANSWER))
    program = tmp_path / "dockish"
    program.write_text(
        f"""#!/bin/sh
printf '%s|' "$@" >> {tmp_path}/calls; echo >> {tmp_path}/calls
case "$*" in
    *wrong*) echo first; echo; printf 'the \\033[31mreason\\n' >&2; exit 3;;
    "image ls"*) echo aa; echo bb; echo aa;;
    "image inspect"*) cat {tmp_path}/answer.json;;
    build*) echo step 1; echo step 2 >&2;;
esac
"""
    )
    program.chmod(0o755)
    return str(program)


def calls(command: str) -> list[str]:
    return Path(command).with_name("calls").read_text().splitlines()


def test_images_are_listed_by_each_of_their_names(command: str) -> None:
    found = list_images(docker=command)
    assert [(image.name, image.id, image.bytes) for image in found] == [
        ("dlbs/a:1", "sha256:aa", 5),
        ("dlbs/b:1", "sha256:aa", 5),
        ("localhost/dlbs/c:1", "sha256:cc", 7),
    ]
    assert calls(command) == ["image|ls|--quiet|--no-trunc|", "image|inspect|--|aa|bb|"]
    assert inspect_image("dlbs/a:1", docker=command).name == "dlbs/a:1"


def test_a_build_gets_its_arguments_and_its_output_is_followed(command: str, tmp_path: Path) -> None:
    lines: list[str] = []
    build_image(tmp_path, "x", arguments={"BASE": "a b"}, network="host", docker=command, tell=lines.append)
    assert lines == ["step 1", "step 2"]
    assert calls(command) == [f"build|--tag=x|--build-arg=BASE=a b|--network=host|--|{tmp_path}|"]


def test_names_are_never_options(command: str) -> None:
    pull_image("--all", docker=command)
    push_image("-x", docker=command)
    tag_image("-a", "-b", docker=command)
    assert calls(command) == ["pull|--|--all|", "push|--|-x|", "tag|--|-a|-b|"]


def test_a_failure_says_what_was_said_last(command: str, tmp_path: Path) -> None:
    with pytest.raises(LaunchError) as raised:
        build_image(tmp_path, "wrong", docker=command)
    assert raised.value.what.startswith("building wrong failed:\n  first\n  the ")
    lines: list[str] = []
    with pytest.raises(LaunchError, match=r"^pulling wrong failed: the .*reason$") as raised:
        pull_image("wrong", docker=command, tell=lines.append)
    assert lines[0] == "first"
    assert "\033" not in raised.value.what
    with pytest.raises(LaunchError, match="inspecting wrong failed: the "):
        inspect_image("wrong", docker=command)


def test_a_command_that_is_not_there_or_whose_daemon_does_not_answer(tmp_path: Path) -> None:
    with pytest.raises(LaunchError, match=r"/nowhere/docker: cannot be started"):
        list_images(docker="/nowhere/docker")
    silent = tmp_path / "silent"
    silent.write_text("#!/bin/sh\necho nobody is there >&2; exit 1\n")
    silent.chmod(0o755)
    with pytest.raises(LaunchError, match="daemon does not answer: nobody is there"):
        pull_image("x", docker=str(silent))
