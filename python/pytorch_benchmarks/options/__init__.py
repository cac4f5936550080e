"""Options of the programs: each is defined in one place, a field with its default, type and help text."""
