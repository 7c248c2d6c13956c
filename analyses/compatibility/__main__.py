"""The command: `python -m analyses.compatibility`."""

import os
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from time import monotonic
from typing import Annotated

import typer

import analyses.compatibility as study
from analyses.compatibility.architectures import ARCHITECTURES
from analyses.compatibility.cells import DTYPES, Cell, measured, start_server
from analyses.compatibility.page import page, verdict
from analyses.compatibility.results import Measured, Results, code
from analyses.studies import Out, start
from lens_steer.files import write_whole, writing_in

_SECONDS = 3.0  # a cell takes on one core
_BACKENDS = ("bridge", "hooked")


def backends() -> tuple[str, ...]:
    """The backends that the installed TransformerLens has."""
    return _BACKENDS if int(version("transformer-lens").split(".")[0]) < 4 else _BACKENDS[:1]


def chosen(option: str, text: str, possible: tuple[str, ...]) -> tuple[str, ...]:
    """The names in a comma-separated list; all that are possible if it is empty.

    Raises:
        ValueError: If one of them is not possible.
    """
    names = tuple(name.strip() for name in text.split(",")) if text else possible
    unknown = [name for name in names if name not in possible]
    if unknown:
        raise ValueError(f"{option} {unknown[0]!r}: expected some of {', '.join(possible)}")
    return names


def main(
    out: Out = Path("out/compatibility"),
    seed: Annotated[int, typer.Option(min=0, help="Of weights and tokens.")] = 0,
    architectures: Annotated[
        str, typer.Option(help="Names, separated by commas. Left out: all.", show_default=False)
    ] = "",
    backend: Annotated[
        str,
        typer.Option(help="bridge, hooked. Left out: what is installed.", show_default=False),
    ] = "",
    dtypes: Annotated[str, typer.Option(help="Names, separated by commas.")] = ",".join(DTYPES),
    limit: Annotated[float, typer.Option(min=1, help="Seconds for each cell.")] = 120.0,
    table: Annotated[
        Path | None,
        typer.Option(help="Folder for compatibility.md, written from --out; measures nothing."),
    ] = None,
) -> None:
    """Measure the cells, or write the table."""
    if table is not None:
        write_table(out, table)
        return
    cells = [
        Cell(*names)
        for names in (
            (architecture, how, dtype)
            for architecture in chosen("--architectures", architectures, tuple(ARCHITECTURES))
            for how in chosen("--backend", backend, backends())
            for dtype in chosen("--dtypes", dtypes, tuple(DTYPES))
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
