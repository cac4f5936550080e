"""Development tools for dlbs, and the templates of launchers."""
