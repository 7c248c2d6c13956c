"""The command of the study: `python -m analyses.sadi`."""

from collections.abc import Sequence
from typing import Annotated, Any, Literal

import pandas as pd
from tqdm.auto import tqdm

import analyses.sadi as study
from analyses.sadi.figures import ways_figure
from analyses.sadi.measures import STEERED, ElementFindings
from analyses.studies import Run, Study, Tables, Tokens, start
from lens_steer import organism
from lens_steer.cli import option

Kinds = Annotated[
    Any,
    option(
        Sequence[Literal["head", "neuron", "mlp_out"]],
        "The kinds of elements: head, neuron and mlp_out, separated by commas.",
    ),
]
Read = Annotated[
    str,
    option(
        Literal["last", "mean"],
        "Where activations are read: at the continuation's last token (last), or as the mean over "
        "the continuation (mean).",
        metavar="[last|mean]",
    ),
]


def summary(pairs: str, kind: str, findings: ElementFindings) -> dict[str, Any]:
    """One row: what is found of one kind of element on one behaviour."""
    k = STEERED[kind]
    row: dict[str, Any] = {"behaviour": pairs, "kind": kind, "k": k}
    row |= findings.signs.share.columns("right_sign")
    halves = findings.stability.table()["halves"].dropna()
    row["overlap_of_halves"] = float(halves.iloc[-1]) if len(halves) else float("nan")
    if k in findings.ablation.ks:
        row |= findings.ablation.beyond_random(k).columns("ablation_beyond_random")
    if findings.true_ablation is not None and findings.agreement is not None:
        row |= findings.true_ablation.beyond_random(k).columns("true_beyond_random")
        table: Any = findings.agreement.table()
        ranks = table[table["b"] == "true effect"].set_index("a")["rank_correlation"]
        row |= {f"rank_{name}_effect": value for name, value in ranks.items()}
    return row


def save_findings(run: Run, findings: ElementFindings, stem: str) -> None:
    """Save a figure with its numbers for each report."""
    scores, mask, grid = findings.scores, findings.mask, findings.grid
    run.save(f"{stem}-scores", scores.figure(mask), scores.table())
    run.save(f"{stem}-layers", mask.figure(), mask.table())
    for name in ("ablation", "stability", "grid", "agreement", "true_ablation"):
        report = getattr(findings, name)
        if report is not None:
            run.save(f"{stem}-{name}", report.figure(), report.table())
    run.save(f"{stem}-dose", grid.dose_figure(), grid.table())


def measure(
    run: Run,
    pairs: str,
    *,
    kinds: Kinds = ("head", "neuron", "mlp_out"),
    read: Read = "mean",
    tokens: Tokens = organism.LONGEST,
) -> Tables:
    """The tables of one behaviour; figures of each kind of element are saved at once."""
    behaviour = run.behaviour(pairs, [read])
    rows, ways = [], []
    for kind in tqdm(kinds, desc=pairs, leave=False):
        findings = ElementFindings.fit(behaviour, kind, run.config(tokens))
        save_findings(run, findings, f"{pairs}-{kind}")
        rows.append(summary(pairs, kind, findings))
        ways.append(findings.ways.assign(behaviour_set=pairs, kind=kind))
    return {"summary": pd.DataFrame(rows), "ways": pd.concat(ways, ignore_index=True)}


STUDY = Study(
    name="sadi",
    manual=study.__doc__ or "",
    measure=measure,
    figures={"ways": ways_figure},
    columns={"summary": [], "ways": []},
)

if __name__ == "__main__":
    start(STUDY.command())
