"""Judges: which texts show a behaviour."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Protocol, runtime_checkable

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from lens_steer import organism
from lens_steer.arguments import Accepts, Texts, shortened
from lens_steer.data import behaviour_words
from lens_steer.evaluation.words import comparable, whole_words
from lens_steer.reports import short_repr


@runtime_checkable
class Judge(Protocol):
    """Any callable that scores texts: 1 is the behaviour, 0 its absence."""

    def __call__(self, prompts: Sequence[str], texts: Sequence[str]) -> Float[Tensor, " text"]:
        """A score in [0, 1] for each continuation."""
        ...


@runtime_checkable
class FormJudge(Judge, Protocol):
    """A judge that also knows whether a text is well formed."""

    def well_formed(self, prompts: Sequence[str], texts: Sequence[str]) -> Bool[Tensor, " text"]:
        """Whether each continuation is well formed after its prompt."""
        ...


@dataclass(frozen=True, eq=False)
class Judgement:
    """What a judge says that cannot score every text.

    Attributes:
        scores: In [0, 1]; 0 for a text that the judge could not score, which stays in every mean.
        reasons: Why each text could not be scored; empty where it was.

    Example:
        >>> Judgement(torch.tensor([1.0, 0.0]), ("", "no verb recognised")).failed
        tensor([False,  True])
    """

    scores: Float[Tensor, " text"]
    reasons: tuple[str, ...]

    __repr__ = short_repr

    def __post_init__(self) -> None:
        if len(self.scores) != len(self.reasons):
            raise ValueError(
                f"got {len(self.reasons)} reasons for {len(self.scores)} scores, expected one for "
                "each, empty where the text was scored"
            )
        if bool((self.scores[self.failed] != 0).any()):
            raise ValueError("got scores of texts that failed, expected 0 for each of them")

    @classmethod
    def of(cls, decided: Sequence[float | str]) -> "Judgement":
        """The judgement made of a score for each text, or the reason why there is none."""
        scores = [0.0 if isinstance(x, str) else float(x) for x in decided]
        return cls(torch.tensor(scores), tuple(x if isinstance(x, str) else "" for x in decided))

    @property
    def failed(self) -> Bool[Tensor, " text"]:
        """Texts that the judge could not score."""
        return torch.tensor([bool(reason) for reason in self.reasons], dtype=torch.bool)

    @property
    def counts(self) -> dict[str, int]:
        """How many texts could not be scored, by reason, the most frequent first."""
        return dict(Counter(filter(None, self.reasons)).most_common())


@runtime_checkable
class FallibleJudge(Judge, Protocol):
    """A judge that cannot score every text, and says which.

    Called like any judge it gives such texts 0. `evaluate` asks for `judged` instead and keeps the
    reasons as `Evaluation.unjudged`.
    """

    def judged(self, prompts: Sequence[str], texts: Sequence[str]) -> Judgement:
        """A score for each continuation, or the reason why there is none."""
        ...


@dataclass(frozen=True)
class WordList:
    """Scores 1 where a continuation has at least one of the words, whole and in any case.

    Texts and words are compared in a common Unicode form (NFKC, case folded), so that composed and
    decomposed accents, full and half width, curly and straight apostrophes and any white space are
    alike. An apostrophe and a hyphen end a word. What a whole word is depends on the script:

    - Where spaces are written between words, no letter, accent or digit may stand before or after,
      nor follow after an underscore (`sad_1` is another word, `_sad_` is not).
    - Where none are (Chinese, Japanese, Thai, Lao, Khmer, Burmese, Tibetan and others), the word is
      found anywhere, also inside a longer one.
    - A Korean word must begin where a word begins; particles and endings may follow.
    - Punctuation, symbols and emoji are found anywhere.

    In Hebrew and Arabic vowel points are ignored; list prefixed forms, as you list inflections.

    Attributes:
        words: Plain text, no regular expressions; list inflected forms too.

    Example:
        >>> judge = ls.WordList(("sad", "sadly", "cried"))
        >>> judge(["Once"], [" there was a sad dog."])
        tensor([1.])
    """

    words: Annotated[tuple[str, ...], Accepts(Texts)]

    __repr__ = short_repr

    def __post_init__(self) -> None:
        if isinstance(self.words, str):
            raise ValueError(
                f"got the text {self.words!r}, expected words: write ({self.words!r},)"
            )
        object.__setattr__(self, "words", tuple(self.words))
        if not self.words or not all(isinstance(w, str) and comparable(w) for w in self.words):
            raise ValueError(f"got the words {self.words!r}, expected at least one, none blank")

    def __call__(self, prompts: Sequence[str], texts: Sequence[str]) -> Float[Tensor, " text"]:
        """1 for each text that holds one of the words, else 0."""
        del prompts
        pattern = whole_words(tuple(map(comparable, self.words)))
        return torch.tensor([float(bool(pattern.search(comparable(text)))) for text in texts])


def scores_of(judge: Judge, prompts: Sequence[str], texts: Sequence[str]) -> Float[Tensor, " text"]:
    """The scores of a judge, checked.

    Raises:
        ValueError: If there is not one finite score in [0, 1] for each text; the message shows what
            the judge gave.
    """
    return _checked(judge, judge(prompts, texts), texts)


def _checked(judge: Judge, answer: Any, texts: Sequence[str]) -> Float[Tensor, " text"]:
    try:
        scores = torch.as_tensor(answer, dtype=torch.float32)
    except (TypeError, RuntimeError, ValueError) as error:
        raise ValueError(f"the judge {judge!r} gave no scores ({error})") from error
    if scores.shape != (len(texts),):
        raise ValueError(
            f"the judge {judge!r} gave scores of shape {tuple(scores.shape)} for {len(texts)} "
            "texts: expected one for each"
        )
    broken = ~((scores >= 0) & (scores <= 1))
    if bool(broken.any()):
        i = int(broken.nonzero()[0])
        raise ValueError(
            f"the judge {judge!r} gave {scores[i].item():g} for {texts[i]!r} (and "
            f"{int(broken.sum()) - 1} more outside [0, 1]): a text it cannot score is a failure, "
            "and counts as 0"
        )
    return scores


def judgement_of(judge: Judge, prompts: Sequence[str], texts: Sequence[str]) -> Judgement:
    """The scores of any judge, checked, and what it could not score.

    Raises:
        ValueError: As `scores_of`.
    """
    if not isinstance(judge, FallibleJudge):
        return Judgement(scores_of(judge, prompts, texts), ("",) * len(texts))
    found = judge.judged(prompts, texts)
    if not isinstance(found, Judgement):
        raise ValueError(f"the judge {judge!r} gave {shortened(found)}, expected a Judgement")
    return Judgement(_checked(judge, found.scores, texts), found.reasons)


def judge_of(name: str, words: Sequence[str] = ()) -> Judge | None:
    """The judge that belongs to a named set of pairs; None if it has none.

    That of `organism:*` is exact; other named sets have a list of words.

    Args:
        name: The name of the set, as `ContrastivePairs.load` takes it.
        words: If there are any, these words are looked for instead.

    Raises:
        ValueError: If the embedded model has no such behaviour.
    """
    if words:
        return WordList(tuple(words))
    family, _, behaviour = name.partition(":")
    if family == "organism" and behaviour:
        return organism.judge(behaviour)
    return WordList(behaviour_words(name)) if behaviour_words(name) else None
