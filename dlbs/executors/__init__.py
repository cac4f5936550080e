"""Executors run launchers: `LocalExecutor` on this machine."""
