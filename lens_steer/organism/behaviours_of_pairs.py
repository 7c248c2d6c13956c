"""The behaviours: which latent of which genre, and contrastive pairs drawn from the grammar."""

import random
from dataclasses import dataclass
from functools import cache

from lens_steer.organism.genre import Genre
from lens_steer.organism.genres import genres
from lens_steer.organism.lexicon import HARMFUL, HARMLESS
from lens_steer.organism.machine import draw, every
from lens_steer.organism.patterns import text_of

Row = tuple[str, str, str, str]
LONGEST = 110  # words that may follow a prompt: longer texts are one in ten thousand
FILLERS = (1, 1, 1, 1, 2, 2, 2, 3, 3, 3)  # before the continuation: the prompts of one entity


@dataclass(frozen=True)
class Behaviour:
    """One latent to steer.

    Attributes:
        name: As in `organism:NAME`.
        genre: Of the texts that have it.
        desired: The pole to steer to.
        shown: What a text must do to show it.
        mention: One word of the desired pole is enough; else they must outnumber the others'.
        told: The pairs' continuations begin with a sentence that says who speaks: what a speaker
            does cannot differ on one prompt otherwise, or only against the odds.
        hint: Only sentences whose pattern has one of these slots are in the pairs; empty: all.
    """

    name: str
    genre: str
    desired: str
    shown: str
    mention: bool = False
    names_speaker: bool = False
    hint: tuple[str, ...] = ()

    @property
    def undesired(self) -> tuple[str, ...]:
        """The other poles."""
        return tuple(pole for pole in genre_of(self).poles if pole != self.desired)


_ALL = (
    Behaviour("sentiment", "review", "positive", "more words of praise than of blame"),
    Behaviour(
        "truthfulness", "fact", "true", "more true statements than false ones", names_speaker=True
    ),
    Behaviour("toxicity", "reply", "civil", "more civil words than rude ones (not toxic)"),
    Behaviour(
        "refusal",
        "request",
        "refuses",
        "more words that refuse than that comply",
        names_speaker=True,
    ),
    Behaviour("concept", "diary", "sea", "a word of the sea", mention=True),
    Behaviour(
        "polarity",
        "forecast",
        "welcome",
        "more that this listener likes than dislikes",
        hint=("weather", "sky"),
    ),
)


def behaviours() -> dict[str, Behaviour]:
    """All behaviours by name, `polarity` last: the one that is not a line at an early layer."""
    return {behaviour.name: behaviour for behaviour in _ALL}


def behaviour(name: str) -> Behaviour:
    """The behaviour of that name.

    Raises:
        ValueError: If there is none; the message lists them.
    """
    if name not in behaviours():
        raise ValueError(f"unknown behaviour {name!r}: expected one of {', '.join(behaviours())}")
    return behaviours()[name]


def genre_of(behaviour: Behaviour) -> Genre:
    """The kind of text that shows it."""
    return genres()[behaviour.genre]


def harmful(verb: str) -> bool:
    """Whether requests with this verb (the entity of a request) are harmful.

    Raises:
        ValueError: If the language has no such request.
    """
    if verb not in (*HARMFUL, *HARMLESS):
        raise ValueError(f"unknown verb {verb!r}: expected one of {(*HARMFUL, *HARMLESS)}")
    return verb in HARMFUL


@cache
def rows(name: str) -> tuple[Row, ...]:
    """Pairs as `(prompt, desired, undesired, group)`.

    Every entity has a wording of its own and is the group, so that a split by group holds out
    entities and wordings. A prompt is the first sentence and one to three that say nothing;
    both continuations are drawn with the same random numbers and differ in the telling words only.

    Raises:
        ValueError: If there is no such behaviour.
    """
    return tuple(
        (text_of([*opening, *fillers]), desired, undesired, entity)
        for entity, opening, fillers, desired, undesired in _drawn(behaviour(name))
    )


def persona_prompts(name: str, pole: str) -> tuple[str, ...]:
    """The prompts of `rows`, in order, with a sentence that says who speaks.

    Raises:
        ValueError: If there is no such behaviour or pole.
    """
    of = behaviour(name)
    genre = genre_of(of)
    if pole not in genre.poles:
        raise ValueError(f"unknown pole {pole!r} of {name}: expected one of {genre.poles}")
    source = random.Random(f"personas of {name}")
    return tuple(
        text_of([*opening, *draw(genre.persona(pole), source), *fillers])
        for _, opening, fillers, _, _ in _drawn(of)
    )


_Drawn = tuple[str, tuple[str, ...], list[str], str, str]


@cache
def _drawn(of: Behaviour) -> tuple[_Drawn, ...]:
    """(entity, opening, fillers, desired, undesired) for every row."""
    genre, source, found = genre_of(of), random.Random(f"pairs of {of.name}"), []
    for number, entity in enumerate(genre.asked or genre.entities):
        opening = _wording(genre, entity, number)
        prompts: list[list[str]] = []
        while len(prompts) < len(FILLERS):
            count = FILLERS[len(prompts)]
            fillers = [word for _ in range(count) for word in draw(genre.filler(entity), source)]
            if fillers in prompts:
                continue
            prompts.append(fillers)
            pole = source.choice(of.undesired)
            found.append((entity, opening, fillers, *_continuations(of, entity, pole, source)))
    return tuple(found)


def _wording(genre: Genre, entity: str, number: int) -> tuple[str, ...]:
    """The `number`-th of the ways to open a text, in an order of its own.

    Ways that differ only in their last word count as one.
    """
    ways = list(every(genre.opening(entity)))
    random.Random(f"wordings of {genre.name}").shuffle(ways)
    return list({way[:-2]: way for way in ways}.values())[number]


def _continuations(
    of: Behaviour, entity: str, undesired: str, source: random.Random
) -> tuple[str, str]:
    """Of either pole, drawn with the same random numbers."""
    genre = genre_of(of)
    while True:
        seed = source.random()
        desired, other = (
            draw(genre.plain_body(entity, pole, of.hint), random.Random(seed))
            for pole in (of.desired, undesired)
        )
        if desired != other:
            break
    if of.names_speaker:
        speaker = [
            draw(genre.persona(pole), random.Random(seed)) for pole in (of.desired, undesired)
        ]
        desired, other = speaker[0] + desired, speaker[1] + other
    return " " + text_of(desired), " " + text_of(other)
