"""The page of results: one HTML file, and its live view."""
