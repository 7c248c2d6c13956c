"""Regulators at equal cost, what set-points do, and what is promised about them."""
