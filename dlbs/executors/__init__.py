"""Executors run experiments: `local` on this machine, `slurm` on a cluster, `ssh` on several machines. See `registry` and `base`."""
