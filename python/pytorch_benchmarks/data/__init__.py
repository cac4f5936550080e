"""Sources of batches: synthetic in memory, or read from data sets."""
