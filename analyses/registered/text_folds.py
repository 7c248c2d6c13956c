"""A fold whose measure is what is written: texts after the test prompts, judged."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar

from torch import Tensor
from typing_extensions import override

import lens_steer as ls
from analyses.registered.measuring import SEEDS, Fold, Rows, numbers, short
from analyses.registered.tasks import Task
from lens_steer.evaluation import Evaluation, evaluate_each


@dataclass(frozen=True, eq=False)
class TextFold(Fold):
    """A fold of a task whose texts are judged."""

    seeds: ClassVar[int] = SEEDS

    task: Task

    @property
    def how(self) -> dict[str, Any]:
        """How texts are written and judged."""
        return {"judge": self.task.judge, "decoding": self.terms.decoding}

    @override
    def tested(self, rows: Rows, methods: Sequence[Any], k: int = 0) -> Rows:
        """The rows with what the methods do to the test prompts, with seed k."""
        if not rows:
            return []
        how = {"judge": self.task.judge, "decoding": self.terms.again(k)}
        found = evaluate_each(self.model, self.test, methods, **how)
        rows = [row_of(row | {"seed": k}, each) for row, each in zip(rows, found, strict=True)]
        if self.task.likelihood and k == 0:
            for row, method in zip(rows, methods, strict=True):
                gain = ls.preference(self.model, self.test, method) - self._plain_test
                row["test_gain"] = numbers(gain)
        return rows

    @cached_property
    def _plain_test(self) -> Tensor:
        return ls.preference(self.model, self.test)


def row_of(head: Mapping[str, Any], found: Evaluation) -> dict[str, Any]:
    """What a journal keeps of one evaluation: every item, its group's number and text."""
    costs: Any = found.text_costs
    names = list(dict.fromkeys(found.groups))
    return {
        **head,
        "behaviour": numbers(found.behaviour),
        "groups": [names.index(group) for group in found.groups],
        "kl": numbers(costs.kl),
        "tokens": [int(n) for n in costs.draws.tolist()],
        "unjudged": sum(map(bool, found.unjudged)),
        "repetition": short(found.repetition),
        "perplexity": short(found.perplexity),
        "broken": found.failure,
        "texts": list(found.texts),
    }
