"""The tables of the three papers, set up as presets and run on a model and files of your own.

`python -m analyses.papers.sadi`, `.lqr` and `.odesteer` each run one table of their paper: the
layers, hyper-parameters, prompts and decoding are those of a named preset, every value with its
source, and what is measured stands beside the published number. The papers' models have 7 billion
parameters and more, and some of their judges are models of that size or are paid for: what stands
in for them is named in every table, and so is what is not run at all.

`presets` says what a preset is, `published_numbers` holds the numbers of the papers, `tasks` reads
the questions and prompts, `judging` chooses who judges texts, `fitting` keeps what several methods
are fitted to, `measuring` and `running` run the units of a table and keep them, `tables` writes
them, and `command` is what the three commands share.
"""
