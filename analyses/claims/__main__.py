"""The command: `python -m analyses.claims`."""

import os
from pathlib import Path
from typing import Annotated

import pandas as pd
import typer

import analyses.claims as study
from analyses.claims.evidence import NOT_RUN, Evidence, Results
from analyses.claims.paper_claims import CLAIMS, Claim
from analyses.studies import Out, start
from lens_steer.arguments import Expected
from lens_steer.cli import option
from lens_steer.files import write_whole, writing_in

_INTRO = """# Claims of the three papers, and what was measured here

`python -m analyses.claims` writes this page from the tables in `analyses/results`; no number in it
was typed. The model is small (the embedded one: 1.1 million parameters, an invented language with
an exact judge, six behaviours). A verdict is one of

- **observed here**: the quantity that the claim is about lies on the claimed side of 0 with its
  whole 95 % interval, or does so in more than half of the cells that the row counts;
- **not observed here**: it does not. That is no refutation: the papers' models are three to four
  orders of magnitude larger, and their layers, prompts and judges are others;
- **cannot be tested here**: a model of this size, or any measurement, cannot tell;
- **not run yet**: the table is still to be made, by the command given.

Intervals over behaviours draw behaviours again (six, or five without `polarity`, which no
difference of means steers): they say how far a row depends on the behaviours. Rows of several
models, trained alike from other seeds, draw models again too. The source tables have intervals
over prompts.

"""
_OUTRO = """
## The same rows on a public model

The commands above take `--model` (a hub name or a directory; the comparison of all methods takes
`--models`, several with commas) and `--pairs` (named sets or files), for example

    python -m analyses.odesteer --model gpt2 --pairs my_pairs.jsonl --out out/odesteer
    python -m analyses.method_comparison --models gpt2,EleutherAI/pythia-70m \\
        --pairs my_pairs.jsonl --out out/method_comparison
    python -m analyses.claims --results out --out out/claims

where the folders in `out` carry the names of the analyses. "Does not hold" should not be said
before two public pretrained models say so. A comparison on two of them, of seven tasks with
independent judges, is [registered](registration.md) and not finished: it has no verdict yet.
"""


def evidence(claim: Claim, results: Results) -> Evidence:
    """What the tables say of a claim; that it was not run yet where its table is missing."""
    try:
        return claim.rule(results)
    except FileNotFoundError as error:
        missing = Path(str(error.filename)).relative_to(results.folder)
        return Evidence(f"`{missing}` is still to be made", 0, NOT_RUN)


def table(results: Results) -> pd.DataFrame:
    """A row for each claim."""
    rows = []
    for claim in CLAIMS:
        settled = evidence(claim, results)
        command = f"`{claim.command}`" if claim.command else ""
        rows.append(
            {
                "paper": claim.paper,
                "claim": claim.says,
                "measured": settled.measured,
                "models": settled.models or "",
                "verdict": settled.verdict,
                "command": command,
            }
        )
    return pd.DataFrame(rows)


def page(rows: pd.DataFrame) -> str:
    """The table as Markdown, with what it means before and after."""
    head = [f"| {' | '.join(rows.columns)} |", "|---" * len(rows.columns) + "|"]
    cells = rows.astype(str).apply(lambda column: column.str.replace("|", "\\|"))
    body = [f"| {' | '.join(row)} |" for row in cells.itertuples(index=False)]
    return _INTRO + "\n".join([*head, *body]) + "\n" + _OUTRO


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
        rows = table(Results(results))
        write_whole(out / "claims.md", lambda path: Path(path).write_text(page(rows), "utf-8"))
        for verdict, count in rows["verdict"].value_counts().items():
            typer.echo(f"{verdict:24} {count}")
        typer.echo(f"written  {out / 'claims.md'}")


if __name__ == "__main__":
    start(main, study.__doc__)
