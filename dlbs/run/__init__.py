"""Running a plan: validation, the driver, policies, locks, progress, status."""
