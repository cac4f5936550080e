"""Foreign suites whose benchmarks run as packs: one folder each, found by name; nothing outside imports it."""
