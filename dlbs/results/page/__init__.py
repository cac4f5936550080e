"""The page of results: one HTML file, and the same one live."""
