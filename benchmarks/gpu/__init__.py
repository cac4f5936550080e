"""What a GPU does with our models and our harness, each figure as a ratio of two sides that were measured in turn in one process."""
