"""Docker functions for model files written for Repro: images, and containers with volumes."""

from __future__ import annotations

import argparse
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from dlbs.errors import LaunchError
from dlbs.launch import images
from dlbs.packs.docker import DockerContainer, DockerContainerError, make_volume_map, run_command
from dlbs.packs.repro.setup import SetupSubcommand

__all__ = [
    "BuildDockerImageSubcommand",
    "DockerContainer",
    "DockerContainerError",
    "build_image",
    "image_exists",
    "make_volume_map",
    "pull_image",
    "remove_image",
    "run_command",
]


def image_exists(image: str) -> bool:
    """Whether an image exists on this machine.

    Raises:
        LaunchError: docker cannot be started.
    """
    return _docker("image", "inspect", image).returncode == 0


def pull_image(image: str) -> None:
    """Pull an image from its registry.

    Raises:
        LaunchError: It cannot be pulled.
    """
    images.pull_image(image, docker="docker")


def remove_image(image: str, force: bool = False) -> None:
    """Remove an image.

    Raises:
        LaunchError: It cannot be removed.
    """
    done = _docker("image", "rm", *(["--force"] if force else []), image)
    if done.returncode != 0:
        raise LaunchError(done.stderr.strip(), where=image)


def build_image(root: str, image: str, build_args: Mapping[str, str] | None = None, silent: bool = False) -> None:
    """Build an image from the Dockerfile in a directory.

    Args:
        root: The directory.
        image: Name of the image.
        build_args: Arguments of the Dockerfile.
        silent: Suppress output.

    Raises:
        LaunchError: The build fails.
    """

    def tell(line: str) -> None:
        if not silent:
            print(line, file=sys.stderr)

    images.build_image(Path(root), image, arguments=build_args, tell=tell)


class BuildDockerImageSubcommand(SetupSubcommand):
    """Build the image of one model.

    Args:
        root: Directory of its Dockerfile.
        default_image: Name of the image.
    """

    def __init__(self, root: str, default_image: str) -> None:
        self.root, self.default_image = root, default_image

    def add_subparser(self, model: str, parser: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
        """Add the model with its options."""
        self.parser = parser.add_parser(model, description=f"Build the image of {model}")
        self.parser.add_argument("--image-name", default=self.default_image, help="name of the image")
        self.parser.add_argument("--silent", action="store_true", help="suppress output")
        self.parser.set_defaults(subfunc=self.run)

    def run(self, args: argparse.Namespace) -> None:
        """Build the image."""
        build_image(self.root, args.image_name, silent=args.silent)


def _docker(*words: str) -> subprocess.CompletedProcess[str]:
    try:
        return subprocess.run(["docker", *words], capture_output=True, text=True, check=False)
    except OSError as error:
        raise LaunchError(f"cannot be started: {error.strerror}", where="docker", hint="install docker") from None
