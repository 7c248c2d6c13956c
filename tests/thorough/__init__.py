"""Properties, fuzz and kills: a sample in every run, the long version by `make thorough`."""
