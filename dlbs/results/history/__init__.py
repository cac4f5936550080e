"""History of results in a store: trends, changes, and pages about them."""
