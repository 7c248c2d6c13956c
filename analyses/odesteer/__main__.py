"""The command of the study: `python -m analyses.odesteer`."""

from functools import partial
from typing import Any

import analyses.odesteer as study
from analyses.equal_cost import Matched, corrected
from analyses.odesteer.figures import (
    ORDER,
    SCORES,
    angle_figure,
    differences_figure,
    field_figure,
)
from analyses.odesteer.measures import by_angle, of_fields
from analyses.odesteer.methods import COMPARED, families_of
from analyses.plots import matched_figure
from analyses.studies import Layers, Reads, Run, Study, Tables, Tokens, start
from lens_steer import organism

MULTIPLES = (1.0, 1.4)  # of the calibrated strength, on test


def measure(
    run: Run,
    pairs: str,
    *,
    reads: Reads = ("mean", "last"),
    layers: Layers = (1, 3),
    tokens: Tokens = organism.LONGEST,
) -> Tables:
    """The tables of one behaviour."""
    behaviour = run.behaviour(pairs, reads)
    config = run.config(tokens, multiples=MULTIPLES, randoms=1)
    matched = Matched.fit(behaviour, families_of(pairs, layers), config)
    tables: dict[str, Any] = {
        "matched": matched.table(("read", "layer", "strength")),
        "differences": matched.differences([("ODESteer", other) for other in COMPARED]),
        "angle": by_angle(behaviour, matched.settings, config),
        "fields": of_fields(behaviour, run.seed),
        "missing": matched.missing_table(),
    }
    return {name: table.assign(behaviour_set=pairs) for name, table in tables.items()}


STUDY = Study(
    name="odesteer",
    manual=study.__doc__ or "",
    measure=measure,
    figures={
        "matched": partial(matched_figure, order=ORDER, scores=SCORES),
        "angle": angle_figure,
        "differences": differences_figure,
        "fields": field_figure,
    },
    columns={"matched": ["method", "behaviour", "kl", "failed", "read", "layer", "behaviour_set"]},
    complete=corrected,
)

if __name__ == "__main__":
    start(STUDY.command())
