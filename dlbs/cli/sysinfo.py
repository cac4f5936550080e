"""The verb `sysinfo`."""

from __future__ import annotations

import click

from dlbs.cli.as_json import json_option
from dlbs.cli.options import CONTEXT, common_options
from dlbs.machine.facts import system_facts

__all__ = ["sysinfo_command"]


@click.command("sysinfo", context_settings=CONTEXT)
@json_option
@common_options
def sysinfo_command(as_json: bool) -> None:
    """Show the hardware and software of this machine: CPU, memory, GPUs, docker, Slurm, Python, torch.

    \b
    Examples:
      dlbs sysinfo
      dlbs sysinfo --json
    """
    import json

    facts = system_facts()
    if as_json:
        click.echo(json.dumps(facts, indent=1))
        return
    for name, value in facts.items():
        shown = f"{value / 2**30:.1f} GiB" if name.endswith("_bytes") else value
        click.echo(f"{name:24} {'-' if shown in (None, []) else shown}")
