"""What one unit measures: a recommendation in one cell, and the texts that its method writes."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from time import process_time
from typing import Any

import numpy as np

import lens_steer as ls
from analyses.forecast.measuring import COST_PROMPTS, TEXTS_AT, Cell
from analyses.registered.measuring import numbers, short
from analyses.registered.tasks import FOLDS, Task
from analyses.studies import selected
from lens_steer.benchmark import FAMILIES, FitCache, Journal, content, made_on
from lens_steer.data import ContrastivePairs
from lens_steer.evaluation import FixedTexts, calibrate_along, evaluate_each
from lens_steer.forecasting import NotSteerable, Recommendation


@dataclass(frozen=True)
class Arm:
    """What `recommend` is given.

    Attributes:
        judged: Whether it has the judge of texts.
        dev: Whether it has the pairs of dev too, as the exhaustive search has.
        turned: Whether half of the pairs of every group are turned round.
    """

    judged: bool
    dev: bool = False
    turned: bool = False


ARMS = {
    "recommend, with a judge": Arm(judged=True),
    "recommend, without a judge": Arm(judged=False),
    "turned round, with a judge": Arm(judged=True, turned=True),
    "turned round, without a judge": Arm(judged=False, turned=True),
    "recommend, with a judge and dev": Arm(judged=True, dev=True),
}
Unit = tuple[str, int, str]  # a task, a fold, an arm


def turned_in_groups(pairs: ContrastivePairs, *, seed: int) -> ContrastivePairs:
    """The same pairs, the two sides of a random half of each group exchanged.

    Of a group with an odd number of pairs the smaller half. No direction is desired any more, in
    whatever groups are fitted to.
    """
    draw = np.random.default_rng(seed)
    rows = {group: [i for i, g in enumerate(pairs.groups) if g == group] for group in pairs.groups}
    turned = {int(i) for each in rows.values() for i in draw.permutation(each)[: len(each) // 2]}
    sides = enumerate(zip(pairs.desired, pairs.undesired, strict=True))
    desired, undesired = zip(
        *[(b, a) if i in turned else (a, b) for i, (a, b) in sides], strict=True
    )
    return ContrastivePairs(desired, undesired, name=f"{pairs.name}, turned round")


@dataclass(frozen=True, eq=False)
class Advice:
    """One recommendation, put to the prompts of a cell that are tested.

    Attributes:
        cell: The task and the fold.
        arm: What `recommend` is given.
        minutes: That it may take.
    """

    cell: Cell
    arm: Arm
    minutes: float

    @property
    def given(self) -> ContrastivePairs:
        """The pairs that `recommend` gets: no prompt of them is tested."""
        task, seed, fold = self.cell.task, self.cell.seed, self.cell.fold
        tested = set(self.cell.parts[1].groups)
        if not self.arm.dev:
            tested |= set(self.cell.parts[0].groups)
        kept = [i for i, group in enumerate(task.pairs.groups) if group not in tested]
        pairs = selected(task.pairs, kept)
        letters = sum(map(ord, task.name))
        return (
            turned_in_groups(pairs, seed=seed + 31 * fold + letters) if self.arm.turned else pairs
        )

    def row(self) -> dict[str, Any]:
        """What was recommended, or why nothing, and what its method writes after tested prompts.

        `seconds` are of this process, as those of `trial_seconds`: one method brought to the cost
        and tried on the prompts of dev, as the exhaustive search tries each.
        """
        begun = process_time()
        found = self._found()
        row: dict[str, Any] = {"seconds": short(process_time() - begun)}
        row["trial_seconds"] = short(self._trial_seconds())
        row["forecasts"] = len(found.forecast.names)
        if isinstance(found, NotSteerable):
            return row | {"method": None, "reason": str(found)}
        row |= {"method": found.names[0], "reason": found.reason, "tried": list(found.names)}
        row["strength"] = short(found.method.strength)
        moved = found.moved(found.names[0])
        row["promised"] = [short(x) for x in (moved.mean, moved.low, moved.high)]
        trials = evaluate_each(
            self.cell.model,
            self.cell.parts[1],
            [None, found.method],
            judge=self.cell.task.judge,
            decoding=self.cell.decoding,
        )
        plain, shown = (numbers(trial.behaviour) for trial in trials)
        return row | {"unsteered": plain, "shown": shown}

    def _found(self) -> Recommendation | NotSteerable:
        cell = self.cell
        try:
            return ls.recommend(
                cell.model,
                self.given,
                nats=TEXTS_AT,
                minutes=self.minutes,
                judge=cell.task.judge if self.arm.judged else None,
                progress=False,
                decoding=cell.decoding,
            )
        except NotSteerable as refusal:
            return refusal

    def _trial_seconds(self) -> float:
        """What it takes to try CAA at half depth on the prompts of dev."""
        cell, dev = self.cell, self.cell.parts[0]
        cache = FitCache(cell.model, cell.task.train(cell.seed, cell.fold))
        setting: dict[str, Any] = {"layer": int(cell.model.cfg.n_layers) // 2, "read": "mean"}
        method = FAMILIES["CAA"].make(cache, setting)
        few = dev.spread(COST_PROMPTS)
        texts = FixedTexts.sample(cell.model, few, decoding=cell.decoding)
        begun = process_time()
        fair = calibrate_along(cell.model, method, texts, kl=TEXTS_AT, progress=False)
        evaluate_each(cell.model, dev, [fair], judge=cell.task.judge, decoding=cell.decoding)
        return process_time() - begun


@dataclass(frozen=True, eq=False)
class Run:
    """All recommendations of one model, and the journal that holds those that were made.

    Attributes:
        model: The model.
        tasks: The tasks.
        tokens: The largest number of tokens of each text.
        minutes: That each recommendation may take.
        seed: Of everything that is drawn.
        journal: What has been measured.
    """

    model: ls.SteerableModel
    tasks: Sequence[Task]
    tokens: int
    minutes: float
    seed: int
    journal: Journal

    @classmethod
    def of(  # noqa: PLR0913 - what is the same for all units
        cls,
        model: ls.SteerableModel,
        tasks: Sequence[Task],
        tokens: int,
        minutes: float,
        seed: int,
        path: Path,
    ) -> "Run":
        """Begin a run, or go on with the one in the journal.

        Raises:
            ValueError: If the journal is of a run on other terms.
        """
        terms = made_on(model, []) | {"tokens": tokens, "minutes": minutes, "seed": seed}
        return cls(model, tasks, tokens, minutes, seed, Journal(path, terms))

    def units(self) -> list[Unit]:
        """Every arm in every fold of every task; one arm after the other."""
        return [
            (task.name, fold, arm) for arm in ARMS for fold in range(FOLDS) for task in self.tasks
        ]

    def measure(self) -> Iterator[Unit]:
        """Measure what is missing, unit by unit; yields each when it has been kept."""
        by_name = {task.name: task for task in self.tasks}
        for unit in self.units():
            if unit not in self.journal.done:
                name, fold, arm = unit
                cell = Cell(self.model, by_name[name], fold, self.tokens, self.seed)
                self.journal.add(unit, [Advice(cell, ARMS[arm], self.minutes).row()])
            yield unit

    def rows(self) -> dict[Unit, dict[str, Any]]:
        """The row of every unit that has been measured."""
        wanted = set(self.units())
        found = {tuple(row["unit"]): content(row) for row in self.journal.rows}
        return {unit: row for unit, row in found.items() if unit in wanted}
