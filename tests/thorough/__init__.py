"""Properties, fuzz and kills: a sample in every run of the suite, the long version by `make thorough`."""
