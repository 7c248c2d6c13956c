"""Judges of the form of English texts, by closed rules: question, past tense, first person.

They decide what their rules cover, exactly as written here, and leave everything else undecided:
such a text is counted as unjudged (`Judgement`), never guessed at. What stands between double
quotation marks is left out for tense and person: it is somebody else's speech.
"""

import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor

from lens_steer.evaluation.english_forms import (
    ABBREVIATIONS,
    ADVERBS,
    AUXILIARIES,
    BASE_VERBS,
    DETERMINERS,
    FIRST_PERSON,
    NO_PAST,
    NO_PRESENT,
    PAST,
    PRESENT,
    THIRD_PERSON,
)
from lens_steer.evaluation.judges import Judgement

_ALIKE = str.maketrans(
    {"\u2019": "'", "\u02bc": "'", "\u2018": "'", "\u201c": '"', "\u201d": '"', "\u201e": '"'}
)
_QUOTED = re.compile(r'"[^"]*("|$)')
_WORD = re.compile(r"[A-Za-z]+(?:'[A-Za-z]+)*")
# A sign that may end a sentence, with closing quotes and brackets, before white space or the end.
# Chinese, Japanese and Arabic signs end one wherever they stand.
_END = re.compile(r"([.!?\u2026]+)[\"')\]*_]*(?=\s|$)|([\u3002\uff01\uff1f\u061f\u06d4])")
_QUESTION = re.compile(r"[?\uff1f\u061f]")
_CONTRACTED = re.compile(
    r"i'm|(?:i|you|we|they)'ve|(?:you|we|they)'re|(?:he|she|it|that|there|here|what|who|where|how)'s"
)
_PLURAL_SUBJECTS = ("i", "you", "we", "they")
_SINGULAR_SUBJECTS = ("he", "she", "it")


@dataclass(frozen=True)
class IsQuestion:
    """Scores 1 where the first sentence of a text is a question, 0 where it is not.

    A sentence ends at the first run of full stops, question marks and exclamation marks before
    white space or the end of the text, unless that is a full stop after a single capital letter or
    an abbreviation such as `Mr`. It is a question if a question mark is in that run. A text in
    which no sentence ends is undecided: it may have been cut off.

    Example:
        >>> IsQuestion()(["p"] * 2, [" Is that so? I see.", " Dr. Li left."])
        tensor([1., 0.])
    """

    def __call__(self, prompts: Sequence[str], texts: Sequence[str]) -> Float[Tensor, " text"]:
        """1 or 0 for each text, and 0 for one that is undecided."""
        return self.judged(prompts, texts).scores

    def judged(self, prompts: Sequence[str], texts: Sequence[str]) -> Judgement:
        """1 or 0 for each text, or why it is undecided."""
        del prompts
        return Judgement.of([_asks(text) for text in texts])


@dataclass(frozen=True)
class PastTense:
    """Scores 1 where a text has more finite verbs in the past than in the present, 0 if fewer.

    Past: `was`, `were`, `had`, `did` and their negations; common irregular forms (`went`, `said`);
    and words of four letters or more in -ed, but for a list (`hundred`) and those in -eed. Of these
    the ones after a determiner, a preposition or an auxiliary, adverbs between them passed over,
    do not count (`has walked`, `is tired`, `the wanted man`), nor do those that `and`, `or` or
    `but` joins to one that did not (`are washed and dried`).

    Present: `am`, `is`, `are`, `has`, `have`, `do`, `does`, their negations and contractions after
    pronouns and question words, but not after `to` or a modal verb; a common verb after `I`, `you`,
    `we`, `they` (but in `did you think`, `can we go`); and a word in -s after `he`, `she`, `it`.

    A text with as many of either, or none, is undecided. So are modal verbs by themselves.

    Example:
        >>> PastTense()(["p"] * 2, [" She walked home and was glad.", " She walks home."])
        tensor([1., 0.])
    """

    def __call__(self, prompts: Sequence[str], texts: Sequence[str]) -> Float[Tensor, " text"]:
        """1 or 0 for each text, and 0 for one that is undecided."""
        return self.judged(prompts, texts).scores

    def judged(self, prompts: Sequence[str], texts: Sequence[str]) -> Judgement:
        """1 or 0 for each text, or why it is undecided."""
        del prompts
        return Judgement.of([_more(*_tenses(text), "verb", ("past", "present")) for text in texts])


