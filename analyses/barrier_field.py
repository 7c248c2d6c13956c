"""Is ODESteer's field linear, does its ODE matter, and is h a log-ratio? By behaviour and barrier.

Every kind of barrier is fitted on train at each layer; the layer with the least log-loss on dev is
kept, and its field traced on test: nothing that is shown was seen by a fit or a choice. Rows of one
group are drawn together.

    python -m analyses.barrier_field --out out/barrier_field
    python -m analyses.barrier_field --model ../shared/models/stories260k --pairs stories:sad
"""

from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any

import pandas as pd
import torch
import typer
from tqdm.auto import tqdm

import lens_steer as ls
from lens_steer import field, organism
from lens_steer.activations import Activations, LayerActivations
from lens_steer.barriers import Barrier, LinearBarrier, PolynomialBarrier
from lens_steer.cli import run_command
from lens_steer.contenders import SHARES
from lens_steer.figures import make_folder, save_figure
from lens_steer.models import attach

KINDS: dict[str, Callable[[LayerActivations, int], Barrier]] = {
    "exact kernel": lambda train, seed: PolynomialBarrier.fit(train, seed=seed),
    "sketch": lambda train, seed: PolynomialBarrier.fit_sketch(train, seed=seed),
    "probe": lambda train, seed: LinearBarrier.fit(train, C=1.0, seed=seed),
}
SHOWN = ("accuracy", "slope", "median_entry", "linearity", "mean_linearity", "turning")


@dataclass(frozen=True, eq=False)
class Parts:
    """Activations of the three parts of one behaviour's pairs, and the groups of the test rows."""

    train: Activations
    dev: Activations
    test: Activations
    groups: tuple[str, ...]

    @classmethod
    def of(cls, model: Any, name: str, seed: int) -> "Parts":
        """Averaged over the continuation: its last token would say the class."""
        parts = ls.ContrastivePairs.load(name).split(*SHARES, seed=seed)
        read: list[Activations] = [
            ls.capture(model, part, "resid", read="mean", progress=False) for part in parts
        ]
        return cls(*read, groups=tuple(parts[2].groups) * 2)


def log_loss(barrier: Barrier, held_out: LayerActivations) -> float:
    """Nats per row, the classes' shares taken as their prior."""
    rows = torch.cat([held_out.desired, held_out.undesired]).double()
    sample = field.Sample.of(held_out, None, 0)
    return field.CalibrationReport(barrier.h(rows), sample).log_loss.mean


def best(parts: Parts, kind: str, seed: int) -> tuple[Barrier, float]:
    """The barrier of the layer with the least log-loss on dev, and that loss."""
    fitted = [KINDS[kind](parts.train.at(layer), seed) for layer in parts.train.layers]
    losses = [log_loss(barrier, parts.dev.at(barrier.layer)) for barrier in fitted]
    least = min(range(len(losses)), key=losses.__getitem__)
    return fitted[least], losses[least]


def traced(barrier: Barrier, parts: Parts, angle: float, seed: int) -> field.FieldReport:
    """On test, with distances to train."""
    layer = barrier.layer
    return field.trace(
        *(barrier, parts.test.at(layer), angle),
        training=parts.train.at(layer),
        groups=parts.groups,
        seed=seed,
    )


def save_report(report: field.FieldReport, stem: Path, origin: dict[str, Any]) -> None:
    """Every figure with its numbers."""
    for name, figure in report.figures().items():
        place = stem.with_name(f"{stem.name}-{name}.png")
        save_figure(figure, place, getattr(report, name).table(), origin)


def row_of(report: field.FieldReport) -> dict[str, Any]:
    """The summary, with the gap at the angles that papers steer by."""
    row: dict[str, Any] = report.summary()
    for angle in (0.35, 0.7):
        if angle <= report.angle:
            for name, found in report.gap.at(angle).items():
                row |= found.columns(f"{name}_{angle:g}")
    if report.shape is not None:
        row["rank_for_0.99"] = report.shape.rank_for(0.99)
    return row | {"supremum": report.rise.supremum, "desired_median": report.rise.desired_median}


def main(  # noqa: PLR0913 - a command's options
    model: Annotated[str, typer.Option(help="`organism`, hub name or directory.")] = "organism",
    pairs: Annotated[str, typer.Option(help="Sets, with commas; empty: all organism:*.")] = "",
    angle: Annotated[float, typer.Option(help="Largest T / |a|, rad.")] = 1.0,
    out: Annotated[Path, typer.Option(help="Folder for figures and tables.")] = Path(
        "out/barrier_field"
    ),
    seed: Annotated[int, typer.Option(min=0, help="Of splits, folds, hashes, intervals.")] = 0,
) -> None:
    """Is the field linear, does the ODE matter, is h a log-ratio?"""
    loaded = ls.load_model(model)
    names = pairs.split(",") if pairs else [f"organism:{b}" for b in organism.behaviours()]
    make_folder(out)
    origin = {"model": model, "seed": seed, "angle": angle, "split": SHARES}
    origin["fingerprint"] = asdict(attach(loaded).fingerprint)
    rows: list[dict[str, Any]] = []
    for name in tqdm(names, desc="barrier fields"):
        parts = Parts.of(loaded, name, seed)
        for kind in KINDS:
            barrier, loss = best(parts, kind, seed)
            report = traced(barrier, parts, angle, seed)
            own = {"behaviour": name, "barrier": kind, "layer": barrier.layer, "dev_loss": loss}
            stem = out / f"{name}-{kind}".replace(":", "-").replace(" ", "-")
            save_report(report, stem, origin | own | {"settings": dict(barrier.settings)})
            held_out = parts.test.at(barrier.layer)
            plane = field.slice_map(barrier, held_out, angle)
            place = stem.with_name(f"{stem.name}-slice.png")
            save_figure(plane.figure(), place, plane.table(), origin | own)
            rows.append(own | row_of(report))
            pd.DataFrame(rows).to_csv(out / "summary.csv", index=False)
    table: Any = pd.DataFrame(rows)
    shown = ["behaviour", "barrier", "layer", *SHOWN, "gap_0.35", "cosine_0.35", "lost_0.35"]
    shown = [column for column in shown if column in table]
    typer.echo(table[shown].to_string(index=False, float_format="{:.3f}".format))


if __name__ == "__main__":
    app = typer.Typer(add_completion=False, rich_markup_mode=None)
    app.command()(main)
    run_command(lambda: app(standalone_mode=False))
