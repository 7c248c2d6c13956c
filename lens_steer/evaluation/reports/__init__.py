"""Reports with a table and a figure each."""
