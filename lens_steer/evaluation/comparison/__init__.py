"""Methods beside each other: trials, references, intervals, p-values."""
