"""Parts of all verbs: options that several have, `_` or `-` in names, hints for mistakes, JSON, imports when a verb is used.

Only click and the standard library are imported here: `dlbs --help` must be fast.
"""

from __future__ import annotations

import functools
import importlib
import json
import os
import re
import shlex
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import click
from click.core import ParameterSource

from dlbs.core.errors import ConfigError, LogError, before_logging, did_you_mean, suggestion
from dlbs.core.files import dump_json
from dlbs.executors.base import EXECUTORS

Function = Callable[..., Any]

_COMMAND = "dlbs.command"  # key of the words after -- in a context
_WORDS = "dlbs.words"  # key of the verb's own words
_PLAN = r"[^-].*\.(ya?ml|jsonl?)(\.gz)?"
# Verbs of other tools and likely guesses → ours.
_VERBS_MEANT = {
    **dict.fromkeys(("start", "benchmark", "bench", "launch", "execute", "exec", "resume", "measure", "train"), "run"),
    **dict.fromkeys(("submit", "sbatch", "slurm", "queue"), "run --executor slurm"),
    **dict.fromkeys(("profile", "trace"), "run -Ppytorch.profile=trace.json"),
    **dict.fromkeys(("retry", "repeat", "again"), "rerun"),
    **dict.fromkeys(("show", "table", "results", "summary", "print", "stats"), "report"),
    "best": "report --best",
    **dict.fromkeys(("html", "page"), "report --html FILE"),
    **dict.fromkeys(("gate", "regress", "regression", "regressions", "ci"), "compare --fail-on-regression"),
    **dict.fromkeys(("history", "trend", "trends"), "db query --history"),
    **dict.fromkeys(("upload", "store", "save", "add"), "db add"),
    **dict.fromkeys(("graph", "chart", "draw"), "plot"),
    **dict.fromkeys(("check", "lint", "test"), "validate"),
    **dict.fromkeys(("info", "env", "version"), "sysinfo"),
    **dict.fromkeys(("config", "settings"), "print-config"),
    **dict.fromkeys(("progress", "list", "ls", "ps", "log", "logs", "tail", "top"), "status"),
    **dict.fromkeys(("doctor", "diagnose"), "check-machine"),
    **dict.fromkeys(("web", "dashboard", "ui", "server", "watch", "open"), "serve"),
    **dict.fromkeys(("init", "new", "create", "template"), "pack new"),
    **dict.fromkeys(("docker", "container", "containers", "image"), "images"),
    **dict.fromkeys(("archive", "zip", "tar"), "bundle"),
}


def _with_dashes(name: str) -> str:
    """Normalise options: `--log_level` is accepted for `--log-level`."""
    return name.replace("_", "-")


CONTEXT: dict[str, Any] = {
    "help_option_names": ["-h", "--help"],
    "token_normalize_func": _with_dashes,
    "max_content_width": 110,
}


