"""Executors run launchers: `LocalExecutor` on this machine, `SlurmExecutor` on a cluster."""
