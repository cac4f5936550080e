"""From log files to answers: records of experiments, queries over them, and tables."""
