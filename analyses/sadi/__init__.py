"""SADI, element by element: which are chosen, how far to trust it, and what scaling them does."""
