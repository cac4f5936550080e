"""Results: read logs, make tables, statistics, plots and pages, keep them in a store."""
