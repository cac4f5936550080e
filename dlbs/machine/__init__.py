"""This machine: what it has, what experiments ask of it, and what it does meanwhile."""
