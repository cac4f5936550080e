"""Programs for those who work on dlbs, and the templates of launchers."""
