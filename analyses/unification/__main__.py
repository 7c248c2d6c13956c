"""The command of the study: `python -m analyses.unification`."""

from typing import Any

import pandas as pd
from torch.nn.functional import cosine_similarity

import analyses.unification as study
from analyses.equal_cost import Matched, corrected
from analyses.odesteer.methods import grid_of, layer_families
from analyses.studies import Layers, Reads, Run, Study, Tables, Tokens, start
from analyses.unification.figures import differences_figure
from analyses.unification.methods import BASELINE, COMPARED, MEMBERS, PUSHES
from lens_steer import organism
from lens_steer.benchmark import Behaviour, ComparisonConfig, FitCache

MULTIPLES = (1.0, 1.4)  # of the calibrated strength, on test


def directions(cache: FitCache, layers: tuple[int, ...]) -> Any:
    """Cosine of every member's push with CAA's, at every place of the grid."""
    rows = []
    for setting in grid_of(cache, layers):
        vectors = {
            name: metric(cache, setting, readout(cache, setting))
            for name, (readout, metric) in PUSHES.items()
        }
        for name, vector in vectors.items():
            cosine = float(cosine_similarity(vector, vectors[BASELINE], dim=0))
            rows.append({**setting, "method": name, "cosine": cosine})
    return pd.DataFrame(rows)


def tables_of(behaviour: Behaviour, config: ComparisonConfig, layers: tuple[int, ...]) -> Tables:
    """The tables of one behaviour."""
    matched = Matched.fit(behaviour, layer_families(MEMBERS, layers), config)
    tables: dict[str, Any] = {
        "matched": matched.table(("read", "layer", "strength")),
        "differences": matched.differences(COMPARED),
        "directions": directions(behaviour.cache, layers),
        "missing": matched.missing_table(),
    }
    return {name: table.assign(behaviour_set=behaviour.name) for name, table in tables.items()}


def measure(
    run: Run,
    pairs: str,
    *,
    reads: Reads = ("mean", "last"),
    layers: Layers = (1, 3),
    tokens: Tokens = organism.LONGEST,
) -> Tables:
    """The tables of one set of pairs."""
    config = run.config(tokens, multiples=MULTIPLES, randoms=1)
    return tables_of(run.behaviour(pairs, reads), config, layers)


STUDY = Study(
    name="unification",
    manual=study.__doc__ or "",
    measure=measure,
    figures={"differences": differences_figure},
    columns={"matched": ["method", "behaviour", "kl", "failed", "read", "layer", "behaviour_set"]},
    complete=corrected,
)

if __name__ == "__main__":
    start(STUDY.command())
