"""How likely a model finds the choices of questions, under many settings of steering."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from lens_steer.arguments import Accepts, Count, CountFromZero, Seed, shortened
from lens_steer.data import Questions
from lens_steer.evaluation.answer_reading import summed_nats
from lens_steer.evaluation.choice_scores import ChoiceScores
from lens_steer.evaluation.likelihood import log_probabilities
from lens_steer.models import Encoded, SteerableModel, encode
from lens_steer.steering import Intervention, Methods, Scope, WithSinks, check_scope

Setting = Intervention | tuple[Intervention, ...]  # one method, or several that steer together


@dataclass(frozen=True, eq=False, repr=False)
class AnswerLikelihoods:
    """The log-probability of every choice of every question under every setting.

    Attributes:
        questions: The questions.
        settings: What steered, in order; the first is () and nothing steered.
        nats: Log-probability of each whole choice after its prompt, in nats, float64, the sum over
            its tokens: `[setting question choice]`. It is -inf where a question has fewer choices,
            and NaN where steering made logits NaN or infinite.
        tokens: How many tokens each choice of each question has.

    Example:
        >>> found = ls.evaluation.answer_log_probs(model, questions, [method])
        >>> found.rows(0), found.rows(1)  # unsteered, and steered
        >>> (found.scores(1).mc1 - found.scores(0).mc1).mean()
    """

    questions: Questions
    settings: Annotated[tuple[Methods, ...], Accepts(Sequence[Sequence[Intervention]])]
    nats: Float[Tensor, "setting question choice"]
    tokens: Annotated[tuple[tuple[int, ...], ...], Accepts(Sequence[Sequence[int]])]

    def __post_init__(self) -> None:
        object.__setattr__(self, "settings", tuple(map(tuple, self.settings)))
        object.__setattr__(self, "tokens", tuple(map(tuple, self.tokens)))
        sizes = [len(question.choices) for question in self.questions]
        shape = [len(self.settings), len(sizes), max(sizes)]
        if list(self.nats.shape) != shape:
            raise ValueError(
                f"got nats of shape {list(self.nats.shape)}, expected {shape}: settings, questions "
                "and the most choices of any question"
            )
        if [len(row) for row in self.tokens] != sizes:
            raise ValueError(
                f"got tokens of {[len(row) for row in self.tokens][:5]}... choices, expected a "
                "number of tokens for every choice of every question"
            )

    def __repr__(self) -> str:
        steered = len(self.settings) - 1
        settings = f", and {steered} steered" if steered else ""
        return f"AnswerLikelihoods({self.questions!r}, unsteered{settings})"

    def __len__(self) -> int:
        """How many settings there are, the unsteered one included."""
        return len(self.settings)

    def rows(self, setting: CountFromZero) -> list[Float[Tensor, " _"]]:
        """The nats of one setting, a tensor for each question that has its choices and no others.

        Raises:
            ValueError: If there is no such setting.
        """
        if setting >= len(self):
            raise ValueError(f"got setting {setting}, expected a number from 0 to {len(self) - 1}")
        sizes = [len(question.choices) for question in self.questions]
        return [row[:size] for row, size in zip(self.nats[setting], sizes, strict=True)]

    def scores(self, setting: CountFromZero, *, seed: Seed = 0) -> ChoiceScores:
        """The metrics of choices under one setting; 0 is the unsteered model.

        Args:
            setting: Its number, in the order of `settings`.
            seed: Of the intervals.

        Raises:
            ValueError: If there is no such setting, or a question has no correct or no wrong
                choice.

        Example:
            >>> found.scores(0).mc1.mean()  # the share of questions answered rightly, unsteered
        """
        return ChoiceScores.of(
            self.rows(setting),
            [question.correct for question in self.questions],
            self.tokens,
            [question.choices for question in self.questions],
            groups=[question.group for question in self.questions],
            seed=seed,
        )

    @property
    def failed(self) -> Bool[Tensor, "setting question"]:
        """Where logits became NaN or infinite in any choice."""
        return self.nats.isnan().any(dim=-1)


def answer_log_probs(  # noqa: PLR0913 - what is read, and how much at once
    model: SteerableModel,
    questions: Questions,
    settings: Annotated[Sequence[Setting], Accepts(Sequence[Intervention | Sequence])] = (),
    *,
    scope: Scope = "last",
    sink: bool = False,
    unsteered: AnswerLikelihoods | None = None,
    token_budget: Count | None = None,
    progress: bool = False,
) -> AnswerLikelihoods:
    """The log-probability of every choice, for the unsteered model and under every setting.

    It is what `log_probabilities` gives for each prompt with each choice, but a prompt is read once
    for all its choices and, where the scope leaves it alone (`last`, `generated`), for all settings
    too; a beginning that several choices of a question share is run once for each setting.

    Args:
        questions: The questions; their choices are appended to their prompts as they stand.
        settings: Each is a method, or several that steer together. For a method at many strengths:
            `[method.with_strength(s) for s in strengths]`.
        scope: Where they steer, see `steered`: `last` steers the last token of the prompt and every
            token of a choice.
        sink: See `steered`.
        unsteered: Of the same model and questions, where they have been read before: they are then
            not read again without steering.
        token_budget: Tokens whose keys and values are held at once, of all settings together. None
            is about half a gigabyte of them. Speed and memory only.
        progress: Whether to show a bar.

    Raises:
        ValueError: If a method does not fit the model, the scope makes no sense or reaches no
            token, a prompt is empty and the model has no token to begin with, a row is longer than
            the model's context, or `unsteered` is of other questions.
        NotFinite: If the unsteered logits are NaN or infinite.

    Example:
        >>> strengths = [0.5, 1.0, 2.0]
        >>> found = ls.evaluation.answer_log_probs(
        ...     model, questions, [method.with_strength(s) for s in strengths]
        ... )
        >>> found.nats.shape  # the unsteered model comes first
        torch.Size([4, 817, 13])
    """
    where = check_scope(scope, sink=sink)
    every: list[Methods] = [(), *(_together(setting) for setting in settings)]
    for methods in every:
        for method in methods:
            method.checked_edits(model)
    rows = [encode(model, q.prompt, choice) for q in questions for choice in q.choices]
    _check_rows(rows, where)
    sizes = [len(question.choices) for question in questions]
    valid = torch.arange(max(sizes)) < torch.tensor(sizes)[:, None]
    if unsteered is not None and unsteered.questions != questions:
        raise ValueError("got unsteered likelihoods of other questions, expected the same ones")
    known = torch.zeros(0, len(rows)) if unsteered is None else unsteered.nats[:1, valid]
    found = torch.cat(
        [
            known.double(),
            summed_nats(
                model,
                rows,
                every[len(known) :],
                where,
                token_budget=token_budget,
                progress=progress,
            ),
        ]
    )
    broken = found[0].isnan().nonzero()[:, 0].tolist()
    if broken:
        log_probabilities(model, [rows[broken[0]]], scope=where)  # says what is wrong
        raise ValueError("the logits were NaN or infinite over a cache, and finite without one")
    nats = torch.full((len(every), len(sizes), max(sizes)), -torch.inf).double()
    nats[:, valid] = found
    lengths = iter([len(row.ids) - row.prompt_length for row in rows])
    tokens = tuple(tuple(next(lengths) for _ in range(size)) for size in sizes)
    return AnswerLikelihoods(questions, tuple(every), nats, tokens)


def _together(setting: Setting) -> Methods:
    """The methods of one setting.

    Raises:
        ValueError: If it is something else.
    """
    methods = (setting,) if isinstance(setting, Intervention) else tuple(setting)
    if not all(isinstance(method, Intervention) for method in methods):
        raise ValueError(
            f"got the setting {shortened(setting)}, expected a method, or several that steer "
            "together"
        )
    return methods


def _check_rows(rows: Sequence[Encoded], scope: Scope) -> None:
    if any(row.prompt_length < 1 for row in rows):
        raise ValueError(
            "a prompt has no token and the model none to begin with, so that the first token of "
            "its choices has no probability: give it a prompt"
        )
    longest = max(len(row.ids) for row in rows)
    if not isinstance(scope, str | WithSinks) and min(scope) >= longest - 1:
        raise ValueError(
            f"scope {tuple(scope)} steers nothing that is read: the longest prompt with its choice "
            f"has {longest} tokens, the last of which is not read"
        )
