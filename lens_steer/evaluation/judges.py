"""Judges: which texts show a behaviour."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Protocol, runtime_checkable

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from lens_steer import organism
from lens_steer.arguments import Accepts, Texts
from lens_steer.data import behaviour_words
from lens_steer.evaluation.words import comparable, whole_words


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
    answer = judge(prompts, texts)
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
