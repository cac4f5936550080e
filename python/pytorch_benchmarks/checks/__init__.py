"""The lists that a model has to pass."""
