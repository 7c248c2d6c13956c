"""A table in Markdown, LaTeX and CSV: what was measured beside what the paper prints."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd
import torch

import lens_steer as ls
from analyses.papers.measuring import metrics_of
from analyses.papers.presets import Preset
from analyses.papers.published_numbers import OTHER_QUANTITY, published
from lens_steer.intervals import interval, proportion_interval
from lens_steer.reports import latex_table

_MISSING = "-"


@dataclass(frozen=True)
class Measured:
    """The cells of a table and what stands under it.

    Attributes:
        columns: The headings.
        cells: A row of texts for each task, metric and row.
        notes: Which model it was, what the table rests on, and what was not run.
    """

    columns: tuple[str, ...]
    cells: tuple[tuple[str, ...], ...]
    notes: tuple[str, ...]

    def markdown(self, title: str) -> str:
        """The table in Markdown, its notes as a list under it."""
        lines = [f"# {title}", "", _row(self.columns), "|" + " --- |" * len(self.columns)]
        lines += map(_row, self.cells)
        return "\n".join([*lines, "", *(f"- {note}" for note in self.notes)]) + "\n"

    def latex(self, title: str) -> str:
        """The table as a LaTeX `tabular`, its notes as comments above it."""
        return latex_table(self.columns, self.cells, (title, *self.notes))


def numbers(
    preset: Preset, key: str, rows: Sequence[dict[str, Any]], seed: int, judge: str = ""
) -> pd.DataFrame:
    """Means in percent with 95 % intervals over questions, and the published numbers.

    Args:
        preset: The table.
        key: Paper and table, as in `published_numbers`.
        rows: What `running.run` returns.
        seed: Of the intervals.
        judge: What the judge of texts is called; empty for the stand-in of the table.
    """
    table = []
    for task in preset.tasks:
        for metric in metrics_of(task):
            plain = _values(rows, task.name, preset.rows[0].name, metric)
            texts = task.judged is not None and metric == task.judged.metric
            by = (judge or task.judged.stand_in) if task.judged and texts else ""
            for row in preset.rows:
                values = _values(rows, task.name, row.name, metric)
                number = published(key, task.name, row.name, metric)
                found: dict[str, Any] = {"task": task.name, "method": row.name, "metric": metric}
                found |= {"questions": len(values), "undefined": int(values.isnan().sum())}
                found |= _means(values, plain, seed)
                unjudged = _unjudged(rows, task.name, row.name, metric)
                found |= {"judge": by, "unjudged": sum(unjudged.values())}
                found["why_unjudged"] = "; ".join(f"{n} x {why}" for why, n in unjudged.items())
                found["published"] = number.value if number else float("nan")
                found["source"] = number.source if number else ""
                found["failed"] = _failure(rows, task.name, row.name)
                table.append(found)
    return pd.DataFrame(table)


def written(
    preset: Preset, table: pd.DataFrame, model_line: str, label: str, notes: Sequence[str]
) -> Measured:
    """The table as text.

    Args:
        preset: Of the table.
        table: What `numbers` gives.
        model_line: Which model it was.
        label: `dequantised from Q4_1` or the like, which then heads the column of what was
            measured; empty for weights as they were published.
        notes: More of what is to be said.
    """
    here = f"measured, % [95 %]{f' ({label})' if label else ''}"
    columns = ("task", "metric", "method", here, "change", f"published ({preset.model})")
    cells = []
    for row in table.to_dict("records"):
        other = " (other quantity)" if row["metric"] in OTHER_QUANTITY else ""
        missing = row["published"] != row["published"]
        cells.append(
            (
                row["task"],
                f"{row['metric']}, by {row['judge']}" if row["judge"] else row["metric"],
                row["method"],
                "failed" if row["failed"] else _shown(row, ""),
                _MISSING if row["failed"] or row["method"] == preset.rows[0].name
                else _shown(row, "change_"),
                _MISSING if missing else f"{row['published']:.2f}{other}",
            )
        )  # fmt: skip
    metrics = dict.fromkeys(table["metric"])
    said = [
        f"Model: {model_line}.",
        f"Published numbers are of {preset.model}, not of this model, and are no target for it; "
        "- is a number that the paper does not have or that is not at hand.",
        "Intervals are 95 % over questions; changes are paired, in points. (18 of 20): two have no "
        "value, as a text is too short for n-grams or logits were not finite.",
        *notes,
        *(f"{metric}: {OTHER_QUANTITY[metric]}." for metric in metrics if metric in OTHER_QUANTITY),
        *(
            f"{r['unjudged']} of {r['questions']} texts of {r['method']} could not be judged and "
            f"count as 0 ({r['why_unjudged']})."
            for r in table.to_dict("records")
            if r["unjudged"]
        ),
        *(f"{row.name}: {row.note}." for row in preset.rows if row.note),
        *(f"{fact}." for fact in preset.facts),
        *(f"Not run: {one}." for one in preset.not_run),
        *(
            f"Failed: {r['method']}, {r['failed']}."
            for r in table.to_dict("records")
            if r["failed"]
        ),
    ]
    return Measured(columns, tuple(cells), tuple(dict.fromkeys(said)))


def model_label(model: ls.SteerableModel) -> str:
    """Whether weights were dequantised or are quantised, in words; empty if neither."""
    weights = ls.describe(model).weights
    return "" if weights == "weights as they were published" else weights


def _values(rows: Sequence[dict[str, Any]], task: str, row: str, metric: str) -> torch.Tensor:
    parts = [
        each["values"]
        for each in rows
        if (each["unit"][0], each["unit"][2], each["metric"]) == (task, row, metric)
    ]
    return torch.tensor([value for part in parts for value in part], dtype=torch.float64)


def _unjudged(rows: Sequence[dict[str, Any]], task: str, row: str, metric: str) -> dict[str, int]:
    """How many texts a judge could not score, by reason."""
    counts: Counter[str] = Counter()
    for each in rows:
        if (each["unit"][0], each["unit"][2], each["metric"]) == (task, row, metric):
            counts.update(each.get("unjudged", {}))
    return dict(counts)


def _failure(rows: Sequence[dict[str, Any]], task: str, row: str) -> str:
    found = [r["failed"] for r in rows if (r["unit"][0], r["unit"][2]) == (task, row)]
    return next(filter(None, found), "")


def _means(values: torch.Tensor, plain: torch.Tensor, seed: int) -> dict[str, float]:
    """The mean with its interval, and the paired change from the unsteered model, in percent."""
    defined = values[~values.isnan()]
    names = ("mean", "low", "high", "change_mean", "change_low", "change_high")
    if not len(defined):
        return dict.fromkeys(names, float("nan"))
    found = proportion_interval(interval(defined, seed=seed), len(defined))
    ends = [found.mean, found.low, found.high]
    change = values - plain if len(values) == len(plain) else values[:0]
    change = change[~change.isnan()]
    if len(change):
        paired = interval(change, seed=seed)
        ends += [paired.mean, paired.low, paired.high]
    return {name: 100 * x for name, x in zip(names, [*ends, *[float("nan")] * 3], strict=False)}


def _shown(row: dict[str, Any], prefix: str) -> str:
    sign = "+" if prefix else ""
    mean, low, high = (row[f"{prefix}{end}"] for end in ("mean", "low", "high"))
    if mean != mean:
        return _MISSING
    ends = "" if low != low else f" [{low:{sign}.2f}, {high:{sign}.2f}]"  # one value has none
    some = f" ({row['questions'] - row['undefined']} of {row['questions']})"
    return f"{mean:{sign}.2f}{ends}{some if row['undefined'] else ''}"


def _row(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cell.replace("|", r"\|") for cell in cells) + " |"
