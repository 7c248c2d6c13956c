"""Do the parts of the three papers help each other? See `python -m analyses.combined --help`."""
