"""The verbs of `pack` about containers: build, publish, predict."""

from __future__ import annotations

from typing import Any

import click

from dlbs.cli.complete import complete_pack
from dlbs.cli.images import build_arguments, docker_option
from dlbs.cli.options import CONTEXT, common_options
from dlbs.cli.pack_options import chosen, exclude_option, names_argument, select_option, tell
from dlbs.errors import ConfigError, LaunchError
from dlbs.jsonio import JsonError, load_json
from dlbs.packs.definition import find_pack
from dlbs.text import counted

__all__ = ["build_command", "predict_command", "publish_command"]


@click.command("build", context_settings=CONTEXT)
@names_argument
@select_option
@exclude_option
@click.option("--image", default="", metavar="IMAGE", help="Different name for the image; for one pack only.")
@click.option(
    "--build-arg", "build_args", multiple=True, metavar="NAME=VALUE", help="Argument of docker build. Repeatable."
)
@click.option("--network", default="", metavar="NAME", help="Network during the build, such as host.")
@click.option("--pull", is_flag=True, help="Pull the image, and build it only if it cannot be pulled.")
@docker_option
@common_options
def build_command(
    names: tuple[str, ...],
    select: list[str],
    exclude: list[str],
    image: str,
    build_args: tuple[str, ...],
    network: str,
    pull: bool,
    docker: str,
) -> None:
    """Build the images of container packs.

    \b
    Examples:
      dlbs pack build tutorial
      dlbs pack build tutorial --build-arg BASE=python:3.12-slim \\
        --image tutorial:mine
      dlbs pack build tutorial --pull
    """
    from dlbs.packs.images import build_pack, pull_pack

    packs = chosen(names, select, exclude)
    if image and len(packs) > 1:
        raise ConfigError("several packs cannot share one image", where=f"--image {image}", hint="name one pack")
    arguments = build_arguments(build_args)
    for pack in packs:
        if not (pull and pull_pack(pack, image=image, docker=docker, tell=tell)):
            build_pack(pack, image=image, build_args=arguments, network=network, docker=docker, tell=tell)


@click.command("publish", context_settings=CONTEXT)
@click.argument("name", shell_complete=complete_pack)
@click.option(
    "--repository",
    default="",
    metavar="IMAGE",
    help="Destination, such as registry.example.org/me/model:1.0; by default the name of the image.",
)
@click.option("--dry-run", is_flag=True, help="Print what would be done, and do nothing.")
@docker_option
@common_options
def publish_command(name: str, repository: str, dry_run: bool, docker: str) -> None:
    """Push the image of a container pack to a registry that docker is logged in to.

    \b
    Examples:
      dlbs pack publish tutorial \\
        --repository registry.example.org/me/tutorial:1.0 --dry-run
    """
    from dlbs.packs.images import publish_pack

    publish_pack(find_pack(name), repository, dry_run=dry_run, docker=docker, tell=tell)


@click.command("predict", context_settings=CONTEXT)
@click.argument("name", shell_complete=complete_pack)
@click.option(
    "--input-files",
    required=True,
    multiple=True,
    metavar="FILE",
    help="File with the inputs, as JSON lines. Repeatable.",
)
@click.option("--output", required=True, metavar="FILE", help="File for the outputs, one per line.")
@click.option(
    "--batch-size", type=click.IntRange(1), metavar="N", help="Instances per call of the container; all by default."
)
@click.option("--device", type=int, default=-1, show_default=True, help="Number of the GPU; -1 is the CPU.")
@click.option("--image", default="", metavar="IMAGE", help="Image to use instead of the pack's own.")
@click.option("--model", default="", metavar="NAME", help="Model to use, if the pack's model.py registers several.")
@click.option(
    "--model-kwargs",
    default="{}",
    metavar="JSON",
    help="Arguments of the model's constructor; they override the pack's argv.",
)
@click.option(
    "--dataset-reader",
    default="",
    metavar="NAME",
    help="Reader of the files: jsonl, sacrerouge, or one that the pack defines.",
)
@click.option(
    "--output-writer",
    default="",
    metavar="NAME",
    help="Writer of the outputs: default, metrics, sacrerouge, or one that the pack defines.",
)
@common_options
def predict_command(
    name: str,
    input_files: tuple[str, ...],
    output: str,
    batch_size: int | None,
    device: int,
    image: str,
    model: str,
    model_kwargs: str,
    dataset_reader: str,
    output_writer: str,
) -> None:
    """Run a container pack on inputs in JSON lines; the outputs are in the order of the inputs.

    A model that gives one result for all inputs, such as metrics, writes one line.

    \b
    Examples:
      dlbs pack predict tutorial --input-files in.jsonl --output out.jsonl
      dlbs pack predict rouge --dataset-reader sacrerouge \\
        --input-files in.jsonl --output-writer metrics --output out.json
    """
    from dlbs.packs.container_model import load_model
    from dlbs.packs.jsonlines import iterate_jsonl_files, write_jsonl_file
    from dlbs.packs.predictions import predict_lines
    from dlbs.packs.repro.readers import DatasetReader
    from dlbs.packs.repro.writers import OutputWriter

    pack = find_pack(name)
    if pack.kind != "container":
        raise LaunchError(f"{pack.name} is a {pack.kind}, not a container", where=pack.where, hint="see dlbs pack list")
    arguments = _mapping(model_kwargs)
    predictor = load_model(pack, name=model, image=image, device=device, arguments=arguments)
    if dataset_reader:
        inputs = DatasetReader.by_name(dataset_reader)().read(*input_files)
    else:
        inputs = list(iterate_jsonl_files(input_files))
    if output_writer:
        writer = OutputWriter.by_name(output_writer)()
        if batch_size:
            raise ConfigError(
                "cannot be used with an output writer, which gets all predictions at once",
                where="--batch-size",
                hint="remove it",
            )
        writer.write(inputs, predictor.predict_batch(inputs), output, model_name=model or pack.name)
        tell(f"predictions for {counted(len(inputs), 'input')} → {output}")
        return
    count = write_jsonl_file(output, predict_lines(predictor, inputs, batch_size))
    tell(f"{counted(count, 'output')} for {counted(len(inputs), 'input')} → {output}")


def _mapping(given: str) -> dict[str, Any]:
    try:
        found = load_json(given)
    except JsonError as error:
        raise ConfigError(f"not JSON: {error.what}", where="--model-kwargs") from None
    if not isinstance(found, dict):
        raise ConfigError(
            "must be a JSON object", where="--model-kwargs", hint="""--model-kwargs '{"model": "large"}'"""
        )
    return found
