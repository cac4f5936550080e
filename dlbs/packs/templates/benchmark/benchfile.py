"""How the pack is installed, prepared and run, where requirements.in, prepare.py and main.py do not say enough. Delete it if they do.

This runs in the environment of dlbs; `run_in_environment` runs programs in the pack's.
"""

from dlbs.packs.benchfile import BenchmarkPack


class Benchmark(BenchmarkPack):
    """Override install(), prepare() or command(script)."""
