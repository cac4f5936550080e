"""Options of the programs: each stands in one place, a field with its default, its kind and its help text."""
