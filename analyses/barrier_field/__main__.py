"""Is ODESteer's field linear, does its ODE matter, and is h a log-ratio? By behaviour and barrier.

Every kind of barrier is fitted on train at each layer; the layer with the least log-loss on dev is
kept, and its field traced on test: nothing that is shown was seen by a fit or a choice. Parts share
no group (prompts about one thing), and rows of one group are drawn together in intervals. Within
train gamma and C are cross-validated by rows, which do not know their group: `held_out_loss` beside
`dev_loss` shows what that hides.

    python -m analyses.barrier_field --out out/barrier_field
    python -m analyses.barrier_field --model ../shared/models/stories260k --pairs stories:sad
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import pandas as pd
import torch
import typer
from tqdm.auto import tqdm

import lens_steer as ls
from analyses.studies import names_of, origin_of
from lens_steer import field
from lens_steer.activations import Activations, LayerActivations
from lens_steer.barriers import Barrier, LinearBarrier, PolynomialBarrier
from lens_steer.benchmark import SHARES
from lens_steer.cli import run_command
from lens_steer.figures import save_figure, save_table
from lens_steer.files import writing_in

KINDS: dict[str, Callable[[LayerActivations, int], Barrier]] = {
    "exact kernel": lambda train, seed: PolynomialBarrier.fit(train, seed=seed),
    "sketch": lambda train, seed: PolynomialBarrier.fit_sketch(train, seed=seed),
    "probe": lambda train, seed: LinearBarrier.fit(train, seed=seed),
}
SIZES, HASHES = (500, 2000, 8000), 4  # of sketches beside the exact kernel, gamma 0.1 and C 1
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
    sample = field.HeldOutRows.of(held_out, None, 0)
    return field.BarrierCalibration(barrier.h(rows), sample).log_loss.mean


def fitted(parts: Parts, kind: str, seed: int) -> list[tuple[dict[str, Any], Barrier]]:
    """A barrier per layer, and beside each how it was chosen and what it loses on dev."""
    found = []
    for layer in parts.train.layers:
        barrier = KINDS[kind](parts.train.at(layer), seed)
        row = {"barrier": kind, "layer": layer, "dev_loss": log_loss(barrier, parts.dev.at(layer))}
        row |= {name: barrier.settings.get(name) for name in ("held_out_loss", "gamma", "C")}
        found.append((row, barrier))
    return found


def best(found: list[tuple[dict[str, Any], Barrier]]) -> tuple[dict[str, Any], Barrier]:
    """The layer with the least log-loss on dev."""
    return min(found, key=lambda each: each[0]["dev_loss"])


def stability(parts: Parts, layer: int, seed: int) -> field.FieldStability:
    """Fields of sketches of several hash seeds on test, beside the kernel that they sketch."""
    train = parts.train.at(layer)
    exact = PolynomialBarrier.fit(train, gamma=0.1, C=1.0)
    sketches = {
        size: [
            PolynomialBarrier.fit_sketch(train, n_components=size, seed=seed + i)
            for i in range(HASHES)
        ]
        for size in SIZES
    }
    held_out = parts.test.at(layer)
    return field.FieldStability.measure(exact, sketches, held_out, seed, groups=parts.groups)


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


def study(
    parts: Parts, name: str, angle: float, seed: int, out: Path, origin: dict[str, Any]
) -> tuple[list[dict[str, Any]], list[dict[str, Any]], Any]:
    """Figures of one behaviour; rows of layers and of chosen barriers; stability over hashes."""
    layers: list[dict[str, Any]] = []
    chosen: list[dict[str, Any]] = []
    for kind in KINDS:
        found = fitted(parts, kind, seed)
        layers += [{"behaviour": name} | row for row, _ in found]
        own, barrier = best(found)
        own = {"behaviour": name} | own
        report = traced(barrier, parts, angle, seed)
        stem = out / f"{name}-{kind}".replace(":", "-").replace(" ", "-")
        save_report(report, stem, origin | own | {"settings": dict(barrier.settings)})
        plane = field.slice_map(barrier, parts.test.at(barrier.layer), angle)
        place = stem.with_name(f"{stem.name}-slice.png")
        save_figure(plane.figure(), place, plane.table(), origin | own)
        chosen.append(own | row_of(report))
    layer = chosen[0]["layer"]
    hashes = stability(parts, layer, seed)
    place = out / f"{name}-stability.png".replace(":", "-")
    save_figure(hashes.figure(), place, hashes.table(), origin | {"layer": layer})
    return layers, chosen, hashes.table().assign(behaviour=name, layer=layer)


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
    with writing_in(out):
        loaded = ls.load_model(model)
        names = names_of(pairs)
        origin = origin_of(loaded, model=model, seed=seed, angle=angle, split=SHARES)
        layers: list[Any] = []
        rows: list[Any] = []
        hashes: list[Any] = []
        for name in tqdm(names, desc="barrier fields"):
            parts = Parts.of(loaded, name, seed)
            found = study(parts, name, angle, seed, out, origin)
            layers, rows, hashes = layers + found[0], rows + found[1], [*hashes, found[2]]
            save_table(pd.DataFrame(layers), out / "layers.csv")
            save_table(pd.DataFrame(rows), out / "summary.csv")
            save_table(pd.concat(hashes), out / "stability.csv")
        table: Any = pd.DataFrame(rows)
        shown = ["behaviour", "barrier", "layer", *SHOWN, "gap_0.35", "cosine_0.35", "lost_0.35"]
        shown = [column for column in shown if column in table]
        typer.echo(table[shown].to_string(index=False, float_format="{:.3f}".format))


if __name__ == "__main__":
    app = typer.Typer(add_completion=False, rich_markup_mode=None)
    app.command()(main)
    run_command(lambda: app(standalone_mode=False))
