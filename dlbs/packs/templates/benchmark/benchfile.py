"""Overrides of installation, preparation and run. Delete this file if requirements.in, prepare.py and main.py suffice.

This runs in the environment of dlbs; `run_in_environment` runs programs in the environment of the pack.
"""

from dlbs.packs.benchfile import BenchmarkPack


class Benchmark(BenchmarkPack):
    """Override install(), prepare() or command(script)."""
