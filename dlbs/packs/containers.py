"""Container packs: build and publish their images, predict with them, and measure them.

`python -m dlbs.packs.containers DEFINITION NAME ...`, from the launcher, measures: a batch is one call of `predict_batch`.
"""

from __future__ import annotations

import argparse
import itertools
import signal
import sys
from collections.abc import Iterator, Mapping, Sequence, Set
from pathlib import Path
from typing import Any

from benchmark_core.crash import guarded
from benchmark_core.log import key_line
from benchmark_core.text import printable
from dlbs.core.errors import ConfigError, DlbsError, LaunchError, LogError
from dlbs.core.experiment import Check, Experiment, Problem, Site
from dlbs.core.files import JsonError, load_json
from dlbs.core.text import counted, text
from dlbs.launch import containers
from dlbs.packs.benchfile import argv_parameters
from dlbs.packs.container_model import (
    DatasetReader,
    OutputWriter,
    iterate_jsonl_files,
    load_model,
    one_for_each,
    predict_lines,
    read_jsonl_file,
    write_jsonl_file,
)
from dlbs.packs.definition import find_pack
from dlbs.packs.kinds import PACK_READS, Finding, Kind, kind_of, pack_directory
from dlbs.packs.pack import Pack, Places, Tell, option_name

INPUTS = "inputs.jsonl"


def _can_be_measured(experiment: Experiment, site: Site) -> Problem | None:
    if pack_directory(experiment, site) is not None:
        return None
    name = text(experiment.get("exp.pack"))
    if not experiment.get("exp.docker"):
        return Problem(f"{name} is a container pack", "remove exp.docker=false")
    inputs = Path(text(experiment.get("pack.inputs")) or Path(text(experiment["pack.dir"])) / INPUTS)
    if not inputs.is_file():
        return Problem(f"{name} has no inputs: {inputs}", "create it with one JSON object per line, or set pack.inputs")
    return None


class ContainerKind(Kind):
    """A program in an image."""

    name = "container"
    precedence = 40
    files = "Dockerfile"
    template: Path | None = Path(__file__).parent / "templates" / "container"
    checks = (Check((*PACK_READS, "exp.docker", "pack.inputs"), _can_be_measured),)
    uninstallable = "a container; build it with dlbs pack build"

    def recognises(self, directory: Path) -> bool:
        return (directory / "Dockerfile").is_file()

    def defaults(self, name: str) -> dict[str, Any]:
        return {"image": f"dlbs/{name.lower()}:latest"}

    def parameters(self, pack: Pack, places: Places, given: Set[str]) -> dict[str, Any]:
        # A batch is one request, which its model may divide: its option batch_size is not exp.replica_batch.
        return {
            **super().parameters(pack, places, given),
            "pack.launcher": "${DLBS_ROOT}/scripts/launchers/pack_container.sh",
            "exp.docker": True,
            "exp.phase": "inference",
            "pack.predictor": pack.predictor,
            "exp.docker_image": pack.image,
            "exp.replica_batch": 16,
            "exp.num_batches": 10,
            "exp.num_warmup_batches": 1,
            **{f"voir.{name}": value for name, value in pack.voir.items()},
            **argv_parameters(pack),
        }

    def check(self, pack: Pack, device: str) -> Iterator[Finding]:
        there = (pack.directory / INPUTS).is_file()
        missing = f"{INPUTS} is missing: the container cannot be measured"
        yield there, f"{INPUTS} contains its inputs" if there else missing
        tests = any((pack.directory / "tests").glob("*test*.py"))
        yield tests, "it has tests" if tests else "it has no tests"


def build_pack(
    pack: Pack,
    *,
    image: str = "",
    build_args: Mapping[str, str] | None = None,
    network: str = "",
    docker: str = "docker",
    tell: Tell,
) -> None:
    """Build the image of a pack from its Dockerfile.

    Args:
        pack: A container pack.
        image: A name to use instead of the pack's.
        build_args: Further arguments, which win over the pack's.
        network: Network during the build, such as `host`.
        docker: The docker command.
        tell: Called with each line for the user.

    Raises:
        LaunchError: The pack is not a container pack, or the build fails.
    """
    name = _image(pack, image)
    arguments = {**pack.build_args, **(build_args or {})}
    containers.build_image(pack.directory, name, arguments=arguments, network=network, docker=docker, tell=tell)
    tell(f"{pack.name}: built {name}")


def pull_pack(pack: Pack, *, image: str = "", docker: str = "docker", tell: Tell) -> bool:
    """Pull the image of a pack; return False if it has to be built instead.

    Raises:
        LaunchError: The pack is not a container pack.
    """
    name = _image(pack, image)
    try:
        containers.pull_image(name, docker=docker)
    except LaunchError as error:
        tell(f"{pack.name}: cannot be pulled ({error.what.splitlines()[-1].strip()}); building it")
        return False
    tell(f"{pack.name}: pulled {name}")
    return True


def publish_pack(pack: Pack, repository: str, *, dry_run: bool, docker: str = "docker", tell: Tell) -> None:
    """Push the image of a pack to a repository; with `dry_run`, only print the commands.

    Raises:
        LaunchError: The pack is not a container pack, or the registry rejects it.
    """
    name = _image(pack, "")
    target = repository or name
    if target != name:
        tell(f"{docker} tag {name} {target}")
        if not dry_run:
            containers.tag_image(name, target, docker=docker)
    tell(f"{docker} push {target}")
    if not dry_run:
        containers.push_image(target, docker=docker, tell=tell)


