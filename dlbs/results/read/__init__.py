"""Read results: log files, results files, queries."""
