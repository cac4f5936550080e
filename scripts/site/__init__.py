"""The site of the manual and the man pages: `python -m scripts.site [--output DIR] [--man DIR]`, with pages that the program itself writes."""
