"""What is measured, and what is reported of it."""
