"""Common parts of all commands: options that may be written with `_` or `-`, logging, errors without tracebacks, lazy verbs.

Only click and the standard library are imported here: `dlbs --help` must be fast.
"""

from __future__ import annotations

import contextlib
import functools
import importlib
import json
import logging
import os
import re
import sys
from collections.abc import Callable
from typing import Any

import click

from dlbs.cli.complete import complete_file, complete_pack, complete_parameter
from dlbs.cli.ending import end_on_signals
from dlbs.cli.streams import OutputError, ReaderGoneError, guard_streams
from dlbs.errors import ConfigError, DlbsError, did_you_mean, suggestion
from dlbs.executors.registry import EXECUTORS
from dlbs.exit_codes import INTERRUPTED, OK, UNFORESEEN, WRONG_INPUT
from dlbs.text import printable
from dlbs.unforeseen import tell_unforeseen

__all__ = [
    "CONTEXT",
    "CommandVerb",
    "LazyGroup",
    "common_options",
    "config_options",
    "console",
    "executor_option",
    "names_option",
    "nodes_option",
    "plan_option",
    "run",
    "url_option",
]


_WIDE = 10_000  # columns


def _with_dashes(name: str) -> str:
    """Normalise options: `--log_level` and `--log-level` are the same."""
    return name.replace("_", "-")


CONTEXT: dict[str, Any] = {
    "help_option_names": ["-h", "--help"],
    "token_normalize_func": _with_dashes,
    "max_content_width": 110,
}


_COMMAND = "dlbs.command"  # key of the words after -- in a context


