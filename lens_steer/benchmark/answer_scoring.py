"""What is read for an `AnswerTable`: the model without steering, controls, and methods."""

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from time import monotonic
from typing import Any

import torch
from tqdm.auto import tqdm

from lens_steer.benchmark.answer_controls import answer_controls
from lens_steer.benchmark.answer_rows import KeptRows, costs_of, likelihoods_of, row_of, spread
from lens_steer.benchmark.answer_table import COSTS, AnswerTable
from lens_steer.benchmark.two_answers import answers_of, fitted_threshold, two_answer_scores
from lens_steer.data import Questions
from lens_steer.evaluation import (
    AnswerLikelihoods,
    FixedTexts,
    answer_log_probs,
    calibrate_along,
)
from lens_steer.models import SteerableModel
from lens_steer.sites import Site
from lens_steer.steering import Intervention, Scope

_COST_QUESTIONS = 48  # over which nats are measured
_THRESHOLD_QUESTIONS = 200  # of train, on which a threshold is fitted
_CALIBRATION_PROMPTS, _CALIBRATION_TOKENS = 16, 32
CONTROLS = ("answer bias", "no question", "another question", "shortest answer")
_UNKNOWN = [float("nan")] * len(COSTS)


@dataclass(frozen=True)
class AnswerScoring:
    """What is scored, and how; results are made once and kept row by row.

    Attributes:
        model: The model.
        fit_on: Questions that controls and thresholds are fitted on, and methods calibrated.
        test: Questions that are reported on.
        scope: Where methods steer.
        kl: Nats per token that methods are calibrated to; None takes them as they are.
        controls: Whether there are rows of controls.
        instruction: For the row `prompting`; empty leaves it out.
        learn_at: Where the row `learned vector` is learned; None leaves it out.
        seed: Of continuations, controls and intervals.
        progress: Whether to say what is read, and show bars.
    """

    model: SteerableModel
    fit_on: Questions
    test: Questions
    scope: Scope
    kl: float | None
    controls: bool
    instruction: str
    learn_at: Site | None
    seed: int
    progress: bool

    def table(
        self, name: str, named: Mapping[str, Intervention], notes: list[str], kept: KeptRows
    ) -> AnswerTable:
        """The table: the unsteered model first, then controls, then methods."""
        methods = self._calibrated(named, notes, kept)
        begun = monotonic()
        fresh = ("unsteered",) not in kept
        [row] = kept.get(("unsteered",), self._unsteered)
        plain = likelihoods_of(row, None, self.test)
        if self.progress and fresh:
            self._announce(name, len(methods), monotonic() - begun)
        rows = {"unsteered": row | {"costs": [0.0] * len(COSTS)}}
        if self.controls:
            made = kept.get(("controls",), lambda: self._controls(plain))
            rows |= {one["row"]: one for one in made}
            missing = [control for control in CONTROLS if control not in rows]
            notes += [f"no row {', '.join(missing)}: the set has no such control"] * bool(missing)
        by_layer: dict[int, list[str]] = {}
        for key, method in methods.items():
            by_layer.setdefault(min(site.layer for site in method.sites), []).append(key)
        scored: dict[str, dict[str, Any]] = {}
        for layer, keys in by_layer.items():  # what begins at one layer shares what is before it
            settings = {key: methods[key] for key in keys}
            made = kept.get(("methods", str(layer)), partial(self._steered, settings, plain))
            scored |= {one["row"]: one for one in made}
        rows |= {key: scored[key] for key in methods}
        found = [likelihoods_of(one, None, self.test) for one in rows.values()]
        return AnswerTable(
            name,
            tuple(rows),
            tuple(one.scores(0, seed=self.seed) for one in found),
            torch.tensor([one.get("costs", _UNKNOWN) for one in rows.values()]).double(),
            tuple(notes),
            two_answer_scores(found, [one.get("threshold") for one in rows.values()], self.seed),
        )

    def _calibrated(
        self, named: Mapping[str, Intervention], notes: list[str], kept: KeptRows
    ) -> dict[str, Intervention]:
        """The methods at the strength that costs `kl`, or as they are."""
        if self.kl is None:
            return dict(named)
        prompts = spread_over_groups(self.fit_on, _CALIBRATION_PROMPTS)
        notes.append(f"calibrated to {self.kl:g} nats per token on {len(prompts)} prompts of train")
        strengths = kept.get(("strengths",), lambda: self._strengths(named, prompts))
        return {one["row"]: named[one["row"]].with_strength(one["strength"]) for one in strengths}

    def _strengths(
        self, named: Mapping[str, Intervention], prompts: Questions
    ) -> list[dict[str, Any]]:
        assert self.kl is not None
        texts = FixedTexts.sample(
            self.model,
            prompts.pairs(),
            max_new_tokens=_CALIBRATION_TOKENS,
            scope=self.scope,
            seed=self.seed,
        )
        rows = []
        for key, method in named.items():
            ready = calibrate_along(self.model, method, texts, kl=self.kl, progress=self.progress)
            rows.append({"row": key, "strength": ready.strength})
        return rows

    def _announce(self, name: str, methods: int, seconds: float) -> None:
        """What is going to be read and how long it takes, judged by the unsteered model."""
        readings = (
            methods + 4 * self.controls + bool(self.instruction) + (self.learn_at is not None)
        )
        minutes = readings * seconds / 60
        choices = sum(len(question.choices) for question in self.test)
        costs = min(_COST_QUESTIONS, len(self.test))
        tqdm.write(
            f"{name}: {len(self.test)} questions with {choices} choices, read unsteered in "
            f"{seconds:.0f} s; {readings} more readings, about {minutes:.1f} minutes, and nats "
            f"over {costs} questions",
            file=sys.stderr,
        )

    def _read(
        self, questions: Questions, methods: Sequence[Intervention], **options: Any
    ) -> AnswerLikelihoods:
        return answer_log_probs(
            self.model, questions, methods, scope=self.scope, progress=self.progress, **options
        )

    def _unsteered(self) -> list[dict[str, Any]]:
        row = row_of(self._read(self.test, ()), 0) | {"row": "unsteered"}
        answers = answers_of(self.test)
        if answers is None:
            return [row]
        return [row | {"threshold": fitted_threshold(self._read(self._of_train, ()), 0, answers)}]

    def _controls(self, plain: AnswerLikelihoods) -> list[dict[str, Any]]:
        beside = answer_controls(
            self.model,
            self.fit_on,
            self.test,
            instruction=self.instruction,
            site=self.learn_at,
            scope=self.scope,
            unsteered=plain,
            seed=self.seed,
            progress=self.progress,
        )
        del beside["unsteered"]
        rows = [row_of(found, len(found) - 1) | {"row": key} for key, found in beside.items()]
        if "learned vector" in beside:  # it steers, and pays for it
            rows[-1]["costs"] = self._costs(beside["learned vector"])[1]
        return rows

    def _steered(
        self, methods: Mapping[str, Intervention], plain: AnswerLikelihoods
    ) -> list[dict[str, Any]]:
        found = self._read(self.test, list(methods.values()), unsteered=plain)
        costs = self._costs(found)
        rows = [
            row_of(found, k) | {"row": key, "costs": costs[k]}
            for k, key in enumerate(methods, start=1)
        ]
        answers = answers_of(self.test)
        if answers is not None:
            of_train = self._read(self._of_train, list(methods.values()))
            for k, row in enumerate(rows, start=1):
                row["threshold"] = fitted_threshold(of_train, k, answers)
        return rows

    def _costs(self, found: AnswerLikelihoods) -> list[list[float]]:
        costs = costs_of(self.model, found, _COST_QUESTIONS, self.scope, self.seed)
        return costs.tolist()

    @property
    def _of_train(self) -> Questions:
        return spread_over_groups(self.fit_on, _THRESHOLD_QUESTIONS)


def spread_over_groups(questions: Questions, n: int) -> Questions:
    """At most `n` questions, evenly spread over their groups, all of a group before the next."""
    groups = list(dict.fromkeys(q.group or str(i) for i, q in enumerate(questions)))
    of_group = {group: k for k, group in enumerate(groups)}
    order = sorted(range(len(questions)), key=lambda i: of_group[questions[i].group or str(i)])
    kept = sorted(order[place] for place in spread(len(order), n))
    return replace(questions, items=tuple(questions[i] for i in kept))
