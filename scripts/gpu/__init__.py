"""A session on a machine with a GPU: `make gpu`."""
