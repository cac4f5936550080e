"""Tables of results and their output formats."""
