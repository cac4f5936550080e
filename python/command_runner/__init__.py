"""Time any command. Standalone: requires only Python, and never imports dlbs."""