class LazyGroup(click.Group):
    """A group whose verbs are imported when they are used.

    Args:
        verbs: Verb → (`module:attribute`, one line of help), so that `--help` imports none of them.
    """

    def __init__(self, *args: Any, verbs: dict[str, tuple[str, str]], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.subcommand_metavar = "VERB [ARGS]..."
        self.verbs = verbs

    def list_commands(self, context: click.Context) -> list[str]:
        return list(self.verbs)

    def get_command(self, context: click.Context, name: str) -> click.Command | None:
        if name not in self.verbs:
            return None
        module, attribute = self.verbs[name][0].split(":")
        command = getattr(importlib.import_module(module), attribute)
        assert isinstance(command, click.Command)
        return command

    def format_commands(self, context: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Verbs"):
            formatter.write_dl([(name, line) for name, (_, line) in self.verbs.items()])

    def resolve_command(self, context: click.Context, args: list[str]) -> Any:
        try:
            return super().resolve_command(context, args)
        except click.UsageError:
            hint = suggestion(args[0], self.verbs, "verbs are", cutoff=0.5)
            raise click.UsageError(f"No such verb {args[0]!r} ({hint})", context) from None


class CommandVerb(click.Command):
    """A verb that takes a command to benchmark after `--`. All words there belong to the command."""

    def parse_args(self, context: click.Context, args: list[str]) -> list[str]:
        if "--" in args:
            at = args.index("--")
            context.meta[_COMMAND] = args[at + 1 :]
            args = args[:at]
        return super().parse_args(context, args)

    def collect_usage_pieces(self, context: click.Context) -> list[str]:
        return [*super().collect_usage_pieces(context), "[-- COMMAND ARG...]"]


def common_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add `--log-level` and `--debug`, which every verb has."""

    @click.option(
        "--log-level",
        type=click.Choice(["debug", "info", "warning", "error", "critical"], case_sensitive=False),
        default="info",
        show_default=True,
        expose_value=False,
        callback=_set_log_level,
        is_eager=True,
        help="Show messages of this level and above.",
    )
    @click.option(
        "--debug", is_flag=True, expose_value=False, callback=_set_debug, help="Print a traceback if an error occurs."
    )
    @functools.wraps(function)
    def wrapped(*args: Any, **kwargs: Any) -> Any:
        return function(*args, **kwargs)

    return wrapped


def _set_log_level(context: click.Context, parameter: click.Parameter, value: str) -> None:
    logging.basicConfig(format="%(levelname)s: %(message)s", stream=sys.stderr)
    logging.addLevelName(logging.WARNING, "warning")
    logging.addLevelName(logging.INFO, "info")
    logging.getLogger("dlbs").setLevel(value.upper())


def _set_debug(context: click.Context, parameter: click.Parameter, value: bool) -> None:
    context.find_root().meta["dlbs.debug"] = value


def _split_names(context: click.Context, parameter: click.Parameter, value: str | None) -> list[str]:
    return [name.strip() for name in (value or "").split(",") if name.strip()]


def names_option(
    flag: str, help_text: str, shell_complete: Callable[..., list[Any]] | None = None
) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Add an option for names separated by commas; the function gets a list."""
    return click.option(flag, metavar="NAME,...", callback=_split_names, help=help_text, shell_complete=shell_complete)


def _complete_executor(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[str]:
    return [name for name in EXECUTORS if name.startswith(incomplete)]


def executor_option(
    help_text: str, default: str | None = "local"
) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Add `--executor`; the function gets the name."""
    return click.option(
        "--executor",
        metavar=f"{'|'.join(EXECUTORS)}|MODULE:CLASS",
        shell_complete=_complete_executor,
        default=default,
        show_default=True,
        help=help_text,
    )


def nodes_option(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add `--nodes`, which sets exp.nodes and, unless another one is chosen, the executor ssh; the function gets the hosts."""

    @names_option("--nodes", "Run each experiment on all of these hosts, by ssh; NAMEs are ssh names.")
    @functools.wraps(function)
    def wrapped(*args: Any, nodes: list[str], executor: str, **kwargs: Any) -> Any:
        chosen = "ssh" if nodes and executor == "local" else executor
        if nodes and chosen in EXECUTORS and chosen != "ssh":
            raise ConfigError(
                f"cannot be used with --executor {chosen}, which selects nodes itself",
                where="--nodes",
                hint="set exp.num_nodes",
            )
        return function(*args, nodes=nodes, executor=chosen, **kwargs)

    return wrapped


def config_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options of a configuration; the function gets the configuration as its first argument."""

    @click.option(
        "-P",
        "parameters",
        metavar="NAME=VALUE",
        multiple=True,
        shell_complete=complete_parameter,
        help="Set a parameter; VALUE is JSON if it parses as JSON, otherwise a string.",
    )
    @click.option(
        "-V",
        "variables",
        metavar="NAME=[...]",
        multiple=True,
        shell_complete=complete_parameter,
        help="Vary a parameter over a list: -Vexp.model=[alexnet,resnet18].",
    )
    @click.option(
        "-E", "extensions", metavar="JSON", multiple=True, help="Add an extension: a JSON object with a condition."
    )
    @click.option(
        "--config",
        "files",
        metavar="FILE",
        multiple=True,
        shell_complete=complete_file,
        help="Configuration file (YAML or JSON). Repeatable.",
    )
    @click.option("--discard-default-config", is_flag=True, help="Ignore the default configuration.")
    @names_option(
        "--select", "Select packs with one of these names, tags or install groups; sets exp.pack.", complete_pack
    )
    @names_option("--exclude", "Exclude packs with one of these names, tags or install groups.", complete_pack)
    @functools.wraps(function)
    def wrapped(
        parameters: tuple[str, ...],
        variables: tuple[str, ...],
        extensions: tuple[str, ...],
        files: tuple[str, ...],
        discard_default_config: bool,
        select: list[str],
        exclude: list[str],
        **kwargs: Any,
    ) -> Any:
        from dlbs.packs.configure import configure

        if kwargs.get("nodes"):
            parameters = (*parameters, f"exp.nodes={json.dumps(kwargs['nodes'])}")
        config = configure(
            files,
            parameters=parameters,
            variables=variables,
            extensions=extensions,
            discard_default=discard_default_config,
            select=select,
            exclude=exclude,
            plan=kwargs.get("plan"),
            command=click.get_current_context().meta.get(_COMMAND),
        )
        return function(config, **kwargs)

    return wrapped


url_option = click.option(
    "--db",
    metavar="URL",
    envvar="DLBS_DB",
    default="results.db",
    show_default=True,
    help="SQLite file or SQLAlchemy URL; also set by DLBS_DB.",
)


def plan_option(help_text: str) -> Callable[..., Any]:
    """Add `--plan FILE`, a plan to read; `config_options` uses it too."""
    return click.option("--plan", metavar="FILE", shell_complete=complete_file, help=help_text)


def console() -> Any:
    """A rich console on standard output, with the width of the terminal or of COLUMNS; in a pipe, as wide as tables need."""
    from rich.console import Console

    is_terminal = sys.stdout.isatty()
    columns = os.environ.get("COLUMNS", "")
    given = int(columns) if columns.isdecimal() and int(columns) > 0 else None
    width = given if is_terminal or given else _WIDE
    return Console(width=width, highlight=False, markup=False, emoji=False, soft_wrap=not is_terminal)


def run(command: click.Command, name: str) -> None:
    """Run a command as a program: errors show no traceback, except with `--debug`.

    DLBS errors are one line, with exit code 2. Other errors are one line too, with a different exit code.
    """
    debug = "--debug" in sys.argv
    guard_streams()
    end_on_signals()
    try:
        code = command.main(prog_name=name, standalone_mode=False)
        sys.stdout.flush()
    except DlbsError as error:
        if debug:
            raise
        print(f"error: {printable(str(error))}", file=sys.stderr)
        code = WRONG_INPUT
    except click.exceptions.Abort:
        print("error: interrupted", file=sys.stderr)
        code = INTERRUPTED
    except click.ClickException as error:
        from dlbs.cli.former_options import former_option_hint

        hint = former_option_hint(error) or _parameter_hint(error)
        if isinstance(error, click.UsageError) and hint:
            # click's suggestion is dropped if we have a better hint.
            what = (
                f"No such option {error.option_name!r}"
                if isinstance(error, click.NoSuchOption)
                else error.format_message()
            )
            error = click.UsageError(f"{what.rstrip('.')} ({hint})", error.ctx)
        error.show()
        code = error.exit_code
    except ReaderGoneError:
        code = OK
    except Exception as error:
        if debug:
            raise
        tell_unforeseen(error)
        code = UNFORESEEN
    finally:
        with contextlib.suppress(OutputError, ReaderGoneError):  # only the first error is reported
            sys.stdout.flush()
    sys.exit(code if isinstance(code, int) else OK)


def _parameter_hint(error: click.ClickException) -> str:
    """A hint for parameters in the syntax of other tools: `--model alexnet`, or `exp.model=alexnet`."""
    if not isinstance(error, click.UsageError) or error.ctx is None:
        return ""
    if not any(option.name == "parameters" for option in error.ctx.command.params):
        return ""
    if isinstance(error, click.NoSuchOption):
        from dlbs.config.load import load_config
        from dlbs.config.names import our_word

        word = error.option_name.lstrip("-")
        if did_you_mean(word, [one.lstrip("-") for one in error.possibilities or ()], cutoff=0.8):
            return ""  # --job means --jobs, although there is a parameter exp.job
        hint = our_word(word, load_config().declarations)
        return f"{hint} Parameters are set with -PNAME=VALUE" if hint else ""
    words = sys.argv[1 : sys.argv.index("--")] if "--" in sys.argv else sys.argv[1:]
    bare = [word for word in words if re.fullmatch(r"[\w.-]+=.*", word) and not word.startswith("-")]
    if bare:
        name, _, value = bare[0].partition("=")
        if name == "exp.repeat":  # the plan builder sets it
            return f"write -Pexp.repeats={value}"
        return f"write -P{bare[0]}, or -V{name}=[...] for several values"
    if "unexpected extra argument" in error.format_message():
        return _stray_word_hint(error.ctx, words)
    return ""


def _stray_word_hint(context: click.Context, words: list[str]) -> str:
    """The probable intention behind a word that belongs to no option."""
    if "=" in words:
        return "write -PNAME=VALUE without spaces"
    if any(word.count("[") > word.count("]") for word in words):
        return "quote a list with spaces: '-VNAME=[A, B]'"
    file = next((word for word in words if not word.startswith("-") and re.search(r"\.(ya?ml|json)$", word)), "")
    if file and any("--config" in option.opts for option in context.command.params):
        return f"a configuration is given with --config {file}"
    if isinstance(context.command, CommandVerb):
        return f"to benchmark a command, write {context.command_path} -- COMMAND ARG..."
    return ""
