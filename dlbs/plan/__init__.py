"""Plans: variables and extensions become experiments, and experiments get final values."""
