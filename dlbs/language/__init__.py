"""The language of values: references `${...}`, expressions `$(...)$`, conditions, patterns, and the limits of their work."""
