"""What a run over questions costs, counted before it is begun."""

import time
from dataclasses import dataclass

import lens_steer as ls
from analyses.registered.measuring import CALIBRATED_ON, NATS
from analyses.registered.methods import METHODS
from analyses.registered.parts import FOLDS
from analyses.registered.references import RANDOMS
from analyses.registered_answers.journals import AnswerRun
from analyses.registered_answers.tasks import AnswerTask
from lens_steer.models import encode

_PASSES = 4  # of a calibration along the texts, about
_LEARNED = 10 * 16 * 2 * 3  # steps of so many pairs, forwards and backwards
_PROMPTS = 4  # ways in which references put the questions


@dataclass(frozen=True)
class AnswerCost:
    """Tokens through the model, and the hours that they take at the speed measured.

    Attributes:
        tokens: Of all folds, by task.
        speed: Tokens a second, measured on the preference of dev pairs of the first task.
    """

    tokens: dict[str, int]
    speed: float

    @property
    def hours(self) -> float:
        """Of all tasks."""
        return sum(self.tokens.values()) / self.speed / 3600

    def __str__(self) -> str:
        each = ", ".join(f"{name} {n / self.speed / 3600:.2f}" for name, n in self.tokens.items())
        return (
            f"{sum(self.tokens.values()) / 1e6:.1f} million tokens, about {self.hours:.1f} hours "
            f"at {self.speed:.0f} tokens a second ({each}); Jacobians and probes come on top"
        )

    @classmethod
    def of(cls, run: AnswerRun) -> "AnswerCost":
        """Count the tokens of a run, and measure the speed on a few pairs."""
        tokens = {task.name: round(FOLDS * _fold(run, task)) for task in run.tasks}
        return cls(tokens, _speed(run, run.tasks[0]))


def _fold(run: AnswerRun, task: AnswerTask) -> float:
    draws = run.terms.draws
    prompt, pair, choices = _row_tokens(run, task)
    dev, folds = task.parts(run.terms.seed)
    text = prompt + run.terms.tokens
    calibrated = _PASSES * CALIBRATED_ON * text
    leaders = sum(1 / n for n in range(1, draws + 1))  # of draws in any order, on average
    others = len(NATS) - 1
    references = len(NATS) + 2 + 2 * RANDOMS
    # Prompts are read once for all that is read at once; behind them, the last token and choices.
    once = len(METHODS) * 2 + 1
    settings = len(METHODS) * (draws + others) + references
    tested = len(METHODS) * (leaders + others) + references
    of_dev = len(dev) * (once * prompt + settings * (pair - 2 * prompt + 1))
    of_test = len(folds[0]) * ((once + _PROMPTS) * prompt + tested * (1 + choices))
    along_texts = settings * calibrated + tested * CALIBRATED_ON * text
    return along_texts + of_dev + of_test + _LEARNED * pair / 2


def _row_tokens(run: AnswerRun, task: AnswerTask) -> tuple[float, float, float]:
    """Tokens of a prompt, of a pair's two sides, and of all choices of a question: means."""
    prompts, pairs, choices = [], [], []
    for q in task.questions:
        lengths = {c: len(encode(run.model, q.prompt, c).ids) for c in q.choices}
        prompt = encode(run.model, q.prompt, q.right).prompt_length
        prompts.append(prompt)
        pairs.append(lengths[q.right] + lengths[q.wrong])
        choices.append(sum(n - prompt for n in lengths.values()))
    n = len(prompts)
    return sum(prompts) / n, sum(pairs) / n, sum(choices) / n


def _speed(run: AnswerRun, task: AnswerTask) -> float:
    _, pair, _ = _row_tokens(run, task)
    few = task.parts(run.terms.seed)[0]
    ls.preference(run.model, few.spread(2))  # a first pass is slower than those that follow
    begun = time.perf_counter()
    ls.preference(run.model, few)
    return len(few) * pair / (time.perf_counter() - begun)
