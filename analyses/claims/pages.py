"""The page as Markdown: a table of verdicts, and what was measured for each claim below it."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

from analyses.claims.claim import Claim
from analyses.claims.evidence import NOT_RUN, Evidence, Results
from analyses.claims.public import MODELS, on_both

EMBEDDED = "embedded"
_HEAD = ("", "paper", "claim", EMBEDDED, *MODELS.values(), "both public models")
_INTRO = """# Claims of the three papers, and what was measured here

`python -m analyses.claims` writes this page from the tables in `analyses/results`; no number in it
was typed. Three models have a column each: the **embedded** one (1.1 million parameters, an
invented language with an exact judge, six behaviours; some rows are of five trainings of it),
**SmolLM2**-135M-Instruct and **Gemma**-3-270M. The two public models are never pooled: the last
column says "observed on both" only of what was observed on each. What was measured for a claim,
with intervals, stands [below](#what-was-measured) under its number.

The verdicts, the same words in every column:

- **observed**: the whole 95 % interval lies on the claimed side, or does so in more than half of
  the cells (behaviours, blocks) that are counted; of kinds of text, on prose, chat and code each.
  In a registered contrast: p below .05 after Holm, and the method of the claim is the better one;
- **not observed**: it does not. That is no refutation: the papers' models are up to four orders of
  magnitude larger, and their layers, prompts and judges are others. **The other way round**: the
  whole interval, or more than half of the cells, lie on the other side;
- **equivalent**, **undecided**: of [registered](registration.md) contrasts alone. The difference is
  within a margin that was fixed before; or the run cannot say;
- **cannot be tested here**: a model of this size, these tasks, or any measurement, cannot tell;
- **not run yet**: the table is still to be made.

A claim that makes several comparisons has the verdict of the one it does worst in. Intervals over
behaviours draw behaviours again (six, or five without `polarity`, which no difference of means
steers), those over several models draw models too; what the intervals of public models cover stands
in the registration. Blocks of one model are counted, they are not independent.

"""
_BASELINES = """
## Baselines beside them

No claim of the three papers, but registered beside theirs: two of the methods that they compare
with.

"""
_OURS = """
## What none of the papers has

Claims of this toolkit, held to the same words: will steering work, where, and on which prompts.

"""
_DETAILS = """
## What was measured

s is one length for all texts: that of the push that is to cost .1 nats per token, by its local
second-order estimate. |z| is the length of the stream at a text. A prediction of a block's change
has skill 1 if it makes no error, 0 if it errs as much as the identity does. The commands for Gemma
are those shown, with `--model gemma3`.
"""
_OUTRO = """
## The same rows on another model

The commands take `--model` (a hub name or a directory; the comparison of all methods takes
`--models`, several with commas) and most of them `--pairs` (named sets or files), for example

    python -m analyses.odesteer --model gpt2 --pairs my_pairs.jsonl --out out/odesteer
    python -m analyses.method_comparison --models gpt2,EleutherAI/pythia-70m \\
        --pairs my_pairs.jsonl --out out/method_comparison
    python -m analyses.claims --results out --out out/claims

where the folders in `out` carry the names of the analyses; what this page calls embedded is then
the model that they were run on. "Does not hold" should not be said before two public pretrained
models say so.
"""


@dataclass(frozen=True)
class Row:
    """A claim with what the tables say of it.

    Attributes:
        claim: The claim.
        embedded: On the embedded model.
        public: On each public model, in the order of `MODELS`.
    """

    claim: Claim
    embedded: Evidence
    public: tuple[Evidence, ...]

    @property
    def verdicts(self) -> tuple[str, ...]:
        """The words of the table: embedded, each public model, both."""
        public = [each.verdict for each in self.public]
        return (self.embedded.verdict, *public, on_both(public))

    @property
    def measured(self) -> list[tuple[str, Evidence]]:
        """Each model's name with its evidence; of models with the same evidence once."""
        named = [(EMBEDDED, self.embedded), *zip(MODELS.values(), self.public, strict=True)]
        return [
            (", ".join(name for name, _ in alike), found)
            for found, group in groupby(named, key=lambda each: each[1])
            for alike in [list(group)]
        ]


def page(
    rows: Sequence[Row],
    baselines: Sequence[Row],
    ours: Sequence[Row],
    results: Results,
    folder: str,
) -> str:
    """The whole page.

    Args:
        rows: The claims of the papers.
        baselines: Those of none of them.
        ours: Those of this toolkit.
        results: The tables; of studies and figures that lie there the page has links.
        folder: Where these lie, as seen from the page.
    """
    details = [_detail(row, results, folder) for row in (*rows, *baselines, *ours)]
    tables = [_table(rows), _BASELINES, _table(baselines), _OURS, _table(ours)]
    return "".join([_INTRO, *tables, _DETAILS, *details, _OUTRO])


def _table(rows: Sequence[Row]) -> str:
    lines = [f"| {' | '.join(_HEAD)} |", "|---" * len(_HEAD) + "|"]
    for row in rows:
        number, says = row.claim.number, row.claim.says.replace("|", "\\|")
        cells = (f"[{number}](#{number.lower()})", row.claim.paper, says, *row.verdicts)
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def _detail(row: Row, results: Results, folder: str) -> str:
    claim = row.claim
    lines = [f"\n### {claim.number}\n", f"{claim.paper}: {claim.says}.\n"]
    for name, found in row.measured:
        models = f", {found.models} models" if found.models > 1 else ""
        measured = f": {found.measured}" if found.measured else ""
        lines.append(f"- **{name}**{models}: *{found.verdict}*{measured}.")
    if claim.why:
        lines.append(f"\n{claim.why}")
    made = [*_made_by(claim, results, folder)]
    if made:
        lines.append(f"\nMade by {'; '.join(made)}.")
    return "\n".join(lines) + "\n"


def _made_by(claim: Claim, results: Results, folder: str) -> Iterator[str]:
    """The commands that make the tables, with links to what lies in the results."""
    if claim.study:
        yield _command(claim.study, "", results, folder)
    if claim.public and claim.public.study:
        study, figure = claim.public.study, claim.public.figure
        figures = [
            f"[{name}]({folder}/{study}/{model}/{figure})"
            for model, name in MODELS.items()
            if figure and (results.folder / study / model / figure).is_file()
        ]
        shown = f", figures: {', '.join(figures)}" if figures else ""
        options = f" --model {next(iter(MODELS))}{claim.public.options}"
        yield _command(study, options, results, folder) + shown


def _command(study: str, options: str, results: Results, folder: str) -> str:
    command = f"`python -m analyses.{study}{options}`"
    if not (results.folder / study / "README.md").is_file():
        return command
    return f"{command} ([study]({folder}/{study}/README.md))"


def rows_of(claims: Iterable[Claim], results: Results) -> list[Row]:
    """What the tables say of claims; that they were not run yet where a table is missing."""
    return [_row_of(claim, results) for claim in claims]


def _row_of(claim: Claim, results: Results) -> Row:
    public = tuple(_on_public(claim, results, model) for model in MODELS)
    try:
        return Row(claim, claim.rule(results), public)
    except FileNotFoundError as error:
        return Row(claim, _still_to_be_made(error, results), public)


def _on_public(claim: Claim, results: Results, model: str) -> Evidence:
    if claim.public is None:
        return Evidence("", 0, NOT_RUN)
    try:
        return claim.public.rule(results, model)
    except FileNotFoundError as error:
        return _still_to_be_made(error, results)


def _still_to_be_made(error: FileNotFoundError, results: Results) -> Evidence:
    missing = Path(str(error.filename)).relative_to(results.folder).as_posix()
    return Evidence(f"`{missing}` is still to be made", 0, NOT_RUN)
