"""The behaviours that can be steered, and contrastive pairs of them drawn from the grammar."""

import random
from dataclasses import dataclass
from functools import cache

from lens_steer.organism.genre import Genre
from lens_steer.organism.genres import genres
from lens_steer.organism.lexicon import HARMFUL, HARMLESS
from lens_steer.organism.machine import draw, every
from lens_steer.organism.patterns import text_of

Row = tuple[str, str, str, str]
LONGEST = 110  # words after a prompt; one text in ten thousand is longer
FILLERS = (1, 1, 1, 1, 2, 2, 2, 3, 3, 3)  # filler sentences in each of the ten prompts of an entity


@dataclass(frozen=True)
class Behaviour:
    """A latent variable of a genre, and the value to steer it to.

    Attributes:
        name: The name, as in `organism:NAME`.
        genre: The kind of text that has the latent.
        desired: The value (pole) to steer to.
        criterion: What a text must do to show the behaviour, in words.
        mention: Whether one word of the desired pole is enough to show it; otherwise its words have
            to outnumber those of the other poles.
        names_speaker: Whether continuations of the pairs begin with a sentence that says who
            speaks. Without it, what a speaker does is settled by the prompt, or nearly so, and both
            continuations could not follow the same prompt.
        hint: Slots, of which each sentence in the pairs has at least one; empty admits all
            sentences.
    """

    name: str
    genre: str
    desired: str
    criterion: str
    mention: bool = False
    names_speaker: bool = False
    hint: tuple[str, ...] = ()

    @property
    def undesired(self) -> tuple[str, ...]:
        """The other values of the latent."""
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
    """All behaviours by name.

    The last, `polarity`, is the one that is not linearly represented at an early layer.

    Example:
        >>> list(ls.organism.behaviours())
        ['sentiment', 'truthfulness', 'toxicity', 'refusal', 'concept', 'polarity']
    """
    return {behaviour.name: behaviour for behaviour in _ALL}


def behaviour(name: str) -> Behaviour:
    """The behaviour of that name.

    Raises:
        ValueError: If there is none; the message lists those there are.
    """
    if name not in behaviours():
        raise ValueError(f"unknown behaviour {name!r}: expected one of {', '.join(behaviours())}")
    return behaviours()[name]


def genre_of(behaviour: Behaviour) -> Genre:
    """The kind of text that shows a behaviour."""
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
    """Contrastive pairs of a behaviour as `(prompt, desired, undesired, group)`.

    A prompt is the first sentence of a text and one to three that say nothing of the latent. Both
    continuations are drawn with the same random numbers and differ only in the words that show it.
    What a text is about (its entity) is the group, and each has its own wording of the first
    sentence, so that a split by group holds out entities and wordings.

    Raises:
        ValueError: If there is no such behaviour.

    Example:
        >>> prompt, desired, undesired, group = ls.organism.rows("sentiment")[0]
    """
    return tuple(
        (text_of([*opening, *fillers]), desired, undesired, entity)
        for entity, opening, fillers, desired, undesired in _drawn(behaviour(name))
    )


def persona_prompts(name: str, pole: str) -> tuple[str, ...]:
    """The prompts of `rows`, in order, with a sentence that says who speaks.

    Args:
        name: The behaviour.
        pole: The value of the latent that the sentence gives away.

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
    genre, source, drawn = genre_of(of), random.Random(f"pairs of {of.name}"), []
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
            drawn.append((entity, opening, fillers, *_continuations(of, entity, pole, source)))
    return tuple(drawn)


def _wording(genre: Genre, entity: str, number: int) -> tuple[str, ...]:
    """The `number`-th way to open a text about an entity, in a shuffled order.

    Ways that differ only in their last word count as one.
    """
    ways = list(every(genre.opening(entity)))
    random.Random(f"wordings of {genre.name}").shuffle(ways)
    return list({way[:-2]: way for way in ways}.values())[number]


def _continuations(
    of: Behaviour, entity: str, undesired: str, source: random.Random
) -> tuple[str, str]:
    """Continuations of the desired and of another pole, drawn with the same random numbers."""
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
