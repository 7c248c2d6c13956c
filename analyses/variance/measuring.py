"""What one unit measures: every read position, layer and method made from one half of train."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

import lens_steer as ls
from analyses.registered.measuring import REFUSED, numbers, short
from analyses.variance.design import (
    CALIBRATED_ON,
    METHODS,
    NATS,
    Behaviour,
    Design,
    setting,
)
from analyses.variance.equal_nats import at_cost
from lens_steer.benchmark import FitCache
from lens_steer.data import Question, Questions
from lens_steer.evaluation import AnswerLikelihoods, FixedTexts, answer_log_probs, evaluate_each
from lens_steer.steering import Intervention

_TOGETHER = 36  # cells whose methods are measured in the same passes

Rows = list[dict[str, Any]]


@dataclass(frozen=True, eq=False)
class Bench:
    """One behaviour on one model: what all its cells share.

    Attributes:
        model: The model.
        behaviour: Its pairs and judge.
        design: The levels of the factors.
    """

    model: ls.SteerableModel
    behaviour: Behaviour
    design: Design

    @cached_property
    def texts(self) -> FixedTexts:
        """Unsteered texts along which all methods get one cost."""
        few = self.behaviour.dev.spread(CALIBRATED_ON)
        return FixedTexts.sample(self.model, few, decoding=self.design.decoding)

    @cached_property
    def questions(self) -> Questions:
        """The test pairs; the desired ending is the right choice."""
        few = self.behaviour.test.spread(self.design.prompts)
        sides = zip(few.desired, few.undesired, strict=True)
        return Questions(
            tuple(
                Question(a.prompt, (a.continuation, b.continuation), (True, False), a.group)
                for a, b in sides
            )
        )

    @cached_property
    def unsteered(self) -> AnswerLikelihoods:
        """The test pairs, unsteered."""
        return answer_log_probs(self.model, self.questions)

    def rows(self, fit: int) -> Rows:
        """Every cell of a fit: its strength, and what it changes in every test pair's preference.

        A cell that cannot be measured says why (`failure`).
        """
        cache = self.cache(fit)
        cells = self.design.cells()
        rows: Rows = []
        for i in range(0, len(cells), _TOGETHER):
            rows += self._measured(cells[i : i + _TOGETHER], cache)
        return rows

    def cache(self, fit: int) -> FitCache:
        """What methods of a fit are made of."""
        return FitCache(self.model, self.behaviour.half(fit, self.design.seed))

    def text_rows(self, fit: int, rows: Sequence[Mapping[str, Any]]) -> Rows:
        """Whether the texts of a fit show the behaviour, in the cells where they are written.

        Args:
            fit: Its number.
            rows: Those of the fit, with the strengths.
        """
        cache = self.cache(fit)
        wanted = [row for row in rows if "gain" in row and row["layer"] in self.design.text_layers]
        methods = [
            METHODS[row["method"]](cache, setting(row)).with_strength(row["strength"])
            for row in wanted
        ]
        shown = self._shown(methods)
        return [_cell(row) | {"shown": s} for row, s in zip(wanted, shown, strict=True)]

    def unsteered_row(self) -> dict[str, Any]:
        """The preference of every test pair without steering."""
        return {"preference": numbers(preferences(self.unsteered)[0])}

    def unsteered_texts(self) -> dict[str, Any]:
        """Whether unsteered texts show the behaviour."""
        return {"shown": self._shown([None])[0]}

    def _measured(self, cells: Sequence[dict[str, Any]], cache: FitCache) -> Rows:
        made = [_made(cell, cache) for cell in cells]
        usable = [i for i, method in enumerate(made) if isinstance(method, Intervention)]
        fair = at_cost(self.model, [made[i] for i in usable], self.texts, NATS)  # pyright: ignore[reportArgumentType]
        for i, method in zip(usable, fair, strict=True):
            made[i] = method
        rows: Rows = []
        for cell, method in zip(cells, made, strict=True):
            if isinstance(method, Intervention):
                rows.append(cell | {"strength": short(method.strength)})
            else:
                rows.append(cell | {"failure": method})
        usable = [i for i in usable if isinstance(made[i], Intervention)]
        steered: Any = [made[i] for i in usable]
        for i, gain in zip(usable, self._gains(steered), strict=True):
            finite = bool(gain.isfinite().all())
            rows[i] |= {"gain": numbers(gain)} if finite else {"failure": "breaks the model"}
        return rows

    def _gains(self, methods: Sequence[Intervention]) -> Float[Tensor, "method pair"]:
        """Change of each test pair's preference, nats per token."""
        if not methods:
            return torch.zeros(0, len(self.questions)).double()
        found = answer_log_probs(self.model, self.questions, methods, unsteered=self.unsteered)
        by_setting = preferences(found)
        return by_setting[1:] - by_setting[:1]

    def _shown(self, methods: Sequence[Any]) -> list[list[float]]:
        """Whether the text after each prompt shows the behaviour, under every method."""
        if not methods:
            return []
        few = self.behaviour.test.spread(self.design.text_prompts)
        how: Any = {"judge": self.behaviour.judge, "decoding": self.design.decoding}
        found = evaluate_each(self.model, few, methods, **how)
        # A text that breaks off (logits NaN or infinite) does not show the behaviour.
        return [numbers(torch.as_tensor(each.behaviour).double().nan_to_num(0.0)) for each in found]


def preferences(found: AnswerLikelihoods) -> Float[Tensor, "setting pair"]:
    """Log-probability per token of the desired less the undesired ending, in nats."""
    per_token = found.nats / torch.tensor(found.tokens).double()
    return per_token[..., 0] - per_token[..., 1]


def _made(cell: Mapping[str, Any], cache: FitCache) -> Intervention | str:
    """The method of a cell, or why there is none."""
    try:
        return METHODS[cell["method"]](cache, setting(cell))
    except REFUSED as error:
        return f"not made: {error}"


def _cell(row: Mapping[str, Any]) -> dict[str, Any]:
    """Which cell of a fit a row is of."""
    return {name: row[name] for name in ("read", "layer", "method")}
