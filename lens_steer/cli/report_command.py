"""`lens-steer report`."""

from pathlib import Path
from typing import Annotated, Any

import typer

from lens_steer.arguments import FilePath, FolderPath
from lens_steer.cli.typed_options import option
from lens_steer.pages import check_page, check_results
from lens_steer.pages import report as write_report


def report(
    folder: Annotated[
        Path,
        option(
            FolderPath,
            "The folder of lens-steer demo or compare, or of benchmark.run(..., out=).",
            check=check_results,
            kind=typer.Argument,
            metavar="FOLDER",
            show_default=False,
        ),
    ],
    out: Annotated[
        Any,
        option(
            FilePath,
            "The file to write, .html; an older one is replaced. Left out: report.html in FOLDER.",
            check=check_page,
            metavar="FILE",
            show_default=False,
        ),
    ] = None,
) -> None:
    """Write what a command found as one HTML page, to read, to print and to send.

    It has every figure, with units and intervals; tables, the large ones folded away; texts side by
    side; what all of it was made of, and the command line that does it again. It needs no network.
    Of a run that is not finished it shows what is there.
    """
    place = Path(out) if out is not None else Path(folder) / "report.html"
    typer.echo(f"written  {write_report(folder, place)}")
