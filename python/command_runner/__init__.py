"""Times any command. Stands alone: needs nothing but Python, and never imports dlbs."""
