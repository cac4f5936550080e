"""Statistics: confidence intervals, comparisons, searches, and the batch times of one run."""
