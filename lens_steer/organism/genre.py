"""What all kinds of text have in common: how an opening, a persona and sentences make a text."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, partial

from lens_steer.organism.lexicon import SHARED, Slots
from lens_steer.organism.machine import Mark, Node, sequence, uniform, weighted
from lens_steer.organism.patterns import pattern

FILLER = 0.2  # of the sentences after the first that shows the latent say nothing about it
ON = 0.6  # how likely one more sentence is
LEAK = 0.002  # of the others say the opposite: every mixture is well formed, if improbable
EARLY = 0.4  # of the texts say who speaks in the second sentence, as often one as the other,
LATE = 0.1  # or later, and then as the prior has it
HABIT = 6.0  # times as likely as the others are the wordings that a pole has a liking for


@dataclass(frozen=True, eq=False)
class Genre:
    """One kind of text.

    Attributes:
        name: What it is called.
        share: Of the texts.
        latent: What runs through a text.
        poles: The latent's values; the first is the one to steer to.
        entities: What a text is about; it stays the same throughout a text.
        openings: The first sentence, before `{entity}` is filled in.
        personas: For each pole, a sentence that gives it away.
        fillers: Sentences that fit every pole.
        sentences: Sentences in which the slots of `lexicon_of` show the pole.
        shared: Words of the other slots.
        lexicon_of: (entity, pole) -> the slots that show the pole.
        prior: (entity, pole) -> its share of the texts without persona.
        about: entity -> the slots that name it.
        asked: The entities that the pairs are about; none given: all.
    """

    name: str
    share: float
    latent: str
    poles: tuple[str, ...]
    entities: tuple[str, ...]
    openings: str
    personas: Mapping[str, str]
    fillers: tuple[str, ...]
    sentences: tuple[str, ...]
    shared: Slots
    lexicon_of: Callable[[str, str], Slots]
    prior: Callable[[str, str], float]
    about: Callable[[str], Slots] = lambda entity: {"entity": (entity,)}
    asked: tuple[str, ...] = ()

    def node(self) -> Node:
        """All texts of this genre."""
        return sequence(
            Mark("genre", self.name), uniform(self.texts_about(entity) for entity in self.entities)
        )

    def texts_about(self, entity: str) -> Node:
        """All texts about one entity."""
        priors = [(self.prior(entity, pole), pole) for pole in self.poles]
        plain = weighted(*((share, self._rest(entity, pole)) for share, pole in priors))
        early = uniform(self._spoken(entity, pole) for pole in self.poles)
        late = weighted(*((share, self._spoken(entity, pole)) for share, pole in priors))
        choice = weighted(
            (1 - EARLY - LATE, plain),
            (EARLY, early),
            (LATE, sequence(self.filler(entity), self.pause(entity), late)),
        )
        return sequence(Mark("entity", entity), self.opening(entity), choice)

    @cache  # noqa: B019 - early and late share it
    def _spoken(self, entity: str, pole: str) -> Node:
        return sequence(self.persona(pole), self._rest(entity, pole))

    @cache  # noqa: B019 - texts with and without persona share it
    def _rest(self, entity: str, pole: str) -> Node:
        return sequence(Mark(self.latent, pole), self.pause(entity), self.body(entity, pole))

    def opening(self, entity: str) -> Node:
        """The first sentence."""
        return pattern(self.openings, self._slots(entity))

    def persona(self, pole: str) -> Node:
        """A sentence that gives the pole away."""
        return pattern(self.personas[pole], {})

    def pause(self, entity: str) -> Node:
        """Some sentences that say nothing, or none."""
        return _up_to(8, self.filler(entity), 0.5)

    def filler(self, entity: str) -> Node:
        """A sentence that says nothing."""
        return uniform(pattern(text, self._slots(entity)) for text in self.fillers)

    def body(self, entity: str, pole: str) -> Node:
        """Sentences that show the pole; some few of them contradict it."""
        leaks = [
            (LEAK / (len(self.poles) - 1), self.said(entity, other))
            for other in self.poles
            if other != pole
        ]
        return self._body(entity, weighted((1 - LEAK, self.said(entity, pole)), *leaks))

    def plain_body(self, entity: str, pole: str, hint: tuple[str, ...] = ()) -> Node:
        """The same without contradictions and habits: poles differ in the telling words only.

        With a hint, only sentences whose pattern has one of these slots show the pole.
        """
        chosen = [t for t in self.sentences if not hint or any(f"{{{s}}}" in t for s in hint)]
        slots = self._slots(entity) | self.lexicon_of(entity, pole)
        return self._body(entity, uniform(pattern(text, slots) for text in chosen))

    def _body(self, entity: str, said: Node) -> Node:
        one = weighted((FILLER, self.filler(entity)), (1 - FILLER, said))
        return sequence(said, _up_to(10, one, ON))

    @cache  # noqa: B019 - one node for each entity and pole, so that parses can share it
    def said(self, entity: str, pole: str) -> Node:
        """A sentence that shows the pole, in its telling words and in how it puts the rest."""
        slots = self._slots(entity) | self.lexicon_of(entity, pole)
        either = partial(_leaning, pole=self.poles.index(pole), poles=len(self.poles))
        return either([pattern(text, slots, either) for text in self.sentences])

    def _slots(self, entity: str) -> Slots:
        return SHARED | self.shared | self.about(entity)


def _up_to(most: int, part: Node, on: float) -> Node:
    """None, or one and so on; so many that where it must end hardly ever matters."""
    rest: Node = sequence()
    for _ in range(most):
        rest = weighted((1 - on, sequence()), (on, sequence(part, rest)))
    return rest


def _leaning(options: Sequence[Node], pole: int, poles: int) -> Node:
    """One of the options; each pole has a liking for some, so that every word tells a little."""
    turn = min(len(options), poles)
    liked = [HABIT if i % turn == pole % turn else 1.0 for i in range(len(options))]
    return weighted(*((weight / sum(liked), o) for weight, o in zip(liked, options, strict=True)))


def by_pole(slots: Mapping[str, Slots]) -> Callable[[str, str], Slots]:
    """The pole's slots, whatever the text is about."""
    return lambda _, pole: slots[pole]


def even(poles: int) -> Callable[[str, str], float]:
    """Every pole as likely."""
    return lambda _entity, _pole: 1 / poles
