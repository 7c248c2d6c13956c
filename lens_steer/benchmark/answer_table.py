"""What methods and controls do on multiple-choice questions, row by row."""

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import torch
from jaxtyping import Float
from torch import Tensor
from typing_extensions import override

from lens_steer.artifacts import savable
from lens_steer.evaluation import BinaryScores, ChoiceScores
from lens_steer.intervals import interval_of_each, proportion_interval
from lens_steer.reports import ROWS, Report, latex_table, screenful, shortened_in_the_middle

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

COSTS = ("kl_fixed", "reference_kl", "choices_kl", "least")
_METRICS = ("mc1", "mc2")


@savable
@dataclass(frozen=True, eq=False, repr=False)
class AnswerTable(Report):
    """How well questions are answered, unsteered, by controls and by methods; made by `run`.

    Attributes:
        name: What the set of questions is called.
        rows: The name of each row; the first is `unsteered`.
        scores: The scores of each row, all of the same questions.
        costs: For each row the nats of `AnswerCosts`, means over questions, in the order `kl_fixed
            reference_kl choices_kl least`; 0 for the unsteered model, NaN for controls that do not
            steer.
        notes: What was done to the questions, and which controls there are not.
        binary: Where all questions have the same two answers, the scores of each row by them, at a
            threshold fitted on other questions under the same method (0 for controls); empty
            otherwise.

    Example:
        >>> table = ls.benchmark.run("truthfulqa-mc", model, [method], data="TruthfulQA.csv")
        >>> table.table()[["method", "mc1", "mc1_low", "mc1_high", "kl_fixed"]]
    """

    name: str
    rows: tuple[str, ...]
    scores: tuple[ChoiceScores, ...]
    costs: Float[Tensor, "row cost"]
    notes: tuple[str, ...] = ()
    binary: tuple[BinaryScores, ...] = field(default=(), metadata={"saved_if_set": True})

    def __post_init__(self) -> None:
        if not self.rows or len(set(self.rows)) < len(self.rows):
            raise ValueError(f"got the rows {self.rows}, expected at least one, all of other names")
        shape = (len(self.rows), len(COSTS))
        if len(self.scores) != len(self.rows) or self.costs.shape != shape:
            raise ValueError(
                f"got {len(self.scores)} scores and costs of shape {list(self.costs.shape)}, "
                f"expected one for each of {len(self.rows)} rows, and {list(shape)}"
            )
        if self.binary and len(self.binary) != len(self.rows):
            raise ValueError(
                f"got {len(self.binary)} scores of two answers for {len(self.rows)} rows, expected "
                "one for each, or none"
            )
        first = self.scores[0]
        for row, scores in zip(self.rows, self.scores, strict=True):
            if scores.groups != first.groups or not torch.equal(scores.correct, first.correct):
                raise ValueError(f"the row {row!r} is of other questions than {self.rows[0]!r}")

    @override
    def table(self) -> "pd.DataFrame":
        """A row for each method: metrics, their change from unsteered, and costs.

        MC1 and MC2, and accuracy per token and per character, with their intervals and the paired
        differences from the first row. For two answers AUC, d', balanced accuracy at a threshold of
        other questions (NaN for controls, for which none was fitted), the share of the first
        answer at that threshold, and the mass on both answers. Mean nats of `AnswerCosts`.
        """
        import pandas as pd

        first, rows = self._values(self.scores[0]), []
        seed, keys = self.scores[0].seed, self.scores[0].groups
        groups = len(set(keys))
        for k, (name, scores) in enumerate(zip(self.rows, self.scores, strict=True)):
            row: dict[str, Any] = {"method": name, "questions": len(scores)}
            values = self._values(scores)
            changes = [values[metric] - first[metric] for metric in values]
            found = interval_of_each([*values.values(), *changes], keys, seed=seed)
            for metric, value, change in zip(values, found, found[len(values) :], strict=False):
                row |= proportion_interval(value, groups).columns(metric)
                row |= change.columns(f"{metric}_change")
            row |= self._two_answers(k) if self.binary else {}
            rows.append(row | dict(zip(COSTS, self.costs[k].tolist(), strict=True)))
        return pd.DataFrame(rows)

    @staticmethod
    def _values(scores: ChoiceScores) -> dict[str, Tensor]:
        return {
            "mc1": scores.mc1,
            "mc2": scores.mc2,
            "mc1_per_token": scores.per_token.mc1,
            "mc1_per_character": scores.per_character.mc1,
        }

    def _two_answers(self, k: int) -> dict[str, Any]:
        scores, first = self.binary[k], self.binary[0]
        row: dict[str, Any] = scores.table().to_dict("records")[0]
        unfitted = scores.threshold.fitted_accuracy != scores.threshold.fitted_accuracy
        for name in ("balanced", "balanced_low", "balanced_high", "threshold_nats"):
            row[name] = float("nan") if unfitted else row[name]
        skipped = ("answers", "questions", "accuracy", "accuracy_low", "accuracy_high")
        kept = {name: value for name, value in row.items() if name not in skipped}
        return kept | scores.auc_change(first).columns("auc_change")

    def brief(self) -> "pd.DataFrame":
        """The table in a few columns, each mean with its 95 % interval as text."""
        import pandas as pd

        def shown(row: Any, name: str) -> str:
            return f"{row[name]:.2f} [{row[f'{name}_low']:.2f}, {row[f'{name}_high']:.2f}]"

        whole = self.table().to_dict("records")
        names = ("mc1", "mc1_change", "mc2", "mc2_change")
        if self.binary:
            names = ("mc1", "auc", "auc_change")
        return pd.DataFrame(
            {
                "method": row["method"],
                **{name: shown(row, name) for name in names},
                **{name: f"{row[name]:.2f}" for name in ("first_share", "mass") if self.binary},
                "kl_fixed": "-" if row["kl_fixed"] != row["kl_fixed"] else f"{row['kl_fixed']:.3g}",
            }
            for row in whole
        )

    def markdown(self) -> str:
        """`brief` as a table in Markdown, with the notes under it."""
        table = self.brief()
        lines = ["| " + " | ".join(table.columns) + " |", "|---" * len(table.columns) + "|"]
        rows = [[str(x).replace("|", r"\|") for x in row] for row in table.to_numpy().tolist()]
        lines += ["| " + " | ".join(row) + " |" for row in rows]
        return "\n".join([*lines, "", *(f"- {note}" for note in self._said())]) + "\n"

    def latex(self) -> str:
        """`brief` as a LaTeX `tabular`, with the notes as comments above it."""
        table = self.brief()
        rows = [list(map(str, row)) for row in table.to_numpy().tolist()]
        return latex_table(list(table.columns), rows, self._said())

    def _said(self) -> list[str]:
        return [f"{self.name}: {len(self.scores[0])} questions, 95 % intervals", *self.notes]

    def __repr__(self) -> str:
        said = [shortened_in_the_middle(note) for note in self._said()]
        return "\n".join([*said, screenful(self.brief(), rows=max(1, ROWS - len(said)))])

    @override
    def figure(self) -> "Figure":
        """MC1 and MC2 of every row with their intervals; a line where the unsteered model is."""
        from lens_steer.figures import canvas

        table = self.table()
        with canvas(1, 2, width=6.4, height=1.0 + 0.24 * len(table), sharey=True) as (figure, axes):
            for panel, metric in zip(axes, _METRICS, strict=True):
                for y, row in enumerate(table.to_dict("records")):
                    ends = [[abs(row[metric] - row[f"{metric}{e}"])] for e in ("_low", "_high")]
                    panel.errorbar(row[metric], y, xerr=ends, fmt="o", color="C0", ms=4)
                panel.axvline(table[metric][0], color="k", ls=":", lw=0.8)
                panel.set(xlabel=f"{metric.upper()} (95 % interval)")
            labels = [
                f"{row['method']}, {row['kl_fixed']:.2g} nats"
                if row["kl_fixed"] > 0
                else row["method"]
                for row in table.to_dict("records")
            ]
            axes[0].set_yticks(range(len(table)), labels)
            axes[0].invert_yaxis()
        return figure