class Verb(click.Command):
    """A verb, which knows the words that were typed and the options that belong together.

    Args:
        takes_command: The words after `--` are a command to benchmark.
        requires: Option → the one without which it is an error, or several, one of which it needs.
        alone: Option of another mode → the options that have an effect beside it; any other is an error.
    """

    def __init__(
        self,
        *args: Any,
        takes_command: bool = False,
        requires: Mapping[str, str | tuple[str, ...]] | None = None,
        alone: Mapping[str, Sequence[str]] | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(*args, **kwargs)
        self.takes_command = takes_command
        self._requires, self._alone = requires or {}, alone or {}
        self.params += [_LOG_LEVEL, _DEBUG]

    def make_parser(self, context: click.Context) -> Any:
        """Click's parser, which looks for similar long options before it takes `-Pname=value` for a short one: that takes 5 ms."""
        parser: Any = super().make_parser(context)
        match = parser._match_long_opt

        def match_long(option: str, value: str | None, state: Any) -> None:
            if not option.startswith("--"):
                raise click.NoSuchOption(option, ctx=context)
            match(option, value, state)

        parser._match_long_opt = match_long
        return parser

    def parse_args(self, context: click.Context, args: list[str]) -> list[str]:
        own, command = (args[: args.index("--")], args[args.index("--") + 1 :]) if "--" in args else (args, None)
        context.meta[_WORDS] = list(own)
        if self.takes_command:
            context.meta[_COMMAND] = command
            args = own
        rest = super().parse_args(context, args)
        if not context.resilient_parsing:  # of shell completion
            self._check(context)
        return rest

    def _check(self, context: click.Context) -> None:
        options = {str(one.name): one for one in self.params if one.expose_value}
        given = {
            name: "PATH" if isinstance(one, click.Argument) else one.opts[0]
            for name, one in options.items()
            if context.get_parameter_source(name) is ParameterSource.COMMANDLINE
            and not any(context.params[name] is nothing for nothing in (None, False, ()))
        }
        for name, others in self._requires.items():
            needed = (others,) if isinstance(others, str) else others
            if name in given and given.keys().isdisjoint(needed):
                words = [
                    one.opts[0] if getattr(one, "is_flag", False) else f"{one.opts[0]} {one.metavar}"
                    for one in map(options.__getitem__, needed)
                ]
                raise click.UsageError(f"{given[name]} requires {' or '.join(words)}", context)
        mode = next((name for name in self._alone if name in given), None)
        without = [given[name] for name in given if mode is not None and name not in (mode, *self._alone[mode])]
        if mode is not None and without:
            what = f"{' and '.join(without)} would have no effect"
            raise click.UsageError(f"{given[mode]}: {what} (remove one or the other)", context)

    def collect_usage_pieces(self, context: click.Context) -> list[str]:
        return super().collect_usage_pieces(context) + ["[-- COMMAND ARG...]"] * self.takes_command


class Group(click.Group):
    """A group of verbs.

    Args:
        verbs: Verb → (`module:attribute`, one line of help) of those in other modules, which are imported when they are used.
    """

    def __init__(self, *args: Any, verbs: Mapping[str, tuple[str, str]] | None = None, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.subcommand_metavar = "VERB [ARGS]..."
        self._elsewhere = verbs or {}

    def lines(self) -> dict[str, str]:
        """Verb → one line of help."""
        lines = {name: line for name, (_, line) in self._elsewhere.items()}
        return lines | {name: one.get_short_help_str(100) for name, one in self.commands.items()}

    def list_commands(self, context: click.Context) -> list[str]:
        return list(self.lines())

    def get_command(self, context: click.Context, name: str) -> click.Command | None:
        if name not in self._elsewhere:
            return super().get_command(context, name)
        module, attribute = self._elsewhere[name][0].split(":")
        command = getattr(importlib.import_module(module), attribute)
        assert isinstance(command, click.Command)
        return command

    def format_commands(self, context: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Verbs"):
            formatter.write_dl(list(self.lines().items()))

    def parse_args(self, context: click.Context, args: list[str]) -> list[str]:
        context.meta[_WORDS] = list(args)
        return super().parse_args(context, args)

    def resolve_command(self, context: click.Context, args: list[str]) -> Any:
        try:
            return super().resolve_command(context, args)
        except click.UsageError:
            meant = _VERBS_MEANT.get(args[0].lower(), "")
            if re.fullmatch(_PLAN, args[0]):
                meant = f"run --plan {args[0]}"
            hint = suggestion(args[0], self.lines(), "verbs are", cutoff=0.6)
            if meant.split(" ")[0] in self.lines():
                hint = f"did you mean '{context.command_path} {meant}'?"
            raise click.UsageError(f"No such verb {args[0]!r} ({hint})", context) from None


def verb(name: str, *, group: click.Group | None = None, **settings: Any) -> Callable[[Function], click.Command]:
    """Make a function a verb; of a group, or of the program, which lists its verbs itself.

    Args:
        name: Of the verb.
        group: The group that it belongs to.
        settings: Of `Verb` and of click's commands, such as `short_help`.
    """
    settings = {"cls": Verb, "context_settings": CONTEXT, **settings}
    return group.command(name, **settings) if group is not None else click.command(name, **settings)


def usage_hint(error: click.UsageError) -> str:
    """The probable intention: an option or value of the original DLBS, or a parameter in the syntax of other tools (`--model alexnet`)."""
    hint = _former_hint(error)
    if error.ctx is None or hint:
        return hint
    words = error.ctx.meta.get(_WORDS, [])
    if isinstance(error.ctx.command, Group) and isinstance(error, click.NoSuchOption):
        verb = next((word for word in words if word in error.ctx.command.lines()), "run")
        others = [word for word in words if word != verb]
        return f"options follow the verb: {error.ctx.command_path} {shlex.join([verb, *others])}"
    if not any(option.name == "parameters" for option in error.ctx.command.params):
        return ""
    if isinstance(error, click.NoSuchOption):
        letter = error.option_name.lstrip("-").upper()
        return f"did you mean -{letter}?" if letter in {"P", "V", "E"} else _option_hint(error)
    bare = [word for word in words if re.fullmatch(r"[\w.-]+=.*", word) and not word.startswith("-")]
    if bare:
        name, _, value = bare[0].partition("=")
        if name == "exp.repeat":  # the plan builder sets it
            return f"write -Pexp.repeats={value}"
        return f"write -P{bare[0]}, or -V{name}=A,B for several values"
    return _stray_word_hint(error.ctx, words) if "unexpected extra argument" in error.format_message() else ""


def _former_hint(error: click.UsageError) -> str:
    """The replacement of an option or value that only the original's verb had; empty for others."""
    from dlbs.config.names import option_hint, table

    name = (error.ctx.command.name if error.ctx is not None else "") or ""
    if isinstance(error, click.NoSuchOption):
        return option_hint(name, error.option_name.replace("_", "-"))
    if not isinstance(error, click.BadParameter) or error.param is None:
        return ""
    option = error.param.opts[0]
    values = [one.partition(" ")[2] for one in table().options.get(name, {}) if one.startswith(f"{option} ")]
    return next((option_hint(name, option, one) for one in values if error.message.startswith(repr(one))), "")


def _option_hint(error: click.NoSuchOption) -> str:
    from dlbs.config.load import load_config
    from dlbs.config.names import our_word

    word = error.option_name.lstrip("-")
    if did_you_mean(word, [one.lstrip("-") for one in error.possibilities or ()], cutoff=0.8):
        return ""  # --job means --jobs, although there is a parameter exp.job
    hint = our_word(word, load_config().declarations)
    return f"{hint} Parameters are set with -PNAME=VALUE" if hint else ""


def _stray_word_hint(context: click.Context, words: list[str]) -> str:
    """The probable intention behind a word that belongs to no option."""
    if any(word.count("[") > word.count("]") for word in words):
        return "quote a list with spaces: '-VNAME=[A, B]'"
    if word := next((word for word in words if word[0:1] in "–—" and word), ""):
        return f"write -{word.lstrip('–—')} with an ASCII hyphen"
    spaced = re.search(r"(?:^|\n)(-[PV])\n?([\w.-]+)\n?=?\n([^-\n].*)", "\n".join(words))
    if spaced:
        return f"write {spaced[1]}{spaced[2]}={spaced[3]} without spaces"
    several = re.search(r"(?:^|\n)-V\n?([\w.-]+)=([^\n]+)\n([^-\n].*)", "\n".join(words))
    if several:
        return f"separate values by commas: -V{several[1]}={several[2].rstrip(',')},{several[3]}"
    file = next((word for word in words if re.fullmatch(_PLAN, word)), "")
    if file and context.info_name == "build" and not os.path.exists(file):
        return f"the plan is written to a file with -o {file}"
    if file:
        return f"a plan is given with --plan {file}"
    if isinstance(context.command, Verb) and context.command.takes_command:
        return f"to benchmark a command, write {context.command_path} -- COMMAND ARG..."
    return ""


def completed(what: str) -> Callable[[click.Context, click.Parameter, str], list[Any]]:
    """A function for `shell_complete`, which imports what it needs when the shell asks; `what` is as for `completions`."""

    def complete(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[Any]:
        from dlbs.cli.completion import completions

        return completions(what, incomplete)

    return complete


def _set_log_level(context: click.Context, parameter: click.Parameter, value: str) -> None:
    if value == "debug":  # other packages and modules log, too
        _log_from(value)
    else:
        before_logging(lambda: _log_from(value))


def _log_from(level: str) -> None:
    import logging

    logging.basicConfig(format="%(levelname)s: %(message)s", stream=sys.stderr)
    logging.addLevelName(logging.WARNING, "warning")
    logging.addLevelName(logging.INFO, "info")
    logging.getLogger("dlbs").setLevel(level.upper())


def _set_debug(context: click.Context, parameter: click.Parameter, value: bool) -> None:
    context.ensure_object(dict)["debug"] = value


_LOG_LEVEL = click.Option(
    ["--log-level"],
    type=click.Choice(["debug", "info", "warning", "error", "critical"], case_sensitive=False),
    default="info",
    show_default=True,
    expose_value=False,
    callback=_set_log_level,
    is_eager=True,
    help="Show messages of this level and above.",
)
_DEBUG = click.Option(
    ["--debug"], is_flag=True, expose_value=False, callback=_set_debug, help="Print a traceback if an error occurs."
)


def _split_names(context: click.Context, parameter: click.Parameter, value: str | None) -> list[str]:
    names = [name.strip() for name in (value or "").split(",") if name.strip()]
    if value is not None and not names:
        raise click.BadParameter("no name is given", context, parameter)
    return names


def names_option(flag: str, help_text: str, complete: str | None = None) -> Callable[[Function], Function]:
    """Add an option for names separated by commas; the function gets a list."""
    shell_complete = completed(complete) if complete else None
    return click.option(flag, metavar="NAME,...", callback=_split_names, help=help_text, shell_complete=shell_complete)


def executor_option(help_text: str, default: str | None = "local") -> Callable[[Function], Function]:
    """Add `--executor`; the function gets the name."""

    def complete(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[str]:
        return [name for name in EXECUTORS if name.startswith(incomplete)]

    return click.option(
        "--executor",
        metavar=f"{'|'.join(EXECUTORS)}|MODULE:CLASS",
        shell_complete=complete,
        default=default,
        show_default=True,
        help=help_text,
    )


def nodes_option(function: Function) -> Function:
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


class _PlanOption(click.Option):
    """`--plan`, which is also accepted as `--config`."""

    def add_to_parser(self, parser: Any, ctx: click.Context) -> None:
        super().add_to_parser(parser, ctx)
        parser.add_option(self, ["--config"], self.name, action="append")


def plan_options(function: Function) -> Function:
    """Add the options of a plan.

    The function gets the configuration as its first argument, and as `plan` the file of `--plan` that holds experiments instead of a grid.
    """

    @click.option(
        "--plan",
        "files",
        cls=_PlanOption,
        metavar="FILE",
        multiple=True,
        shell_complete=completed("file"),
        help="Plan: a grid (YAML or JSON), or experiments (a JSON list, or .jsonl). Repeatable; later grids take precedence.",
    )
    @click.option(
        "-P",
        "parameters",
        metavar="NAME=VALUE",
        multiple=True,
        shell_complete=completed("parameter"),
        help="Set a parameter; VALUE is JSON if it parses as JSON, otherwise a string.",
    )
    @click.option(
        "-V",
        "variables",
        metavar="NAME=A,B,...",
        multiple=True,
        shell_complete=completed("parameter"),
        help="Vary a parameter: -Vexp.model=alexnet,resnet18. A JSON list is accepted too, in quotes.",
    )
    @click.option(
        "-E", "extensions", metavar="JSON", multiple=True, help="Add an extension: a JSON object with a condition."
    )
    @click.option("--discard-default-config", is_flag=True, help="Ignore the default configuration.")
    @names_option("--select", "Select packs with one of these names, tags or install groups; sets exp.pack.", "pack")
    @names_option("--exclude", "Exclude packs with one of these names, tags or install groups.", "pack")
    @functools.wraps(function)
    def wrapped(files: tuple[str, ...], discard_default_config: bool, **kwargs: Any) -> Any:
        from dlbs.packs.configure import configure

        plan = _experiments_in(files)
        given = {name: kwargs.pop(name) for name in ("parameters", "variables", "extensions", "select", "exclude")}
        if kwargs.get("nodes"):
            given["parameters"] += (f"exp.nodes={json.dumps(kwargs['nodes'])}",)
        config = configure(
            [file for file in files if file != plan],
            **given,
            discard_default=discard_default_config,
            plan=plan,
            command=click.get_current_context().meta.get(_COMMAND),
        )
        return function(config, plan=plan, **kwargs)

    return wrapped


def _experiments_in(files: Sequence[str]) -> str | None:
    """The file that holds experiments, if there is one.

    Raises:
        ConfigError: A name is empty, or several hold experiments.
    """
    if not files:
        return None
    from dlbs.plan.files import holds_experiments

    if "" in files:
        raise ConfigError("the name of the file is empty", where="--plan", hint="check the variable that holds it")
    found = list(filter(holds_experiments, files))
    if len(found) > 1:
        raise ConfigError(
            f"{' and '.join(found)} hold experiments", where="--plan", hint="give one list of experiments at a time"
        )
    return found[0] if found else None


class _RuleOption(click.Option):
    """An option whose default is that of `Rules`, which only `--help` imports."""

    def get_help_record(self, ctx: click.Context) -> tuple[str, str] | None:
        from dlbs.results.statistics.ratio import DEFAULT_RULES

        record = super().get_help_record(ctx)
        default = getattr(DEFAULT_RULES, str(self.name))
        return (
            (record[0], f"{record[1]}  [default: {default:.0%}]") if record and isinstance(default, float) else record
        )


def _share(context: click.Context, parameter: click.Parameter, value: str | None) -> float | None:
    """A share written as `3%` or `0.03`."""
    try:
        return None if value is None else float(value.removesuffix("%")) / (100 if value.endswith("%") else 1)
    except ValueError:
        raise LogError(f"{value!r} is not a share", where=parameter.opts[0], hint="write 3% or 0.03") from None


# Attribute of `Rules` → its option.
_RULES: dict[str, dict[str, Any]] = {
    "by": {"metavar": "NAME", "help": "Parameter whose values are compared, within one set of experiments."},
    "baseline": {"metavar": "VALUE", "help": "Value to compare the others with; by default the first one in the plan."},
    "metric": {
        "metavar": "KEY",
        "help": "Quantity to compare; by default results.throughput, or results.time if no experiment has that.",
    },
    "threshold": {"callback": _share, "help": "Ignore differences up to this."},
    "confidence": {"callback": _share, "help": "Confidence level of each interval."},
    "trust_single_runs": {"is_flag": True, "help": "Give verdicts on fewer than 3 runs per side."},
    "trust_doubtful": {"is_flag": True, "help": "Give verdicts on doubtful runs, those with warnings."},
    "match": {"metavar": "NAME,...", "callback": _split_names, "help": "Match experiments by these parameters only."},
    "ignore": {
        "metavar": "NAME,...",
        "callback": _split_names,
        "help": "Parameters that do not distinguish experiments.",
    },
}


def rules_options(*names: str, mode: str = "", **texts: str) -> Callable[[Function], Function]:
    """Add options of a comparison; the function gets the given ones as `rules`, arguments of `Rules`.

    Args:
        names: Attributes of `Rules`.
        mode: Begins the help of each, for a verb that compares only in this mode.
        texts: Attribute → its help, if it has another meaning here.
    """

    def decorate(function: Function) -> Function:
        @functools.wraps(function)
        def wrapped(*args: Any, **kwargs: Any) -> Any:
            given = {name: kwargs.pop(name) for name in names}
            return function(*args, rules={name: one for name, one in given.items() if one is not None}, **kwargs)

        for name in reversed(names):
            text = texts.get(name, _RULES[name]["help"])
            settings = {**_RULES[name], "help": f"{mode}: {text[0].lower()}{text[1:]}" if mode else text}
            wrapped = click.option(f"--{name.replace('_', '-')}", cls=_RuleOption, **settings)(wrapped)
        return wrapped

    return decorate


json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON.")


def print_json(document: Any) -> None:
    """Print a document on standard output. JSON escapes control characters, so that values from logs cannot control a terminal."""
    click.echo(dump_json(document))
