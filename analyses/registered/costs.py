"""What a registered run costs, counted before it is begun."""

import time
from dataclasses import dataclass

import lens_steer as ls
from analyses.registered.journals import Run
from analyses.registered.measuring import CALIBRATED_ON, NATS, SEEDS
from analyses.registered.methods import METHODS, OTHERS, OTHERS_ON
from analyses.registered.parts import FOLDS
from analyses.registered.references import BEST_OF, RANDOMS
from analyses.registered.tasks import Task
from lens_steer.models import encode

_PASSES = 4  # of a calibration along the texts, about
_LEARNED = 10 * 16 * 2 * 3  # steps of so many pairs, forwards and backwards


@dataclass(frozen=True)
class Cost:
    """Tokens through the model, and the hours that they take at the speed measured.

    Attributes:
        gate: Of the gates of all tasks.
        folds: Of all folds of all tasks, should every one enter.
        speed: Tokens a second, measured on unsteered texts of the first task, costs included.
        others: Of the other methods, where they are asked for.
    """

    gate: int
    folds: int
    speed: float
    others: int = 0

    def __str__(self) -> str:
        gate, folds, others = (
            tokens / self.speed / 3600 for tokens in (self.gate, self.folds, self.others)
        )
        beside = (
            f"\nother methods: {self.others / 1e6:.1f} million tokens, about {others:.1f} hours; "
            "Jacobians and metrics come on top"
        )
        return (
            f"gates of all tasks: {self.gate / 1e6:.2f} million tokens, about {gate:.1f} hours at "
            f"{self.speed:.0f} tokens a second\n"
            f"folds, if all tasks enter: {self.folds / 1e6:.1f} million tokens, about {folds:.1f} "
            f"hours; Jacobians and probes come on top{beside if self.others else ''}"
        )

    @classmethod
    def of(cls, run: Run) -> "Cost":
        """Count the tokens of a run, and measure the speed on a few texts."""
        tasks, draws = run.usable(), run.terms.draws
        gate = sum(_gate(run, task) for task in tasks)
        folds = sum(FOLDS * _fold(run, task, draws) for task in tasks)
        beside = [task for task in tasks if run.others and task.name in OTHERS_ON]
        others = sum(FOLDS * len(OTHERS) * _method(run, task, draws) for task in beside)
        return cls(gate, folds, _speed(run, tasks[0]), round(others))


def _row_tokens(run: Run, task: Task) -> tuple[float, float]:
    """Tokens of a prompt with a whole text, and of a pair's two sides, on average."""
    sides = (task.pairs.desired, task.pairs.undesired)
    rows = [[encode(run.model, e.prompt, e.continuation) for e in side] for side in sides]
    prompt = sum(row.prompt_length for row in rows[0]) / len(rows[0])
    pair = sum(len(row.ids) for side in rows for row in side) / len(rows[0])
    return prompt + run.terms.tokens, pair


def _gate(run: Run, task: Task) -> int:
    text, pair = _row_tokens(run, task)
    dev = len(task.parts(run.terms.seed)[0])
    calibrated = (run.terms.draws + 1) * _PASSES * CALIBRATED_ON * text
    measured = 4 * SEEDS * dev * 3 * text + run.terms.draws * dev * pair
    return round(calibrated + measured + _LEARNED * pair / 2)


def _fold(run: Run, task: Task, draws: int) -> int:
    fair, test, pair = _one(run, task)
    references = len(NATS) + 2 + 2 * RANDOMS
    plain = SEEDS + sum(BEST_OF) + 1
    of_methods = len(METHODS) * _method(run, task, draws)
    return round(of_methods + references * (fair + test) + plain * test + _LEARNED * pair / 2)


def _method(run: Run, task: Task, draws: int) -> float:
    """Tokens of all structures of one method in one fold."""
    fair, test, _ = _one(run, task)
    leaders = sum(1 / n for n in range(1, draws + 1))  # of draws in any order, on average
    others = len(NATS) - 1
    return (draws + others) * fair + (leaders + SEEDS - 1 + others) * test


def _one(run: Run, task: Task) -> tuple[float, float, float]:
    """Tokens to calibrate a structure and read dev with it, to test it once, and of a pair."""
    text, pair = _row_tokens(run, task)
    dev, folds = task.parts(run.terms.seed)
    test = len(folds[0]) * (3 * text + task.likelihood * pair)
    return _PASSES * CALIBRATED_ON * text + len(dev) * pair, test, pair


def _speed(run: Run, task: Task) -> float:
    text, _ = _row_tokens(run, task)
    few = task.parts(run.terms.seed)[0]
    begun = time.perf_counter()
    ls.evaluate(run.model, few, judge=task.judge, decoding=run.terms.decoding)
    return len(few) * 3 * text / (time.perf_counter() - begun)
