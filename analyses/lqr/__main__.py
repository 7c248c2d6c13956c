"""The command of the study: `python -m analyses.lqr`."""

from functools import partial
from typing import Any

import analyses.lqr as study
from analyses.equal_cost import Matched
from analyses.lqr.figures import ORDER, SCORES, lambda_figure
from analyses.lqr.laws import LAWS, law_family
from analyses.lqr.measures import by_lambda, probed
from analyses.lqr.tracking import followed
from analyses.plots import matched_figure
from analyses.studies import Reads, Run, Study, Tables, Tokens, start
from lens_steer import organism
from lens_steer.benchmark import FAMILIES

MULTIPLES = (0.5, 1.0, 1.4)  # of the calibrated strength, on test
KNOBS = ("read", "layer", "setpoint", "strength")


def measure(
    run: Run, pairs: str, *, reads: Reads = ("mean", "last"), tokens: Tokens = organism.LONGEST
) -> Tables:
    """The tables of one behaviour; figures of its features are saved at once."""
    behaviour = run.behaviour(pairs, reads)
    config = run.config(tokens, multiples=MULTIPLES, randoms=2)
    families = [FAMILIES["CAA"], *(law_family(name) for name in LAWS)]
    matched = Matched.fit(behaviour, families, config)
    tracking, drawn = followed(behaviour, matched.methods, run.seed)
    for name, (figure, table) in drawn.items():
        run.save(f"{pairs}-{name}", figure, table)
    tables: dict[str, Any] = {
        "matched": matched.table(KNOBS, probed(behaviour, matched.methods, run.seed)),
        "lambda": by_lambda(behaviour, config),
        "tracking": tracking,
        "missing": matched.missing_table(),
    }
    return {name: table.assign(behaviour_set=pairs) for name, table in tables.items()}


STUDY = Study(
    name="lqr",
    manual=study.__doc__ or "",
    measure=measure,
    figures={
        "matched": partial(matched_figure, order=ORDER, scores=SCORES),
        "lambda": lambda_figure,
    },
    columns={"matched": ["method", "behaviour", "probe", "kl", "efficiency", "behaviour_set"]},
)

if __name__ == "__main__":
    start(STUDY.command())
