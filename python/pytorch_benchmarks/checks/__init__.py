"""The checks that every model has to pass."""
