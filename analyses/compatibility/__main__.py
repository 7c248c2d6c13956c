"""The command: `python -m analyses.compatibility`."""

import os
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from time import monotonic
from typing import Annotated, Any

import typer

import analyses.compatibility as study
from analyses.compatibility.architectures import ARCHITECTURES
from analyses.compatibility.cells import DTYPES, Cell, measured, start_server
from analyses.compatibility.page import page, verdict
from analyses.compatibility.results import Measured, Results, code
from analyses.studies import Out, Seed, start
from lens_steer.arguments import Expected, FolderPath
from lens_steer.cli import option
from lens_steer.files import check_folder, write_whole, writing_in
from lens_steer.models import HAS_HOOKED_TRANSFORMER

Seconds = Annotated[float, Expected("seconds, from 1 to 86400", lambda x: 1 <= x <= 86400)]
_SECONDS = 3.0  # a cell takes on one core
# Those that the installed TransformerLens has.
BACKENDS = ("bridge", "hooked") if HAS_HOOKED_TRANSFORMER else ("bridge",)


def names_of(possible: Sequence[str], words: str) -> Any:
    """The annotation of an option that takes some of these names."""
    one = Annotated[str, Expected(words, lambda name: name in possible)]
    return Sequence[one]


Names = Sequence[str]


def main(
    architectures: Annotated[
        Names,
        option(
            names_of(tuple(ARCHITECTURES), "the name of an architecture in docs/compatibility.md"),
            "The architectures, by their names in docs/compatibility.md. Left out: all.",
            metavar="NAMES",
            show_default=False,
        ),
    ] = tuple(ARCHITECTURES),
    backends: Annotated[
        Names,
        option(
            names_of(BACKENDS, f"one of {', '.join(BACKENDS)}"),
            "The backends: bridge, and hooked before TransformerLens 4. Left out: all there are.",
            metavar="NAMES",
        ),
    ] = BACKENDS,
    dtypes: Annotated[
        Names,
        option(
            names_of(tuple(DTYPES), f"one of {', '.join(DTYPES)}"),
            f"The precisions: some of {', '.join(DTYPES)}. Left out: all.",
            metavar="NAMES",
        ),
    ] = tuple(DTYPES),
    limit: Annotated[
        float, option(Seconds, "The longest time of each cell, in seconds.", metavar="NUMBER")
    ] = 120.0,
    table: Annotated[
        Path | None,
        option(
            FolderPath,
            "A folder in which compatibility.md is written from the results in --out; nothing is "
            "measured.",
            check=check_folder,
            metavar="FOLDER",
        ),
    ] = None,
    out: Out = Path("out/compatibility"),
    seed: Seed = 0,
) -> None:
    """Measure the cells, or write the table."""
    if table is not None:
        write_table(out, table)
        return
    cells = [
        Cell(*names)
        for names in (
            (architecture, how, dtype)
            for architecture in architectures
            for how in backends
            for dtype in dtypes
        )
    ]
    os.environ |= {"HF_HUB_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1"}
    with writing_in(out):
        measure(cells, out, seed, limit)


def measure(cells: list[Cell], out: Path, seed: int, limit: float) -> None:
    """Measure those of some cells that are missing, and write the results after each of them."""
    results = Results.here(out, seed)
    missing, now = results.missing(cells), code()
    typer.echo(
        f"{len(cells)} cells, {len(cells) - len(missing)} of them measured before: about "
        f"{len(missing) * _SECONDS / 60:.0f} minutes on one core, at most "
        f"{len(missing) * limit / 60:.0f}"
    )
    if missing:
        start_server()
    for number, cell in enumerate(missing, start=1):
        begin = monotonic()
        checks = measured(cell, seed=seed, limit=limit)
        seconds, today = round(monotonic() - begin, 1), datetime.now(UTC).date().isoformat()
        new = Measured(cell, checks, seconds, today, now)
        results = results.with_cell(new)
        results.write(out)
        typer.echo(
            f"{number:4}/{len(missing)} {seconds:5.1f} s  "
            f"{cell.architecture} {cell.backend} {cell.dtype}: {verdict(new)}"
        )
    typer.echo(f"written  {out / results.file_name}")


def write_table(results: Path, docs: Path) -> None:
    """Write compatibility.md from all files of results.

    Raises:
        ValueError: If there are none.
    """
    files = sorted(results.glob("transformer-lens-*.json"))
    if not files:
        raise ValueError(f"no results in {str(results)!r}: run the command without --table first")
    with writing_in(docs):
        text = page([Results.read(path) for path in files])
        write_whole(docs / "compatibility.md", lambda path: Path(path).write_text(text, "utf-8"))
    typer.echo(f"written  {docs / 'compatibility.md'}")


if __name__ == "__main__":
    start(main, study.__doc__)
