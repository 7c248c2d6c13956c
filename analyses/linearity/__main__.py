"""The command of the study: `python -m analyses.linearity`."""

from collections.abc import Sequence
from typing import Annotated, Any

import analyses.linearity as study
import lens_steer as ls
from analyses.linearity.collapse import collapse_figure, collapses, rank_correlations
from analyses.linearity.measures import by_layer, diagnosed
from analyses.linearity.text_sets import text_sets
from analyses.studies import Run, Study, Tables, Tokens, start
from lens_steer import organism
from lens_steer.arguments import Expected
from lens_steer.cli import option
from lens_steer.figures import save_table
from lens_steer.linearity import LinearityReport

Most = Annotated[
    int,
    option(
        Annotated[int, Expected("a whole number of at least 8", lambda n: n >= 8)],
        "The largest number of pairs of each part: train, dev and test.",
        metavar="INTEGER",
    ),
]


def save_report(run: Run, report: LinearityReport, pairs: str) -> None:
    """Save a figure with its numbers for each part of a report."""
    curves, persistence, logits = report.curves, report.persistence, report.logits
    for direction in ("feature", "contrast", "random"):
        run.save(f"{pairs}-error-{direction}", curves.figure(direction), curves.table())
    run.save(f"{pairs}-persistence", persistence.figure(), persistence.table())
    if logits is not None:
        run.save(f"{pairs}-logits", logits.figure(), logits.table())


def measure(run: Run, pairs: str, *, most: Most = 64, tokens: Tokens = organism.LONGEST) -> Tables:
    """The tables of one behaviour; figures of its layers are saved at once."""
    behaviour = run.behaviour(pairs, most=most)
    features = ls.FeatureDirections.of(behaviour.cache.activations("last"))
    report = diagnosed(behaviour, features, run.seed)
    save_report(run, report, pairs)
    layers = by_layer(pairs, report)
    if not pairs.startswith("organism:"):  # only those judges know what is well formed
        return {"layers": layers}
    doses = collapses(behaviour, features, tokens, run.seed)
    return {"layers": layers, "collapse": layers.merge(doses, on="layer")}


def compared_texts(
    run: Run, names: Sequence[str], *, most: int, **_options: Any
) -> dict[str, list[str]]:
    """The sets of texts that are compared at the end, or the reason why there are none."""
    parts = [run.behaviour(name, most=most).cache.train for name in names]
    return text_sets(parts, most, run.seed)


def finish(run: Run, names: Sequence[str], tables: Tables, *, most: int, **_options: Any) -> None:
    """Save what is of all behaviours together: rank correlations, spectra and subspaces."""
    if "collapse" in tables:
        tables["ranks"] = rank_correlations(tables["collapse"], run.seed)
        figure = collapse_figure(tables["collapse"], tables["ranks"])
        run.save("collapse", figure, tables["collapse"])
        save_table(tables["ranks"], run.out / "ranks.csv")
    texts = compared_texts(run, names, most=most)
    alignment = ls.linearity.align(run.model, texts, seed=run.seed)
    run.save("alignment", alignment.figure(), alignment.table())
    run.save("spectra", alignment.spectra_figure(), alignment.table())


STUDY = Study(
    name="linearity",
    manual=study.__doc__ or "",
    measure=measure,
    columns={
        "ranks": [],
        "layers": [
            "behaviour",
            "layer",
            "trust_radius",
            "skill_radius",
            "logit_radius",
            "skill_own_0.1",
            "skill_mean_0.1",
            "cosine_own",
            "cosine_identity",
            "spread",
        ],
    },
    prepare=compared_texts,
    finish=finish,
)

if __name__ == "__main__":
    start(STUDY.command())
