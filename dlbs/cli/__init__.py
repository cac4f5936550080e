"""The command line: one file per verb, only options and printing."""
