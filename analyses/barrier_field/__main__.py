"""The command of the study: `python -m analyses.barrier_field`."""

import math
from typing import Annotated, Any

import pandas as pd

import analyses.barrier_field as study
from analyses.barrier_field import measures
from analyses.barrier_field.measures import (
    SplitActivations,
    best,
    fit_layers,
    flow_report,
    summary_row,
    traced,
)
from analyses.barrier_field_instruments import FlowReport
from analyses.studies import Run, Study, Tables, start
from lens_steer.arguments import Expected
from lens_steer.barriers import field
from lens_steer.cli import option

Angle = Annotated[
    float,
    option(
        Annotated[
            float | int,
            Expected("an angle in rad, above 0 and at most 2 pi", lambda x: 0 < x <= math.tau),
        ],
        "The largest angle T / |a| by which activations are turned, in radians.",
        metavar="NUMBER",
    ),
]


def save_reports(
    run: Run, report: field.FieldReport, flow: FlowReport, stem: str, **origin: Any
) -> None:
    """Save every figure of the field and of the flow with its numbers."""
    for name, figure in report.figures().items():
        run.save(f"{stem}-{name}", figure, getattr(report, name).table(), **origin)
    for name, part in flow.parts.items():
        run.save(f"{stem}-{name}", part.figure(), part.table(), **origin)


def tables_of(run: Run, parts: SplitActivations, pairs: str, angle: float) -> Tables:
    """The tables of one behaviour; figures of its fields are saved at once."""
    layers: list[dict[str, Any]] = []
    chosen: list[dict[str, Any]] = []
    for kind in measures.KINDS:
        fitted = fit_layers(parts, kind, run.seed)
        layers += [{"behaviour": pairs} | each.row for each in fitted]
        barrier, row = best(fitted).barrier, {"behaviour": pairs} | best(fitted).row
        report = traced(barrier, parts, angle, run.seed)
        flow = flow_report(barrier, parts, angle, run.seed)
        settings = dict(barrier.settings)
        save_reports(run, report, flow, f"{pairs}-{kind}", **row, settings=settings)
        plane = field.slice_map(barrier, parts.test.at(barrier.layer), angle)
        run.save(f"{pairs}-{kind}-slice", plane.figure(), plane.table(), **row)
        chosen.append(row | summary_row(report, flow))
    layer = chosen[0]["layer"]
    hashes = measures.stability(parts, layer, run.seed)
    run.save(f"{pairs}-stability", hashes.figure(), hashes.table(), layer=layer)
    return {
        "layers": pd.DataFrame(layers),
        "summary": pd.DataFrame(chosen),
        "stability": hashes.table().assign(behaviour=pairs, layer=layer),
    }


def measure(run: Run, pairs: str, *, angle: Angle = 1.0) -> Tables:
    """The tables of one set of pairs."""
    return tables_of(run, SplitActivations.of(run.behaviour(pairs)), pairs, angle)


STUDY = Study(
    name="barrier_field",
    manual=study.__doc__ or "",
    measure=measure,
    columns={
        "summary": [
            "behaviour",
            "barrier",
            "layer",
            "accuracy",
            "slope",
            "median_entry",
            "linearity",
            "mean_linearity",
            "turning",
            "gap_0.35",
            "cosine_0.35",
            "lost_0.35",
        ]
    },
)

if __name__ == "__main__":
    start(STUDY.command())
