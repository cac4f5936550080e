"""The history of results in a store: trends, what changed, and pages about them."""
