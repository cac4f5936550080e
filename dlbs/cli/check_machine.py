"""The verb `check-machine`: check whether this machine is suitable for measurements."""

from __future__ import annotations

import json
import shutil
import sys
import textwrap
from dataclasses import asdict
from typing import TYPE_CHECKING

import click

from dlbs.cli.as_json import json_option
from dlbs.cli.options import CONTEXT, common_options
from dlbs.text import printable

if TYPE_CHECKING:
    from dlbs.machine.fitness import Finding

__all__ = ["check_machine_command"]

_MARKS = {"ok": ("✓", "green"), "warning": ("⚠", "yellow"), "unknown": ("?", None)}
_INDENT = 26


@click.command("check-machine", context_settings=CONTEXT)
@click.option(
    "--seconds",
    type=click.FloatRange(0, 600),
    default=5.0,
    show_default=True,
    help="Duration of the A/A run; 0 skips it.",
)
@json_option
@click.option("--strict", is_flag=True, help="Exit with 1 if there is a warning.")
@common_options
def check_machine_command(seconds: float, as_json: bool, strict: bool) -> int:
    """Check whether this machine is suitable for measurements: find settings and load that make times vary, each with a remedy.

    Then time the same work repeatedly (an A/A run): its noise shows how small a difference repeated runs can detect here.
    Nothing is changed.

    \b
    Examples:
      dlbs check-machine
      dlbs check-machine --seconds 30 --json
      dlbs check-machine --strict && dlbs run --config plan.yaml
    """
    from dlbs.machine.fitness import check_machine
    from dlbs.machine.noise import detectable, measure_noise

    findings = []
    for finding in check_machine():
        findings.append(finding)
        if not as_json:
            _show(finding)
    warnings = sum(finding.state == "warning" for finding in findings)
    noise = measure_noise(seconds, _progress if sys.stderr.isatty() else None) if seconds else None
    differences = {runs: detectable(noise.variation, runs) for runs in (3, 5, 10, 20)} if noise else {}
    if as_json:
        document: dict[str, object] = {"findings": [asdict(finding) for finding in findings], "warnings": warnings}
        if noise is not None:
            document["noise"] = {
                "seconds": noise.seconds,
                "coefficient_of_variation": noise.variation,
                "slowest_over_fastest": noise.spread,
                "a_a_difference": noise.difference,
                "detectable_difference": differences,
            }
        click.echo(json.dumps(document, indent=1))
    else:
        if noise is not None:
            click.echo(f"\nA/A run: the same work on all CPUs, {len(noise.seconds)} times")
            click.echo(f"  coefficient of variation {noise.variation:.1%}, slowest over fastest {noise.spread:.2f}")
            click.echo("  smallest difference that is detected (5 % false alarms, 80 % power):")
            for runs, share in differences.items():
                click.echo(f"    {runs:2} runs per side  {share:6.1%}")
            click.echo("")
        click.echo(f"{warnings} warning{'s' if warnings != 1 else ''}" if warnings else "no warnings")
    return 1 if strict and warnings else 0


def _show(finding: Finding) -> None:
    """Print a finding, wrapped to the width of the terminal."""
    mark, colour = _MARKS[finding.state]
    width = shutil.get_terminal_size().columns - _INDENT
    for number, line in enumerate(textwrap.wrap(printable(finding.value), max(20, width))):
        head = f"{click.style(mark, fg=colour)} {finding.name + ':':{_INDENT - 2}}" if number == 0 else " " * _INDENT
        click.echo(f"{head}{line}")
    for number, line in enumerate(textwrap.wrap(finding.remedy, max(20, width - 2))):
        click.echo(f"{'':{_INDENT}}{'→ ' if number == 0 else '  '}{line}")


def _progress(number: int, runs: int) -> None:
    end = "\r" if number < runs else f"\r{' ' * 40}\r"
    click.echo(f"A/A run {number}/{runs}{end}", nl=False, err=True)
