"""The command of the study: `python -m analyses.where_nats_go`."""

from collections.abc import Sequence
from typing import Annotated, Any

import analyses.where_nats_go as study
from analyses.studies import Run, Study, Tables, start
from analyses.where_nats_go.figures import means_figure
from analyses.where_nats_go.measuring import METHODS, MODEL, Measuring
from analyses.where_nats_go.tables import TOKENWISE, layers_table, parts_table, with_means
from lens_steer.arguments import Count
from lens_steer.benchmark import Journal, content, made_on
from lens_steer.cli import option
from lens_steer.organism import ExactJudge

PromptCount = Annotated[
    int, option(Count, "At most so many test prompts of each set of pairs.", metavar="INTEGER")
]
TextCount = Annotated[
    int,
    option(
        Count,
        "Texts of each prompt and method; of the model four times as many.",
        metavar="INTEGER",
    ),
]


def measure(run: Run, pairs: str, *, prompts: PromptCount = 16, texts: TextCount = 16) -> Tables:
    """The tables of one set of pairs; units that the journal holds are not measured again."""
    marks = made_on(run.model, []) | {"seed": run.seed, "prompts": prompts, "texts": texts}
    journal = Journal(run.out / "units.jsonl", marks)
    measuring = Measuring(run.behaviour(pairs), texts, run.seed, prompts)
    for unit in (MODEL, *METHODS):
        if (pairs, unit) not in journal.done:
            journal.add((pairs, unit), measuring.rows(unit))
    rows = [content(row) for row in journal.rows if row["unit"][0] == pairs]
    found = {"parts": parts_table(rows, run.seed), "layers": layers_table(rows, run.seed)}
    return {name: table.assign(behaviour_set=pairs) for name, table in found.items()}


def prepare(run: Run, names: Sequence[str], **options: Any) -> None:
    """Refuse sets of pairs that have no exact judge.

    Raises:
        ValueError: If there is one.
    """
    del options
    for name in names:
        if not isinstance(run.behaviour(name).judge, ExactJudge):
            raise ValueError(f"--pairs {name}: expected organism:*, whose judge is exact")


STUDY = Study(
    name="where_nats_go",
    manual=study.__doc__ or "",
    measure=measure,
    prepare=prepare,
    figures={"means": means_figure},
    columns={"means": ["method", "asked", *TOKENWISE], "layers": []},
    complete=with_means,
)

if __name__ == "__main__":
    start(STUDY.command())
