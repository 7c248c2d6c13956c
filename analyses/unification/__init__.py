"""Which assumption buys the gain: one family of methods, one switch at a time."""
