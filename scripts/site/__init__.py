"""Build the manual's site and the man pages, with generated references: `python -m scripts.site [--output DIR] [--man DIR]`."""
