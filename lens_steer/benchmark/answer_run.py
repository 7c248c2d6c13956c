"""From a published file of multiple-choice questions to a table, in one call."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import torch

from lens_steer.arguments import Accepts, Count, FilePath, Positive, Seed, Text
from lens_steer.benchmark.answer_controls import answer_controls
from lens_steer.benchmark.answer_table import COSTS, AnswerTable
from lens_steer.benchmark.method_names import methods_by_name
from lens_steer.benchmark.published_data import load
from lens_steer.data import Questions, without_near_duplicates
from lens_steer.evaluation import (
    AnswerLikelihoods,
    FixedTexts,
    answer_costs,
    answer_log_probs,
    calibrate_along,
)
from lens_steer.models import SteerableModel
from lens_steer.sites import Site
from lens_steer.steering import Intervention, Scope, check_scope

_COST_PROMPTS = 48  # over which nats are measured
_CALIBRATION_PROMPTS, _CALIBRATION_TOKENS = 16, 32
_CONTROLS = ("answer bias", "no question", "another question", "shortest answer")


def run(  # noqa: PLR0913 - what is asked, what steers, and what it stands beside
    name: Text,
    model: SteerableModel,
    methods: Annotated[
        Sequence[Intervention] | Mapping[str, Intervention],
        Accepts(Sequence[Intervention] | Mapping[str, Intervention]),
    ],
    *,
    data: FilePath | Questions,
    train: FilePath | Questions | None = None,
    kl: Positive | None = None,
    limit: Count | None = None,
    controls: bool = True,
    instruction: str = "",
    learn_at: Site | None = None,
    scope: Scope = "last",
    sink: bool = False,
    seed: Seed = 0,
    progress: bool = True,
) -> AnswerTable:
    """Score a published set of multiple-choice questions, steered, unsteered and by controls.

    Questions that share five words in a row with one of `train` are left out, and counted in the
    notes. Nats are measured on at most 48 of the questions, `kl_fixed` along 32 unsteered tokens
    after each.

    Args:
        name: Of the set, as `load` takes it: `truthfulqa-mc`, `copa`, `sst2`, ...
        model: The model.
        methods: Methods, or methods by name; fit them on other questions than those of `data`.
        data: The file, as it is published, or questions that are read already.
        train: A file or questions that controls are fitted on, and methods calibrated; None splits
            the questions in halves by group and reports on the second.
        kl: Nats per token off the task that each method is calibrated to, along unsteered
            continuations of 16 prompts of `train`; None takes every method as it is.
        limit: How many questions are reported on, at most, spread evenly over the file.
        controls: Whether to add the rows of `answer_controls`.
        instruction: For the row `prompting`; empty leaves it out.
        learn_at: Where the row `learned vector` is learned, with gradients; None leaves it out.
        scope: Where methods steer, see `steered`.
        sink: See `steered`.
        seed: Of the split, the continuations, the controls and the intervals.
        progress: Whether to show bars.

    Raises:
        ValueError: If the file is of another set or has no questions to choose from, nothing
            remains to report on, or a method does not fit the model.
        OutOfReach: If a method cannot cost `kl`.

    Example:
        >>> files = {"data": "test.jsonl", "train": "train.jsonl"}
        >>> table = ls.benchmark.run("copa", model, [method], **files)
        >>> print(table.markdown())
    """
    named = {key: fits[0] for key, fits in methods_by_name(methods).items()}
    where = check_scope(scope, sink=sink)
    fit_on, test, notes = _parts(name, data, train, seed)
    if limit is not None and limit < len(test):
        test = _spread(test, limit)
        notes.append(f"{limit} of the questions, spread evenly")
    if kl is not None:
        texts = FixedTexts.sample(
            model,
            _spread(fit_on, _CALIBRATION_PROMPTS).pairs(),
            max_new_tokens=_CALIBRATION_TOKENS,
            scope=where,
            seed=seed,
        )
        named = {
            key: calibrate_along(model, method, texts, kl=kl, progress=progress)
            for key, method in named.items()
        }
        notes.append(f"calibrated to {kl:g} nats per token on {len(texts.texts)} prompts of train")
    found = _scored(model, test, named, where, progress=progress)
    paid = _costs(model, _spread(test, _COST_PROMPTS), named, where, seed)
    rows, scores = ["unsteered"], [found["unsteered"].scores(0, seed=seed)]
    costs = [torch.zeros(len(COSTS)).double()]
    if controls:
        beside = answer_controls(
            model,
            fit_on,
            test,
            instruction=instruction,
            site=learn_at,
            scope=where,
            seed=seed,
            progress=progress,
        )
        del beside["unsteered"]
        missing = [control for control in _CONTROLS if control not in beside]
        notes += [f"no row {', '.join(missing)}: the set has no such control"] * bool(missing)
        rows += beside
        scores += [one.scores(len(one) - 1, seed=seed) for one in beside.values()]
        costs += [torch.full((len(COSTS),), torch.nan).double()] * len(beside)
    rows += named
    scores += [found[key].scores(len(found[key]) - 1, seed=seed) for key in named]
    costs += [paid[key] for key in named]
    return AnswerTable(name, tuple(rows), tuple(scores), torch.stack(costs), tuple(notes))


def _parts(
    name: str,
    data: str | Path | Questions,
    train: str | Path | Questions | None,
    seed: int,
) -> tuple[Questions, Questions, list[str]]:
    """Questions to fit on and to report on, without near-duplicates, and what was done to them."""
    test, notes = _questions(name, data)
    if train is None:
        fit_on, test = test.split(0.5, 0.5, seed=seed)
        notes.append(f"train is half of the questions, drawn by group with seed {seed}")
    else:
        fit_on, more = _questions(name, train)
        notes += more
    distinct = without_near_duplicates(fit_on, test)
    if left := sum(distinct.left_out[1].values()):
        notes.append(f"{left} questions that nearly repeat one of train are left out")
    fit_on, test = distinct
    return fit_on, test, notes


def _questions(name: str, source: str | Path | Questions) -> tuple[Questions, list[str]]:
    if isinstance(source, Questions):
        return source, []
    found = load(name, source)
    if found.questions is None:
        raise ValueError(
            f"{name!r} has no questions to choose from, expected a set of multiple choice such as "
            "'truthfulqa-mc' or 'copa'"
        )
    rows = sum(found.left_out.values())
    return found.questions, [f"{rows} rows of {source} could not be used"] * bool(rows)


def _spread(questions: Questions, n: int) -> Questions:
    """At most `n` questions, evenly spaced."""
    total = len(questions)
    kept = range(total) if n >= total else [i * total // n for i in range(n)]
    return replace(questions, items=tuple(questions[i] for i in kept))


def _scored(
    model: SteerableModel,
    test: Questions,
    named: Mapping[str, Intervention],
    scope: Scope,
    *,
    progress: bool,
) -> dict[str, AnswerLikelihoods]:
    """Likelihoods by name; methods whose first layer is the same share a call."""
    found = {"unsteered": answer_log_probs(model, test, scope=scope, progress=progress)}
    by_layer: dict[int, list[str]] = {}
    for key, method in named.items():
        by_layer.setdefault(min(site.layer for site in method.sites), []).append(key)
    for keys in by_layer.values():
        settings = [named[key] for key in keys]
        of_layer = answer_log_probs(model, test, settings, scope=scope, progress=progress)
        for k, key in enumerate(keys, start=1):
            found[key] = replace(
                of_layer, settings=((), of_layer.settings[k]), nats=of_layer.nats[[0, k]]
            )
    return found


def _costs(
    model: SteerableModel,
    questions: Questions,
    named: Mapping[str, Intervention],
    scope: Scope,
    seed: int,
) -> dict[str, torch.Tensor]:
    """Mean nats of each method, in the order of `COSTS`."""
    likelihoods = answer_log_probs(model, questions, list(named.values()), scope=scope)
    costs = answer_costs(model, likelihoods, scope=scope, seed=seed)
    means = [costs.kl_fixed, *(getattr(costs, name).mean(dim=1) for name in COSTS[1:])]
    return dict(zip(named, torch.stack(means, dim=1)[1:], strict=True))
