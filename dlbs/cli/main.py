"""The program `dlbs`: its verbs, and shell completion."""

from __future__ import annotations

import atexit
import gc
import os

import click

from dlbs.cli.options import CONTEXT, LazyGroup, common_options, run
from dlbs.version import __version__

__all__ = ["cli", "main"]

_VERBS = {
    "run": ("dlbs.cli.run:run_command", "Run experiments and write one log file for each."),
    "status": ("dlbs.cli.status:status_command", "Show the progress of a plan, from its logs."),
    "rerun": ("dlbs.cli.status:rerun_command", "Repeat one experiment from its log."),
    "build": ("dlbs.cli.plan:build_command", "Write the plan that a configuration expands to."),
    "validate": ("dlbs.cli.plan:validate_command", "Find problems without running anything."),
    "print-config": (
        "dlbs.cli.plan:print_config_command",
        "Show the merged configuration and where each value was set.",
    ),
    "explain": ("dlbs.cli.plan:explain_command", "Show how a parameter got its value."),
    "help": ("dlbs.cli.plan:help_command", "Describe parameters, result keys, frameworks and models."),
    "migrate": ("dlbs.cli.migrate:migrate_command", "Rewrite configurations and plans of the original DLBS."),
    "pack": ("dlbs.cli.pack:pack_command", "Add benchmarks as packs."),
    "images": ("dlbs.cli.images:images_command", "List, build and pull docker images."),
    "check-machine": (
        "dlbs.cli.check_machine:check_machine_command",
        "Check whether this machine is suitable for measurements.",
    ),
    "sysinfo": ("dlbs.cli.sysinfo:sysinfo_command", "Show the hardware and software of this machine."),
    "parse": ("dlbs.cli.parse:parse_command", "Convert log files to a table of results."),
    "report": ("dlbs.cli.report:report_command", "Print tables of results, or write a page of them."),
    "compare": ("dlbs.cli.compare:compare_command", "Report what is faster or slower than before."),
    "bisect": ("dlbs.cli.bisect:bisect_command", "Find the change that caused a slowdown."),
    "plot": ("dlbs.cli.plot:plot_command", "Plot results."),
    "export": (
        "dlbs.cli.export:export_command",
        "Write results for other tools: Parquet, JUnit, Prometheus, MLflow, ...",
    ),
    "serve": ("dlbs.cli.serve:serve_command", "Show results in a browser while a plan runs."),
    "db": ("dlbs.cli.db:db_command", "Store results in a database, and query it."),
    "completion": ("dlbs.cli.main:completion_command", "Print the shell completion script."),
}


_START = """\
DLBS runs grids of deep-learning benchmarks and compares their results.

Time any command, or a model on the CPUs of this machine ('dlbs[torch]'):
  dlbs run -- sleep 0.{n} -Vn=[1,2]
  dlbs run -Pexp.model=alexnet -Pexp.gpus='' -Pexp.docker=false
Print a table of the results, or report what is faster or slower:
  dlbs report logs
  dlbs compare before after

dlbs --help lists all verbs. dlbs VERB --help shows examples.
dlbs help NAME describes a parameter, a result key, a model or a framework.
dlbs check-machine checks whether this machine is fit to measure.
"""


@click.group(cls=LazyGroup, verbs=_VERBS, context_settings=CONTEXT, invoke_without_command=True, no_args_is_help=False)
@click.version_option(__version__, prog_name="dlbs")
@click.pass_context
def cli(context: click.Context) -> None:
    """Run grids of deep-learning benchmarks and convert their logs to tables of results.

    \b
    dlbs run -Pexp.model=alexnet -Pexp.gpus='' -Pexp.docker=false
    dlbs run -Vexp.model=[alexnet,resnet18] -Vexp.replica_batch=[1,2,4]
    dlbs parse logs --output_file results.json
    dlbs report results.json
    """
    if context.invoked_subcommand is None:
        click.echo(_START, nl=False)


@click.command("completion", context_settings=CONTEXT)
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@common_options
def completion_command(shell: str) -> None:
    """Print the shell completion script.

    \b
    Examples:
      eval "$(dlbs completion bash)"
      dlbs completion fish > ~/.config/fish/completions/dlbs.fish
    """
    from click.shell_completion import get_completion_class

    from dlbs.cli.completion_scripts import register

    register()
    found = get_completion_class(shell)
    assert found is not None  # click knows the three choices
    click.echo(found(cli, {}, "dlbs", "_DLBS_COMPLETE").source())


def main(verb: str = "", name: str = "dlbs") -> None:
    """Run the console command `dlbs`, or one verb as a separate program."""
    # Nearly all objects of the start live until the end. By default Python searches them for cycles 60 times meanwhile, and
    # twice at the end: together a fifth of the CPU time of a run that has nothing to do.
    gc.set_threshold(50_000)
    atexit.register(gc.freeze)
    if "_DLBS_COMPLETE" in os.environ:
        from dlbs.cli.completion_scripts import register

        register()
        cli.main(prog_name="dlbs")
    command = cli.get_command(click.Context(cli), verb) if verb else cli
    assert command is not None  # the verb exists
    run(command, name)
