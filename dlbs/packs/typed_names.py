"""Find the parameters that launchers read, without rendering their templates, and unused names of the command line."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dlbs.config.config import Config, values_of
from dlbs.config.names import name_hint
from dlbs.core.errors import ConfigError, DlbsError, Problems
from dlbs.core.experiment import Experiment
from dlbs.core.files import dlbs_root
from dlbs.core.text import text
from dlbs.language.template import reached
from dlbs.launch.script import launcher_path
from dlbs.plan.files import read_plan
from dlbs.plan.pipeline import processor_for

# Parameters of a framework F that are read outside its template.
_OF_FRAMEWORKS = ("launcher", "env", "variables", "docker_image")


@dataclass(slots=True)
class Reads:
    """The parameters that a launcher reads.

    Attributes:
        names: Names as in the template, such as `exp.model`; a namespace (`my`) includes all its names.
        prefixes: Prefixes of computed names, `parameters["voir." ~ name]`.
        everything: Whether the launcher may read any parameter.
    """

    names: set[str] = field(default_factory=set)
    prefixes: set[str] = field(default_factory=set)
    everything: bool = False

    def has(self, name: str) -> bool:
        """Whether the launcher reads a parameter."""
        return (
            self.everything
            or name.startswith(tuple(self.prefixes))
            or any(name == one or name.startswith(f"{one}.") or one.startswith(f"{name}.") for one in self.names)
        )


def template_reads(path: Path) -> Reads:
    """The parameters that a launcher and the templates that it extends or includes read; a program reads everything.

    A launcher that cannot be read or parsed counts as reading everything: the validator reports the problem.
    """
    import jinja2

    found = Reads()
    waiting, seen = [path], set()
    while waiting and not found.everything:
        one = waiting.pop()
        if one in seen:
            continue
        seen.add(one)
        try:
            if not os.path.isfile(one) or os.access(one, os.X_OK):
                return Reads(everything=True)
            tree = jinja2.Environment().parse(one.read_text(encoding="utf-8"))
        except (OSError, UnicodeDecodeError, jinja2.TemplateSyntaxError):
            return Reads(everything=True)
        for name in _visit(tree, found):
            beside = path.parent / name
            waiting.append(beside if beside.is_file() else dlbs_root() / "scripts" / "launchers" / name)
    return found


def _visit(node: Any, found: Reads) -> Iterator[str]:
    """Record the names that a syntax tree reads, and yield the names of other templates that it uses."""
    from jinja2 import nodes

    if isinstance(node, (nodes.Extends, nodes.Include, nodes.Import, nodes.FromImport)):
        if isinstance(node.template, nodes.Const):
            yield str(node.template.value)
        else:
            found.everything = True
    if isinstance(node, nodes.Getitem) and isinstance(node.node, nodes.Name) and node.node.name == "parameters":
        first = node.arg.nodes[0] if isinstance(node.arg, nodes.Concat) else None
        if isinstance(node.arg, nodes.Const):
            found.names.add(str(node.arg.value))
        elif isinstance(first, nodes.Const):
            found.prefixes.add(str(first.value))
        else:
            found.everything = True
        yield from _visit(node.arg, found)
        return
    dotted = _dotted(node)
    if dotted:
        found.names.add(dotted)
        found.everything |= dotted.partition(".")[0] == "parameters"
        return
    for child in node.iter_child_nodes():
        yield from _visit(child, found)


def _dotted(node: Any) -> str:
    """The dotted name of an attribute's tree, such as `exp.model`; empty for other trees."""
    from jinja2 import nodes

    if isinstance(node, nodes.Name):
        return str(node.name)
    if isinstance(node, nodes.Getattr):
        owner = _dotted(node.node)
        return f"{owner}.{node.attr}" if owner else ""
    return ""


def check_typed_names(config: Config, plan: str | os.PathLike[str] | None = None) -> None:
    """Raise a ConfigError for an unused name on the command line: not declared, referenced or read.

    Args:
        config: The configuration, including the parameters of packs.
        plan: A plan file, to whose experiments the values apply.
    """
    left = {
        name for name in config.typed if name not in config.declarations and _namespace(name) not in config.namespaces
    }
    if not left:
        return
    raw: list[Any] = [config.parameters(), config.variables]
    for extension in (*config.extensions, *config.exclude):
        raw += [extension.parameters, extension.cases]
        left -= extension.condition.keys()
    experiments = list(_examples(config)) if plan is None else [next(iter(read_plan(plan)), {})]
    if plan is not None:
        raw += experiments
        left -= experiments[0].keys()
    left -= reached(raw, left)
    for experiment in experiments:
        framework = text(experiment.get("exp.framework"))
        left -= {f"{framework}.{name}" for name in _OF_FRAMEWORKS}
        if left:
            reads = _launcher_reads(config, experiment)
            left = {name for name in left if not reads.has(name)}
    problems = Problems()
    known = [one for one in (*config.declarations, *config.known_names()) if one not in left]
    for name in sorted(left):
        hint = name_hint(name, known)
        own = "use it in your own launcher or in a value; declare it in a file if it only describes the experiment"
        with problems:
            raise ConfigError(f"the parameter {name!r} is not used", where=config.typed[name], hint=hint or own)
    problems.raise_all()


def _namespace(name: str) -> str:
    return name.partition(".")[0]


def _examples(config: Config) -> Iterator[Experiment]:
    """A raw experiment for each framework and launcher that the plan may have."""
    everything = config.parameters()
    for framework in values_of(config, "exp.framework"):
        name = f"{framework}.launcher"
        for launcher in values_of(config, name) or [None]:
            yield {**everything, "exp.framework": framework, **({name: launcher} if launcher else {})}


def _launcher_reads(config: Config, experiment: Experiment) -> Reads:
    """The parameters that the launcher of a raw experiment reads."""
    names, needed = set(experiment), {"exp.framework": experiment.get("exp.framework", "")}
    own = f"{text(needed['exp.framework'])}.launcher"
    waiting = [*needed, *({own} & names)]
    while waiting:
        name = waiting.pop()
        needed[name] = experiment.get(name, "")
        waiting += reached(needed[name], names - needed.keys())
    try:
        return template_reads(launcher_path(processor_for(config).resolve_uncached(needed)))
    except DlbsError:  # resolving the plan reports the problem
        return Reads(everything=True)
