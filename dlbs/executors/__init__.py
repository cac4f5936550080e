"""Executors run experiments: `local` on this machine, `slurm` on a cluster; `registry` lists them, `base` is what they have in common."""
