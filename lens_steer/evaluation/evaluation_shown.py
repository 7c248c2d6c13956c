"""An evaluation on one screen: its quantities with their intervals, and the first texts."""

from html import escape
from math import isfinite
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from lens_steer.intervals import (
    Interval,
    group_sums,
    interval,
    proportion_interval,
    ratio_interval,
)
from lens_steer.reports import WIDTH, short_repr, shortened_in_the_middle
from lens_steer.token_colours import visible

if TYPE_CHECKING:
    import pandas as pd

_SEED = 0  # of the intervals that are printed
_TEXTS = 8  # on one screen
_NAME = 18  # letters of the names on the left


def summary_of(trial: Any, seed: int) -> "pd.DataFrame":
    """A row for each quantity of an `Evaluation`: see its `summary`."""
    import pandas as pd

    behaviour = trial.interval(seed=seed)
    rows = [_row("behaviour", behaviour, f"mean over {_several(trial.behaviour, 'example')}")]
    rows += _cost_rows(trial, seed)
    empty = f"empty, not well formed or broken off, of {_several(trial.texts, 'text')}"
    rows.append(_row("failed", _share(trial.failed, trial, seed), empty))
    if trial.unjudged:
        reasons = torch.tensor([bool(reason) for reason in trial.unjudged])
        why = "texts that the judge could not score: they count as 0"
        rows.append(_row("unjudged", _share(reasons, trial, seed), why))
    rows.append(_row("repetition", _alone(trial.repetition), "trigrams that were there before"))
    return pd.DataFrame(rows)


def screen_of(trial: Any) -> str:
    """What `print` shows of an `Evaluation`."""
    if not _measurable(trial):
        return short_repr(trial)
    counted = f"{_several(trial.behaviour, 'score')}, {_several(set(trial.groups), 'group')}"
    lines = [f"Evaluation: {_several(trial.texts, 'text')}, {counted}"]
    for name, *numbers, note in summary_of(trial, _SEED).itertuples(index=False):
        lines.append(f"{name:{_NAME}}{_number(Interval(*numbers)):26}{note}")
    one = len(set(trial.groups)) == 1  # of which nothing can be drawn again
    drawn = f"95 % intervals: groups drawn again, seed {_SEED}"
    lines.append("no intervals: they take 2 groups" if one else drawn)
    if trial.failure:
        lines.append(shortened_in_the_middle(f"failure: {visible(trial.failure)}", WIDTH))
    lines += [shortened_in_the_middle(line, WIDTH) for line in _first_texts(trial)]
    more = len(trial.texts) - _TEXTS
    return "\n".join([*lines, f"... {more} more texts"] if more > 0 else lines)


def line_of(trial: Any) -> str:
    """An `Evaluation` on one line, as in a list of them."""
    if not _measurable(trial):
        return short_repr(trial)
    costs = [] if trial.text_costs is None else [f"{_digits(trial.kl)} nats per token"]
    parts = [
        f"behaviour {_number(trial.interval(seed=_SEED))}",
        *costs,
        f"perplexity {_digits(trial.perplexity)}",
        _several(trial.texts, "text"),
        *(["failed"] if trial.failure else []),
    ]
    return f"Evaluation({', '.join(parts)})"


def html_of(trial: Any) -> str:
    """What a notebook shows of an `Evaluation`: the same as a table, with the first texts."""
    if not _measurable(trial):
        return f"<p>{escape(short_repr(trial))}</p>"
    lines = [
        f"<tr><th>{escape(str(name))}</th><td>{_number(Interval(*numbers))}</td>"
        f"<td style='text-align:left'>{escape(note)}</td></tr>"
        for name, *numbers, note in summary_of(trial, _SEED).itertuples(index=False)
    ]
    texts = "".join(
        f"<tr><td style='text-align:left'>{escape(line)}</td></tr>" for line in _first_texts(trial)
    )
    more = len(trial.texts) - _TEXTS
    failure = f"<p>failure: {escape(visible(trial.failure))}</p>" if trial.failure else ""
    return (
        f"<b>Evaluation</b>, 95 % intervals over groups, seed {_SEED}"
        f"<table>{''.join(lines)}</table>{failure}<table>{texts}</table>"
        f"{f'<p>... {more} more texts</p>' if more > 0 else ''}"
    )


def _measurable(trial: Any) -> bool:
    """Whether means can be taken: one that was made by hand may lack texts or groups."""
    texts = len(_groups(trial)) == len(trial.texts) > 0
    return texts and len(trial.groups) == len(trial.behaviour) > 0


def _cost_rows(trial: Any, seed: int) -> list[dict[str, Any]]:
    """What the texts cost, and how long they are; without costs the perplexity alone."""
    costs, note = trial.text_costs, "of the texts under the unsteered model"
    if costs is None:
        return [_row("perplexity", _alone(trial.perplexity), note)]
    median, high = trial.kl_quantiles
    surprise = _ratio(costs.surprise, costs.tokens, trial, seed)
    perplexity = Interval(*(float(np.exp(x)) for x in (surprise.mean, surprise.low, surprise.high)))
    quantiles = f"median {_digits(median)}, 95 % of texts below {_digits(high)}"
    broken = bool(costs.kl.isnan().any())
    nats = "unknown: texts are greedy or broken off" if broken else "KL(steered || unsteered)"
    quantiles = "" if broken else quantiles
    return [
        _row("nats per token", _ratio(costs.kl, costs.draws, trial, seed), nats),
        _row("nats per text", _mean(costs.kl, trial, seed), quantiles),
        _row("perplexity", perplexity, note),
        _row("tokens per text", _mean(costs.tokens, trial, seed), "the end not counted"),
    ]


def _row(name: str, value: Interval, note: str) -> dict[str, Any]:
    return {"quantity": name, **value.columns("value"), "note": note}


def _groups(trial: Any) -> tuple[Any, ...]:
    """Of the texts; made by hand without them, each text is by itself."""
    return trial.text_groups or tuple(range(len(trial.texts)))


def _mean(values: torch.Tensor, trial: Any, seed: int) -> Interval:
    return interval(values.double(), _groups(trial), seed=seed)


def _ratio(above: torch.Tensor, below: torch.Tensor, trial: Any, seed: int) -> Interval:
    return ratio_interval(*group_sums(above.numpy(), below.numpy(), _groups(trial)), seed=seed)


def _share(marks: torch.Tensor, trial: Any, seed: int) -> Interval:
    return proportion_interval(_mean(marks, trial, seed), len(set(_groups(trial))))


def _alone(value: float) -> Interval:
    return Interval(value, float("nan"), float("nan"))


def _first_texts(trial: Any) -> list[str]:
    """The first texts, with their scores where there is one score for each."""
    scores = trial.behaviour.tolist()
    paired = len(scores) == len(trial.texts)
    return [
        f"[{i}] {f'{_digits(scores[i])} ' if paired else ''}{text!r}"
        for i, text in enumerate(trial.texts[:_TEXTS])
    ]


def _number(value: Interval) -> str:
    return str(value) if isfinite(value.low) else _digits(value.mean)


def _digits(value: float) -> str:
    return f"{value:.3g}" if value == value else "-"


def _several(values: Any, name: str) -> str:
    return f"1 {name}" if len(values) == 1 else f"{len(values)} {name}s"