def predict(
    pack: Pack,
    files: Sequence[str],
    output: str,
    *,
    batch_size: int | None = None,
    device: int = -1,
    image: str = "",
    model: str = "",
    arguments: Mapping[str, Any] | None = None,
    reader: str = "",
    writer: str = "",
    tell: Tell,
) -> None:
    """Run a container pack on the inputs in files, and write its outputs to a file, in the order of the inputs.

    Args:
        pack: A container pack.
        files: JSON lines, or what the reader reads.
        output: The file to write.
        batch_size: Inputs per call of the container; all by default.
        device: Number of the GPU; -1 is the CPU.
        image: An image to use instead of the pack's.
        model: Name of the model, if the pack registers several.
        arguments: Arguments of the model, which win over the pack's `argv`.
        reader: Name of the dataset reader; JSON lines by default.
        writer: Name of the output writer; JSON lines by default.
        tell: Called with each line for the user.

    Raises:
        LaunchError: It is no container pack, or the container fails.
        ConfigError: A name is unknown, or a writer and a batch size are given.
    """
    if not isinstance(kind_of(pack), ContainerKind):
        raise LaunchError(f"{pack.name} is a {pack.kind}, not a container", where=pack.where, hint="see dlbs pack list")
    predictor = load_model(pack, name=model, image=image, device=device, arguments=arguments)
    inputs = DatasetReader.by_name(reader)().read(*files) if reader else list(iterate_jsonl_files(files))
    if writer:
        writing = OutputWriter.by_name(writer)()
        if batch_size:
            raise ConfigError(
                "cannot be used with an output writer, which gets all predictions at once",
                where="--batch-size",
                hint="remove it",
            )
        writing.write(inputs, predictor.predict_batch(inputs), output, model_name=model or pack.name)
        tell(f"predictions for {counted(len(inputs), 'input')} → {output}")
        return
    count = write_jsonl_file(output, predict_lines(predictor, inputs, batch_size))
    tell(f"{counted(count, 'output')} for {counted(len(inputs), 'input')} → {output}")


def _image(pack: Pack, other: str) -> str:
    """The name of a pack's image, or `other` if given."""
    if not isinstance(kind_of(pack), ContainerKind):
        raise LaunchError(
            f"{pack.name} is a {pack.kind} pack, which has no image",
            where=pack.where,
            hint="container packs have a Dockerfile",
        )
    return other or pack.image


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print log lines, and return the exit code."""
    options = _parse(arguments)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that the container is removed on exit
    try:
        _measure(options, find_pack(options.name, [options.definition]))
    except DlbsError as error:
        print(key_line("exp.status_msg", " ".join(printable(str(error)).split())[:500]), flush=True)
        print(f"error: {printable(str(error))}", file=sys.stderr)
        return 1
    return 0


def _measure(options: argparse.Namespace, pack: Pack) -> None:
    from benchmark_core.measure import time_metrics
    from benchmark_core.timing import Schedule, time_batches

    inputs = _inputs(pack, options.inputs)
    model = load_model(
        pack, name=options.model, image=options.image, device=options.device, docker=options.docker,
        arguments=_model_arguments(options.words),
    )  # fmt: skip
    endless = itertools.cycle(inputs)
    batches = iter(lambda: list(itertools.islice(endless, options.batch)), None)

    def step(batch: list[Any]) -> None:
        one_for_each(model.predict_batch(batch), batch)

    timing = time_batches(step, batches, Schedule(options.batches, options.warmup), synchronize=lambda: None)
    results = time_metrics(timing.batches, options.batch)
    results |= {"results.time_first_batch": 1000 * timing.first, "results.unit": "instances"}
    for key, value in results.items():
        print(key_line(key, value), flush=True)


def _inputs(pack: Pack, file: str) -> list[Any]:
    path = Path(file) if file else pack.directory / INPUTS
    inputs = read_jsonl_file(path)
    if not inputs:
        raise LogError("has no inputs", where=str(path), hint="write one JSON object per line")
    return inputs


def _model_arguments(words: Sequence[str]) -> dict[str, Any]:
    """The arguments of a model's constructor: `--batch-size 64 --quiet` becomes batch_size=64 and quiet=True."""
    found: dict[str, Any] = {}
    name = ""
    for word in words:
        if word.startswith("--"):
            name = option_name(word).removeprefix("argv.")
            found[name] = True
        elif name:
            try:
                found[name] = load_json(word)
            except JsonError:
                found[name] = word
    return found


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("definition", type=Path)
    parser.add_argument("name")
    parser.add_argument("--image", required=True)
    parser.add_argument("--inputs", default="")
    parser.add_argument("--model", default="")
    parser.add_argument("--device", type=int, default=-1)
    parser.add_argument("--batch", type=int, default=1)
    parser.add_argument("--batches", type=int, default=10)
    parser.add_argument("--warmup", type=int, default=1)
    parser.add_argument("--docker", default="docker")
    parser.add_argument("--debug", action="store_true", help="show the traceback of unexpected errors")
    given = list(sys.argv[1:] if arguments is None else arguments)
    end = given.index("--") if "--" in given else len(given)
    options = parser.parse_args(given[:end])
    options.words = given[end + 1 :]  # -- --NAME VALUE ...: arguments of the model's constructor
    return options


if __name__ == "__main__":
    from dlbs.packs.containers import main  # of the module that `kinds` loads

    sys.exit(guarded(main))
