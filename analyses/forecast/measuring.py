"""What one cell measures: a task and a fold, as rows of plain JSON for the journal."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from torch import Tensor

import lens_steer as ls
from analyses.forecast.candidates import CAA, Candidate, candidates
from analyses.forecast.rules import parting_tokens, scores
from analyses.registered.measuring import numbers, short
from analyses.registered.tasks import FOLDS, Task
from lens_steer.activations import Activations, capture
from lens_steer.benchmark import FitCache, Journal, content, made_on
from lens_steer.data import ContrastivePairs
from lens_steer.evaluation import FixedTexts, OutOfReach, calibrate_along, evaluate_each
from lens_steer.forecasting import Forecast, margins
from lens_steer.steering import Decoding, Intervention

NATS = (0.03, 0.1, 0.3, 1.0)  # per token, along unsteered texts
TEXTS_AT = 0.1  # of these, at which texts are written
GENERATED_AT, GENERATED = 0.03, 16  # the rule of one generation: nats, and prompts
COST_PROMPTS = 8
_TEMPERATURE = 0.7


@dataclass(frozen=True, eq=False)
class Tested:
    """A task and the fold that is tested.

    Attributes:
        model: The model.
        task: The task.
        fold: The number of the fold.
        tokens: The largest number of tokens of each text.
        seed: Of everything that is drawn.
    """

    model: ls.SteerableModel
    task: Task
    fold: int
    tokens: int
    seed: int

    @cached_property
    def parts(self) -> tuple[ContrastivePairs, ContrastivePairs]:
        """The pairs that choices are made on, and those that they are judged by."""
        dev, folds = self.task.parts(self.seed)
        return dev, folds[self.fold]

    @property
    def decoding(self) -> Decoding:
        """How texts are written and steered."""
        return Decoding(temperature=_TEMPERATURE, max_new_tokens=self.tokens, seed=self.seed)


class Cell(Tested):
    """Forecasts of every candidate beside what it does."""

    def rows(self) -> list[dict[str, Any]]:
        """A row of the clean model, and one of every candidate that has a forecast."""
        cache = FitCache(self.model, self.task.train(self.seed, self.fold))
        made = candidates(cache, seed=self.seed)
        methods = {each.name: each.method for each in made}
        found = [self._forecast(pairs, methods) for pairs in self.parts]
        kept = [
            each for each in made if each.name in found[0].names and each.name in found[1].names
        ]
        rules = self._rules(cache, kept)
        strengths = self._strengths(kept)
        measured = [self._margins(pairs, kept, strengths) for pairs in self.parts]
        texts = self._texts(kept, [each[NATS.index(TEXTS_AT)] for each in strengths])
        rows: list[dict[str, Any]] = [
            {"candidate": "unsteered", "shown": [numbers(each[0]) for each in texts]}
            | {"margins": [numbers(f.margins) for f in found], "groups": self._groups}
        ]
        for i, each in enumerate(kept):
            foretold = [short(found[0].strength(each.name, k)) for k in NATS]
            rows.append(
                {"candidate": each.name, "family": each.family, "setting": dict(each.setting)}
                | {"foretold": foretold, "strengths": strengths[i]}
                | {"gains": [numbers(f.gains(each.name, 1.0)) for f in found]}
                | {"slopes": [numbers(f.slopes[f.names.index(each.name)]) for f in found]}
                | {"changes": [part[i] for part in measured]}
                | {"shown": [numbers(part[1 + i]) for part in texts]}
                | {"rules": rules.get(each.name, {})}
            )
        return rows

    @property
    def _groups(self) -> list[list[int]]:
        """A number for the group of each pair, of both parts."""
        every = [list(dict.fromkeys(pairs.groups)) for pairs in self.parts]
        return [
            [names.index(group) for group in pairs.groups]
            for names, pairs in zip(every, self.parts, strict=True)
        ]

    def _forecast(self, pairs: ContrastivePairs, methods: Mapping[str, Intervention]) -> Forecast:
        """Costs are those of the pairs that choices are made on, in both parts."""
        how: dict[str, Any] = {"cost_prompts": COST_PROMPTS, "progress": False}
        return ls.forecast(self.model, pairs, methods, decoding=self.decoding, **how)

    def _strengths(self, kept: Sequence[Candidate]) -> list[list[float | None]]:
        """The strength of every cost along unsteered texts; None where it is out of reach."""
        few = self.parts[0].spread(COST_PROMPTS)
        texts = FixedTexts.sample(self.model, few, decoding=self.decoding)
        return [[self._strength(each, texts, nats) for nats in NATS] for each in kept]

    def _strength(self, each: Candidate, texts: FixedTexts, nats: float) -> float | None:
        try:
            fair = calibrate_along(self.model, each.method, texts, kl=nats, progress=False)
        except OutOfReach:
            return None
        return short(fair.strength)

    def _margins(
        self,
        pairs: ContrastivePairs,
        kept: Sequence[Candidate],
        strengths: Sequence[Sequence[float | None]],
    ) -> list[list[list[float] | None]]:
        """The measured change of every margin, for each candidate and cost within reach."""
        steered = [
            each.method.with_strength(s)
            for each, of_costs in zip(kept, strengths, strict=True)
            for s in of_costs
            if s is not None
        ]
        values = margins(self.model, pairs, steered)
        changes = iter(values[1:] - values[0])
        return [
            [None if s is None else numbers(next(changes)) for s in of_costs]
            for of_costs in strengths
        ]

    def _texts(
        self, kept: Sequence[Candidate], strengths: Sequence[float | None]
    ) -> list[list[Tensor]]:
        """The behaviour of the texts of every prompt, unsteered first, of both parts.

        What cannot cost so much does nothing.
        """
        methods = [
            None if s is None else each.method.with_strength(s)
            for each, s in zip(kept, strengths, strict=True)
        ]
        how: dict[str, Any] = {"judge": self.task.judge, "decoding": self.decoding}
        return [
            [trial.behaviour for trial in evaluate_each(self.model, pairs, [None, *methods], **how)]
            for pairs in self.parts
        ]

    def _rules(self, cache: FitCache, kept: Sequence[Candidate]) -> dict[str, dict[str, float]]:
        """What simpler rules say of CAA at every layer."""
        dev = {read: self._activations(read) for read in cache.reads}
        parting = parting_tokens(self.model, cache.train)
        few = self.parts[0].spread(GENERATED)
        caa = [each for each in kept if each.family == CAA]
        found = self._forecast(few, {each.name: each.method for each in caa})
        weak = [each.method.with_strength(found.strength(each.name, GENERATED_AT)) for each in caa]
        how: dict[str, Any] = {"judge": self.task.judge, "decoding": self.decoding}
        tried = evaluate_each(self.model, few, weak, **how)
        rules = {}
        for each, trial in zip(caa, tried, strict=True):
            read = each.setting["read"]
            here = scores(self.model, each, cache.activations(read), dev[read], parting)
            here |= {"one generation": float(trial.share)}
            rules[each.name] = {name: short(value) for name, value in here.items()}
        return rules

    def _activations(self, read: Any) -> Activations:
        return capture(self.model, self.parts[0], "resid", read=read, progress=False)


@dataclass(frozen=True, eq=False)
class Run:
    """All cells of one model, and the journal that holds what has been measured.

    Attributes:
        model: The model.
        tasks: The tasks.
        tokens: The largest number of tokens of each text.
        seed: Of everything that is drawn.
        journal: What has been measured.
        cell: Makes what measures one, of the model, a task, a fold, `tokens` and `seed`.
        folds: How many folds of each task are tested, the first ones.
    """

    model: ls.SteerableModel
    tasks: Sequence[Task]
    tokens: int
    seed: int
    journal: Journal
    cell: Callable[..., Any] = Cell
    folds: int = FOLDS

    @classmethod
    def of(  # noqa: PLR0913 - all that a result depends on
        cls,
        model: ls.SteerableModel,
        tasks: Sequence[Task],
        tokens: int,
        seed: int,
        path: Path,
        cell: Callable[..., Any] = Cell,
        folds: int = FOLDS,
        **more: Any,
    ) -> "Run":
        """Begin a run, or go on with the one in the journal; `more` are other terms.

        Raises:
            ValueError: If the journal is of a run on other terms.
        """
        terms = made_on(model, []) | {"tokens": tokens, "seed": seed} | more
        return cls(model, tasks, tokens, seed, Journal(path, terms), cell, folds)

    def units(self) -> list[tuple[str, int]]:
        """Every fold of every task, the first folds first."""
        return [(task.name, fold) for fold in range(self.folds) for task in self.tasks]

    def measure(self) -> Iterator[tuple[str, int]]:
        """Measure what is missing, cell by cell; yields each when it has been kept."""
        by_name = {task.name: task for task in self.tasks}
        for name, fold in self.units():
            if (name, fold) not in self.journal.done:
                cell = self.cell(self.model, by_name[name], fold, self.tokens, self.seed)
                self.journal.add((name, fold), cell.rows())
            yield name, fold

    def cells(self) -> dict[tuple[str, int], list[dict[str, Any]]]:
        """The rows of every cell that has been measured, the unsteered one first."""
        wanted = set(self.units())
        found: dict[tuple[str, int], list[dict[str, Any]]] = {}
        for row in self.journal.rows:
            unit = (row["unit"][0], row["unit"][1])
            if unit in wanted:
                found.setdefault(unit, []).append(content(row))
        return found
