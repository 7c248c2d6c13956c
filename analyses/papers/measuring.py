"""What a method does on one part of a task: a value for each question or answer."""

import re
import time
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import lens_steer as ls
from analyses.papers.fitting import Fitting
from analyses.papers.judging import lenient
from analyses.papers.presets import Preset, Row
from analyses.papers.tasks import ChoiceTask, Part, Task
from lens_steer.data import Questions
from lens_steer.evaluation import answer_log_probs, distinct, judgement_of
from lens_steer.models import render

Measured = list[dict[str, Any]]

_EXACT = "exact match"


def metrics_of(task: Task) -> tuple[str, ...]:
    """The names of what is measured, in the order of the table."""
    if isinstance(task, ChoiceTask):
        return (*((_EXACT,) if task.exact_match else ()), *task.metrics)
    assert task.judged is not None
    return (task.judged.metric, "Dist-1", "Dist-2", "Dist-3")


def measure(
    preset: Preset, task: Task, part: Part, fitting: Fitting, row: Row, seed: int
) -> Measured:
    """Every metric of one row on one part, a value for each question; NaN where there is none.

    Returns:
        A row for each metric: its name as `metric`, the `values`, and `unjudged`, the reason why a
        judge could not score some texts (which then are 0), each with how many there are.

    Raises:
        ValueError: If the method does not fit the model.
        NotFinite: If steering makes logits NaN or infinite.
    """
    methods = () if row.fit is None else (row.fit(fitting),)
    if isinstance(task, ChoiceTask):
        values = _of_choices(task, part, fitting.model, methods, row)
        return [{"metric": m, "values": v, "unjudged": {}} for m, v in values.items()]
    return _of_texts(preset, task, part, fitting.model, methods, row, seed)


def expected_seconds(preset: Preset, task: Task, part: Part, fitting: Fitting) -> float:
    """About how long one row of a part takes, its fit left out: measured on two questions."""
    few = replace(
        part,
        questions=None if part.questions is None else part.questions.first(2),
        prompts=part.prompts[:2],
        judge=None if part.judge is None else lenient(part.judge),
    )
    begun = time.perf_counter()
    measure(preset, task, few, fitting, preset.rows[0], seed=0)
    return (time.perf_counter() - begun) / len(few) * len(part)


def _of_choices(
    task: ChoiceTask, part: Part, model: ls.SteerableModel, methods: Sequence[Any], row: Row
) -> dict[str, list[float]]:
    assert part.questions is not None
    found = answer_log_probs(model, part.questions, methods, scope=row.scope)
    scores = found.scores(len(found) - 1)
    values = {name: metric(scores).tolist() for name, metric in task.metrics.items()}
    if not task.exact_match:
        return values
    longest = max(max(lengths) for lengths in found.tokens)
    matches = _exact_matches(model, part.questions, methods, row.scope, longest)
    return {_EXACT: matches, **values}


def _exact_matches(
    model: ls.SteerableModel,
    questions: Questions,
    methods: Sequence[Any],
    scope: ls.Scope,
    tokens: int,
) -> list[float]:
    """1 where the likeliest tokens are the right answer, as a whole word."""
    texts = ls.generate(
        model, questions.prompts, *methods, temperature=0.0, max_new_tokens=tokens, scope=scope
    )
    return [
        float(bool(re.match(re.escape(q.right.strip()) + r"(?!\w)", text.strip())))
        for q, text in zip(questions, texts, strict=True)
    ]


def _of_texts(
    preset: Preset,
    task: Task,
    part: Part,
    model: ls.SteerableModel,
    methods: Sequence[Any],
    row: Row,
    seed: int,
) -> Measured:
    assert preset.decoding is not None
    assert part.judge is not None
    settings = {name: getattr(preset.decoding, name) for name in preset.decoding.__annotations__}
    decoding = ls.Decoding(**settings | {"scope": row.scope, "seed": seed})
    texts = ls.generate(model, part.prompts, *methods, decoding=decoding)
    prompts = [render(model, prompt) for prompt in part.prompts]
    judged = judgement_of(part.judge, prompts, texts)
    spread = [[distinct([text], n) for text in texts] for n in (1, 2, 3)]
    metric, *others = metrics_of(task)
    return [
        {"metric": metric, "values": judged.scores.tolist(), "unjudged": judged.counts},
        *({"metric": m, "values": v, "unjudged": {}} for m, v in zip(others, spread, strict=True)),
    ]
