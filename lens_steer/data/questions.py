"""Multiple-choice questions: a prompt, continuations to choose from, and which are right."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Annotated

from lens_steer.arguments import Accepts, Count, Seed, shortened
from lens_steer.data.contrastive_pairs import ContrastivePairs
from lens_steer.data.left_out import left_out_in_words
from lens_steer.data.splits import split_numbers, ties_of_prompt
from lens_steer.models import Message, Prompt, as_prompt
from lens_steer.reports import short_repr


@dataclass(frozen=True)
class Question:
    """One multiple-choice question.

    Attributes:
        prompt: Text, or a chat; what the choices continue.
        choices: Continuations as the model reads them, each with its leading space if it has one;
            at least two, all different, none blank.
        correct: Whether each choice is right; at least one is and one is not. The first that is
            right is the right answer of MC1, which knows only one.
        group: Questions of one group stay together in splits; empty if it stands alone.
        instruction: What was put before the question, as an instruction; `prompt` holds it already.
        bare: The part of the prompt that is the question itself; empty if it is unknown. With
            another text in its place the prompt asks another question.

    Example:
        >>> Question("The Earth is", (" round.", " flat."), (True, False))
    """

    prompt: Annotated[Prompt, Accepts(str | Sequence[Message | Mapping[str, str]])]
    choices: Annotated[tuple[str, ...], Accepts(Sequence[str])]
    correct: Annotated[tuple[bool, ...], Accepts(Sequence[bool])]
    group: str = ""
    instruction: str = ""
    bare: str = ""

    __repr__ = short_repr

    def __post_init__(self) -> None:
        object.__setattr__(self, "prompt", as_prompt(self.prompt))
        object.__setattr__(self, "choices", tuple(self.choices))
        object.__setattr__(self, "correct", tuple(map(bool, self.correct)))
        _check_choices(self.choices, self.correct)
        for name in ("instruction", "bare"):
            if getattr(self, name) not in _text_of(self.prompt):
                raise ValueError(
                    f"got {name}={shortened(getattr(self, name))}, expected a part of the prompt "
                    f"{shortened(_text_of(self.prompt))}, or '' if it is unknown"
                )

    @property
    def right(self) -> str:
        """The first choice that is right: the answer that MC1 counts."""
        return self.choices[self.correct.index(True)]

    @property
    def wrong(self) -> str:
        """The first choice that is wrong."""
        return self.choices[self.correct.index(False)]


@dataclass(frozen=True)
class Questions:
    """A set of multiple-choice questions.

    Attributes:
        items: The questions, at least one.
        name: What the set is called in reports.
        left_out: How many rows of a file were left out, by reason; those of published sets also
            name the rows (`left_out.rows`).
        form: Texts in the questions that belong to the form of the set and make no two of them
            alike, such as "What happened as a result?": to `without_near_duplicates` they do not
            count.

    Example:
        >>> questions = ls.benchmark.load("truthfulqa-mc", "TruthfulQA.csv").questions
        >>> dev, test = questions.split(0.5, 0.5, seed=0)
    """

    items: Annotated[tuple[Question, ...], Accepts(Sequence[Question])]
    name: str = "questions"
    left_out: Mapping[str, int] = field(default_factory=dict, compare=False)
    form: Annotated[tuple[str, ...], Accepts(Sequence[str])] = field(default=(), compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "items", tuple(self.items))
        object.__setattr__(self, "form", tuple(self.form))
        if not self.items:
            raise ValueError("got no items, expected at least one question")

    def __len__(self) -> int:
        return len(self.items)

    def __iter__(self) -> Iterator[Question]:
        return iter(self.items)

    def __getitem__(self, number: int) -> Question:
        return self.items[number]

    def __repr__(self) -> str:
        sizes = sorted({len(question.choices) for question in self.items})
        choices = f"{sizes[0]}" if len(sizes) == 1 else f"{sizes[0]} to {sizes[-1]}"
        rest = left_out_in_words(self.left_out)
        return f"Questions({self.name}: {len(self)} with {choices} choices{rest})"

    @property
    def prompts(self) -> list[Prompt]:
        """The prompt of each question, in order."""
        return [question.prompt for question in self.items]

    def pairs(self) -> ContrastivePairs:
        """The first right and the first wrong choice of each question, as contrastive pairs."""
        rows = ((q.prompt, q.right, q.wrong, q.group) for q in self.items)
        return ContrastivePairs.of(rows, name=self.name)

    def first(self, n: Count) -> "Questions":
        """The first `n` questions, or all where there are fewer."""
        return self._part(self.items[:n])

    def split(self, *fractions: float, seed: Seed) -> tuple["Questions", ...]:
        """Split the set at random; what has a prompt or a group in common stays together.

        Args:
            fractions: About the share of each part, positive and adding up to 1: `0.6, 0.2, 0.2`.
            seed: Of the shuffle.

        Raises:
            ValueError: If the fractions do not add up, or a part would be without a question.
        """
        ties = [ties_of_prompt(question.prompt, question.group) for question in self.items]
        parts = split_numbers(ties, fractions, seed, "questions")
        return tuple(self._part(tuple(self.items[i] for i in part)) for part in parts)

    def _part(self, items: tuple[Question, ...]) -> "Questions":
        return Questions(items, self.name, form=self.form)


def _check_choices(choices: tuple[str, ...], correct: tuple[bool, ...]) -> None:
    if len(choices) < 2 or len(correct) != len(choices):
        raise ValueError(
            f"got {len(choices)} choices and {len(correct)} marks in correct, expected at least "
            "two choices and as many marks"
        )
    if not all(isinstance(choice, str) and choice.strip() for choice in choices):
        raise ValueError(f"got choices={shortened(choices)}, expected texts, none of them blank")
    if len(set(choices)) < len(choices):
        twice = next(choice for choice in choices if choices.count(choice) > 1)
        raise ValueError(f"got the choice {shortened(twice)} twice, expected different choices")
    if all(correct) or not any(correct):
        raise ValueError(
            f"got correct={shortened(correct)}, expected at least one True and one False"
        )


def _text_of(prompt: Prompt) -> str:
    if isinstance(prompt, str):
        return prompt
    return "\n".join(message.content for message in prompt)
