"""Why does a single prompt go the wrong way, and can its sign be mended?

CAA at several layers is forecast pair by pair. The change of each margin is split into the paths
that carry it (what is added itself, later attention, later MLPs), set beside what the mean change
of other texts would make of it, and crossed with the endings of neighbouring prompts to see whether
the prompt or the ending decides. Then a sign or a gate for each prompt is tried at equal cost: one
that knows the sign, and one that guesses it from the prompt's activation.

`paths` has the derivatives, `measuring` what is measured in a cell, `crossing` prompts with other
endings, `tables` and `figures` the rest.
"""
