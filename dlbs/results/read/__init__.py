"""Reading results: log files, results files, queries."""
