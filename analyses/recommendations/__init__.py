"""Is `recommend` right? Its method beside the best of an exhaustive search, and its refusals.

In every cell of the study of forecasts (a task and a fold) `recommend` is given the pairs that are
fitted to, and the method that it returns writes texts after the prompts that are tested, beside the
one that was best on dev among all that `python -m analyses.forecast` has measured there. It is also
given the same pairs with half of them turned round, which show no behaviour, and is to refuse.
"""
