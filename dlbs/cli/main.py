"""The program `dlbs`: its verbs, and shell completion."""

from __future__ import annotations

import atexit
import contextlib
import gc
import os
import sys

import click

from benchmark_core.crash import report_crash, undo_inherited
from benchmark_core.exits import INTERRUPTED, OK, UNAVAILABLE, UNFORESEEN, WRONG_INPUT
from dlbs.cli.options import CONTEXT, Group, usage_hint, verb
from dlbs.cli.streams import OutputError, ReaderGoneError, guard_streams, wrapped
from dlbs.core.errors import DlbsError, InfrastructureError
from dlbs.core.version import __version__
from dlbs.executors.signals import end_on_signals

_VERBS = {
    "run": ("dlbs.cli.run:run_command", "Run experiments and write one log file for each."),
    "status": ("dlbs.cli.status:status_command", "Show the progress of a plan, from its logs."),
    "rerun": ("dlbs.cli.reproduce:rerun_command", "Repeat one experiment from its log, also exactly."),
    "build": ("dlbs.cli.plan:build_command", "Write the experiments that a plan expands to."),
    "validate": ("dlbs.cli.plan:validate_command", "Find problems without running anything."),
    "print-config": (
        "dlbs.cli.plan:print_config_command",
        "Show the merged configuration and where each value was set.",
    ),
    "explain": ("dlbs.cli.plan:explain_command", "Show how a parameter got its value."),
    "help": ("dlbs.cli.plan:help_command", "Describe parameters, result keys, frameworks and models."),
    "migrate": ("dlbs.cli.plan:migrate_command", "Rewrite configurations and plans of the original DLBS."),
    "pack": ("dlbs.cli.packs:pack_command", "Add benchmarks as packs."),
    "images": ("dlbs.cli.machine:images_command", "List, build and pull docker images."),
    "check-machine": (
        "dlbs.cli.machine:check_machine_command",
        "Check whether this machine is suitable for measurements.",
    ),
    "sysinfo": ("dlbs.cli.machine:sysinfo_command", "Show the hardware and software of this machine."),
    "parse": ("dlbs.cli.results:parse_command", "Convert log files to a table of results."),
    "report": ("dlbs.cli.results:report_command", "Print tables of results, or write a page of them."),
    "compare": ("dlbs.cli.compare:compare_command", "Report what is faster or slower than before."),
    "diff": (
        "dlbs.cli.reproduce:diff_command",
        "Show the differences between two runs: parameters, code, packages, results.",
    ),
    "bundle": ("dlbs.cli.reproduce:bundle_command", "Pack logs with all that is needed to run the same elsewhere."),
    "bisect": ("dlbs.cli.compare:bisect_command", "Find the change that caused a slowdown."),
    "plot": ("dlbs.cli.results:plot_command", "Plot results."),
    "export": (
        "dlbs.cli.results:export_command",
        "Write results for other tools: Parquet, JUnit, Prometheus, MLflow, ...",
    ),
    "serve": ("dlbs.cli.results:serve_command", "Show results in a browser while a plan runs."),
    "db": ("dlbs.cli.store:db_command", "Store results in a database, and query it."),
    "completion": ("dlbs.cli.main:completion_command", "Print the shell completion script."),
}


_START = """\
DLBS runs grids of deep-learning benchmarks and compares their results.

Time any command, or a model on the CPUs of this machine ('dlbs[torch]'):
  dlbs run -- sleep 0.{n} -Vn=1,2
  dlbs run -Pexp.model=alexnet -Pexp.gpus='' -Pexp.docker=false
Print a table of the results, or report what is faster or slower:
  dlbs report logs
  dlbs compare before after

dlbs --help lists all verbs. dlbs VERB --help shows examples.
dlbs help NAME describes a parameter, a result key, a model or a framework.
dlbs check-machine checks whether this machine is fit to measure.
"""


@click.group(cls=Group, verbs=_VERBS, context_settings=CONTEXT, invoke_without_command=True, no_args_is_help=False)
@click.version_option(__version__, prog_name="dlbs")
@click.pass_context
def cli(context: click.Context) -> None:
    """Run grids of deep-learning benchmarks and convert their logs to tables of results.

    \b
    dlbs run -Pexp.model=alexnet -Pexp.gpus='' -Pexp.docker=false
    dlbs run -Vexp.model=alexnet,resnet18 -Vexp.replica_batch=1,2,4
    dlbs parse logs --output-file results.json
    dlbs report results.json
    """
    if context.invoked_subcommand is None:
        click.echo(_START, nl=False)


@verb("completion")
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def completion_command(shell: str) -> None:
    """Print the shell completion script.

    \b
    Examples:
      eval "$(dlbs completion bash)"
      dlbs completion fish > ~/.config/fish/completions/dlbs.fish
    """
    from click.shell_completion import get_completion_class

    from dlbs.cli.completion import register

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
        from dlbs.cli.completion import register

        register()
        cli.main(prog_name="dlbs")
    command = cli.get_command(click.Context(cli), verb) if verb else cli
    assert command is not None  # the verb exists
    run(command, name)


def run(command: click.Command, name: str) -> None:
    """Run a command as a program: errors show no traceback, except with `--debug`.

    DLBS errors are one line, with exit code 2. Other errors are one line too, with a different exit code.
    """
    settings: dict[str, bool] = {}
    undo_inherited()
    guard_streams()
    end_on_signals()
    try:
        code = command.main(prog_name=name, standalone_mode=False, obj=settings)
        sys.stdout.flush()
    except DlbsError as error:
        if settings.get("debug"):
            raise
        print(wrapped(f"error: {error}"), file=sys.stderr)
        code = UNAVAILABLE if isinstance(error, InfrastructureError) else WRONG_INPUT
    except click.exceptions.Abort:
        print("error: interrupted", file=sys.stderr)
        code = INTERRUPTED
    except click.ClickException as error:
        if isinstance(error, click.UsageError) and type(error).show is click.UsageError.show:
            what, hint = error.format_message(), usage_hint(error)
            if hint:
                # click's suggestion is dropped if we have a better hint.
                what = f"No such option {error.option_name!r}" if isinstance(error, click.NoSuchOption) else what
                what = f"{what.rstrip('.')} ({hint})"
            error = click.UsageError(wrapped(f"Error: {what}").removeprefix("Error: "), error.ctx)
        error.show()
        code = error.exit_code
    except ReaderGoneError:
        code = OK
    except MemoryError:
        print("error: there is not enough memory (free some, or raise the limit: `ulimit -v`)", file=sys.stderr)
        code = WRONG_INPUT
    except Exception as error:
        if settings.get("debug"):
            raise
        if isinstance(error, FileNotFoundError) and not _has_directory():
            print("error: the current directory does not exist any more (change to another one)", file=sys.stderr)
            code = WRONG_INPUT
        else:
            report_crash(error)
            code = UNFORESEEN
    finally:
        with contextlib.suppress(OutputError, ReaderGoneError):  # only the first error is reported
            sys.stdout.flush()
    sys.exit(code if isinstance(code, int) else OK)


def _has_directory() -> bool:
    try:
        return bool(os.getcwd())
    except OSError:
        return False
