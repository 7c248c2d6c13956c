"""The command: `python -m analyses.claims`."""

import os
from collections import Counter
from pathlib import Path
from typing import Annotated

import typer

import analyses.claims as study
from analyses.claims.evidence import Results
from analyses.claims.our_claims import OUR_CLAIMS
from analyses.claims.pages import EMBEDDED, page, rows_of
from analyses.claims.paper_claims import BASELINES, CLAIMS
from analyses.claims.public import MODELS
from analyses.studies import Out, start
from lens_steer.arguments import Expected
from lens_steer.cli import option
from lens_steer.files import write_whole, writing_in


def main(
    results: Annotated[
        Path,
        option(
            Annotated[Path, Expected("a folder that analyses wrote", os.path.isdir)],
            "The folder with the tables of the analyses, which are read.",
            metavar="FOLDER",
        ),
    ] = Path("analyses/results"),
    out: Out = Path("docs"),
) -> None:
    """Write claims.md."""
    if not results.is_dir():
        raise ValueError(f"no folder {str(results)!r}: expected what analyses wrote")
    with writing_in(out):
        tables = Results(results)
        rows, baselines, ours = (rows_of(c, tables) for c in (CLAIMS, BASELINES, OUR_CLAIMS))
        text = page(rows, baselines, ours, tables, Path(os.path.relpath(results, out)).as_posix())
        write_whole(out / "claims.md", lambda path: Path(path).write_text(text, "utf-8"))
        for i, name in enumerate((EMBEDDED, *MODELS.values())):
            typer.echo(name)
            for verdict, count in Counter(row.verdicts[i] for row in rows).most_common():
                typer.echo(f"    {verdict:36} {count}")
        typer.echo(f"written  {out / 'claims.md'}")


if __name__ == "__main__":
    start(main, study.__doc__)
