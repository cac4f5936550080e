"""The command line: one file a verb, nothing but options and printing."""
