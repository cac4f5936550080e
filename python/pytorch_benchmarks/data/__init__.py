"""Where batches come from: made up in memory, or read from data sets."""
