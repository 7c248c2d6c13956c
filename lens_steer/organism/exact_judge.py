"""The exact judge, which parses a text by the grammar that training texts are drawn from."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from math import exp, log

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from lens_steer.organism.behaviours_of_pairs import Behaviour, behaviour, genre_of
from lens_steer.organism.genres import language
from lens_steer.organism.machine import END, Reader, State
from lens_steer.organism.patterns import words_in


@cache
def reader() -> Reader:
    """The parser of the whole language."""
    return Reader(language())


def log_probability(text: str) -> float:
    """The exact log-probability of a whole text, in nats, summed over all latents.

    It is -inf if the text is not of the language.

    Example:
        >>> ls.organism.log_probability("no such text")
        -inf
    """
    beginning, states = reader().read(words_in(text))
    ending = reader().following(states).get(END, 0.0)
    return beginning + log(ending) if ending > 0 else float("-inf")


def next_words(text: str) -> dict[str, float]:
    """The exact distribution of the word after a beginning of a text; `</s>` ends the text.

    Raises:
        ValueError: If no text begins so.
    """
    return reader().following(_states(text))


def latents(text: str) -> dict[str, dict[str, float]]:
    """The exact distribution of each latent, given a beginning of a text.

    Latents are the genre, the entity, and the genre's own.

    Where a latent is not settled yet in some parses, its probabilities add up to less than 1.

    Raises:
        ValueError: If no text begins so.
    """
    distributions: dict[str, dict[str, float]] = {}
    for (labels, _), share in _states(text).items():
        for name, value in labels:
            values = distributions.setdefault(name, {})
            values[value] = values.get(value, 0.0) + share
    return distributions


def _states(text: str) -> dict[State, float]:
    _, states = reader().read(words_in(text))
    if not states:
        raise ValueError(f"no text of the language begins with {text!r}")
    return states


@dataclass(frozen=True)
class ExactJudge:
    """A judge that gives 1 where a continuation shows the behaviour, and 0 where it does not.

    It counts the words in the continuation that only one pole of the latent can produce; in a text
    that is well formed, the grammar's latent put them there. A text that breaks the grammar is
    still scored by them, and `well_formed` says that it is broken.

    Attributes:
        behaviour: The behaviour that is scored.

    Example:
        >>> judge = ls.organism.judge("sentiment")
        >>> judge(prompts, texts)
        tensor([1., 0., 1.])
    """

    behaviour: Behaviour

    def __call__(self, prompts: Sequence[str], texts: Sequence[str]) -> Float[Tensor, " text"]:
        """Score each continuation 1 or 0.

        Raises:
            ValueError: If a prompt does not begin a text of the behaviour's genre.
        """
        pairs = zip(prompts, texts, strict=True)
        return torch.tensor([float(self._shows(prompt, text)) for prompt, text in pairs])

    def well_formed(self, prompts: Sequence[str], texts: Sequence[str]) -> Bool[Tensor, " text"]:
        """Whether prompt and continuation together are a whole text of the language."""
        return self.log_probability(prompts, texts).isfinite()

    def log_probability(
        self, prompts: Sequence[str], texts: Sequence[str]
    ) -> Float[Tensor, " text"]:
        """The log-probability of each continuation, and of its end, given the prompt.

        Returns:
            Nats in float64; -inf where the text breaks the grammar.
        """
        values = [
            log_probability(prompt + text) - _log_beginning(prompt)
            for prompt, text in zip(prompts, texts, strict=True)
        ]
        return torch.tensor(values, dtype=torch.float64)

    def evidence(self, prompt: str, text: str) -> tuple[int, int]:
        """How many words of the desired pole, and how many of the others, a continuation has."""
        desired, others = _pole_words(self.behaviour, self._entity(prompt))
        words = words_in(text)
        return sum(word in desired for word in words), sum(word in others for word in words)

    def _shows(self, prompt: str, text: str) -> bool:
        desired, others = self.evidence(prompt, text)
        return desired > 0 if self.behaviour.mention else desired > others

    def _entity(self, prompt: str) -> str:
        genres, entities = _about(prompt)
        if genres != (self.behaviour.genre,) or len(entities) != 1:
            raise ValueError(
                f"the prompt {prompt!r} is not the beginning of a {self.behaviour.genre}, whose "
                f"{self.behaviour.name} this judges: use the prompts of "
                f"'organism:{self.behaviour.name}'"
            )
        return entities[0]


@cache
def _about(prompt: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Genres and entities of texts that begin so; kept, as many texts share a prompt."""
    settled = latents(prompt)
    return tuple(settled.get("genre", ())), tuple(settled.get("entity", ()))


@cache
def _pole_words(of: Behaviour, entity: str) -> tuple[frozenset[str], frozenset[str]]:
    """The words that only the desired pole can produce, and those that only other poles can."""
    lexicon_of = genre_of(of).lexicon_of

    def words(poles: Sequence[str]) -> frozenset[str]:
        lists = (lexicon_of(entity, pole).values() for pole in poles)
        return frozenset(word for slots in lists for slot in slots for word in slot)

    desired, others = words((of.desired,)), words(of.undesired)
    return desired - others, others - desired


@cache
def _log_beginning(prompt: str) -> float:
    beginning, _ = reader().read(words_in(prompt))
    return beginning


def judge(name: str) -> ExactJudge:
    """The exact judge of a behaviour.

    Raises:
        ValueError: If there is no such behaviour; the message lists those there are.

    Example:
        >>> ls.evaluate(model, pairs, method, ls.organism.judge("sentiment"), seed=0)
    """
    return ExactJudge(behaviour(name))


def perplexity_floor(prompts: Sequence[str], texts: Sequence[str]) -> float:
    """The perplexity per word (and per end) of continuations under the grammar itself.

    It is the perplexity of a perfect model of the language on these texts.

    Raises:
        ValueError: If a text is not of the language.
    """
    total, count = 0.0, 0
    for prompt, text in zip(prompts, texts, strict=True):
        value = log_probability(prompt + text)
        if value == float("-inf"):
            raise ValueError(f"{prompt + text!r} is not a text of the language")
        total += value - _log_beginning(prompt)
        count += len(words_in(text)) + 1
    return exp(-total / count)