@dataclass(frozen=True)
class FirstPerson:
    """Scores 1 where a text has more pronouns of the first than of the third person, 0 if fewer.

    First: `I`, `me`, `my`, `mine`, `myself`, `we`, `us`, `our`, `ours`, `ourselves`. Third: `he`,
    `she`, `they` and their forms. `i` in small letters and `US` in capitals do not count, nor does
    `it`, which often stands for nobody. A text with as many of either, or none, is undecided.

    Example:
        >>> FirstPerson()(["p"] * 2, [" I took my hat.", " She took his hat."])
        tensor([1., 0.])
    """

    def __call__(self, prompts: Sequence[str], texts: Sequence[str]) -> Float[Tensor, " text"]:
        """1 or 0 for each text, and 0 for one that is undecided."""
        return self.judged(prompts, texts).scores

    def judged(self, prompts: Sequence[str], texts: Sequence[str]) -> Judgement:
        """1 or 0 for each text, or why it is undecided."""
        del prompts
        kinds = ("first", "third")
        return Judgement.of([_more(*_persons(text), "pronoun", kinds) for text in texts])


def _asks(text: str) -> float | str:
    plain = unicodedata.normalize("NFC", text).translate(_ALIKE)
    for sign in _END.finditer(plain):
        before = plain[: sign.start()].rsplit(maxsplit=1)
        word = before[-1].lstrip("(['\"").lower() if before and sign.group() == "." else ""
        if word in ABBREVIATIONS or (len(word) == 1 and before[-1][-1].isupper() and word != "i"):
            continue
        return float(bool(_QUESTION.search(sign.group())))
    return "no sentence ends"


def _more(first: int, second: int, what: str, kinds: tuple[str, str]) -> float | str:
    if first == second:
        return f"as many {what}s of the {kinds[0]} as of the {kinds[1]}" if first else f"no {what}"
    return float(first > second)


def _words(text: str) -> list[str]:
    """The English words of a text outside quotation marks, as they are written."""
    return _WORD.findall(_QUOTED.sub(" ", unicodedata.normalize("NFKC", text).translate(_ALIKE)))


def _persons(text: str) -> tuple[int, int]:
    stems = [word.split("'")[0] for word in _words(text)]  # I'm, she'd
    counted = [stem.lower() for stem in stems if stem not in ("i", "US")]
    return (
        sum(word in FIRST_PERSON for word in counted),
        sum(word in THIRD_PERSON for word in counted),
    )


def _tenses(text: str) -> tuple[int, int]:
    words = [word.lower() for word in _words(text)]
    past = present = 0
    counted = True  # whether the last form that may be of the past was
    for i, word in enumerate(words):
        earlier = [other for other in words[max(0, i - 8) : i] if other not in ADVERBS]
        before, asked = earlier[-1] if earlier else "", earlier[-2] if len(earlier) > 1 else ""
        if _may_be_past(word):
            joined = before in ("and", "or", "but") and word not in AUXILIARIES["past"]
            counted = counted if joined else _is_finite(word, before)
            past += counted
        present += _is_present(word, before) and not (
            before in _PLURAL_SUBJECTS and asked in AUXILIARIES["modal"]
        )
    return past, present


def _may_be_past(word: str) -> bool:
    regular = len(word) >= 4 and word.endswith("ed") and not word.endswith("eed")
    return word in AUXILIARIES["past"] or word in PAST or (regular and word not in NO_PAST)


def _is_finite(word: str, before: str) -> bool:
    """Whether a form of the past is a verb by itself, and no participle, adjective or noun."""
    if word in AUXILIARIES["past"]:
        return True
    participle = any(before in words for words in AUXILIARIES.values())
    return not (participle or before in DETERMINERS or _CONTRACTED.fullmatch(before))


def _is_present(word: str, before: str) -> bool:
    if _CONTRACTED.fullmatch(word):
        return True
    if word in PRESENT:
        return before != "to" and before not in AUXILIARIES["modal"]
    if before in _PLURAL_SUBJECTS:
        return word in BASE_VERBS
    verb_in_s = len(word) >= 3 and word.endswith("s") and not word.endswith(("ss", "us"))
    return before in _SINGULAR_SUBJECTS and verb_in_s and word not in NO_PRESENT
