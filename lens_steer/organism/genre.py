"""What all kinds of text have in common: an opening, perhaps a persona, and sentences."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, partial

from lens_steer.organism.lexicon import SHARED, Slots
from lens_steer.organism.machine import Mark, Node, sequence, uniform, weighted
from lens_steer.organism.patterns import pattern

# Of the sentences after the first that shows the latent, the share that says nothing about it.
FILLER = 0.2
# The probability that a text goes on with one more sentence.
ON = 0.6
# Of the sentences that show the latent, the share that shows another value of it: so that texts of
# any mixture are in the language, however improbable.
LEAK = 0.002
# The share of texts whose second sentence says who speaks, each speaker being as likely.
EARLY = 0.4
# The share of texts that say later who speaks, each speaker being as likely as its pole's prior.
LATE = 0.1
# How many times as likely as other wordings those are that a pole prefers.
HABIT = 6.0


@dataclass(frozen=True, eq=False)
class Genre:
    """One kind of text.

    Attributes:
        name: The name of the genre.
        share: Its share of all texts.
        latent: The name of the latent variable, which has one value throughout a text.
        poles: The values of the latent; the first is the one to steer to.
        entities: What texts may be about; a text has one entity from beginning to end.
        openings: The pattern of the first sentence.
        personas: For each pole, the pattern of a sentence that gives it away.
        fillers: Patterns of sentences that fit every pole.
        sentences: Patterns of sentences in which the slots of `lexicon_of` show the pole.
        shared: Words for the slots that do not show the pole.
        lexicon_of: Maps an entity and a pole to the words for the slots that show the pole.
        prior: Maps an entity and a pole to the pole's share of the texts without persona.
        about: Maps an entity to the words for the slots that name it.
        asked: The entities that the contrastive pairs are about; empty means all.
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

    def __repr__(self) -> str:
        poles, entities = ", ".join(self.poles), len(self.entities)
        return f"Genre({self.name}: {self.latent} is one of {poles}; {entities} entities)"

    def node(self) -> Node:
        """The grammar of all texts of this genre."""
        return sequence(
            Mark("genre", self.name), uniform(self.texts_about(entity) for entity in self.entities)
        )

    def texts_about(self, entity: str) -> Node:
        """The grammar of all texts about one entity."""
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

    @cache  # noqa: B019 - early and late personas share it
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
        """Some sentences that say nothing of the latent, or none."""
        return _up_to(8, self.filler(entity), 0.5)

    def filler(self, entity: str) -> Node:
        """A sentence that says nothing of the latent."""
        return uniform(pattern(text, self._slots(entity)) for text in self.fillers)

    def body(self, entity: str, pole: str) -> Node:
        """Sentences that show the pole; a few of them contradict it (`LEAK`)."""
        leaks = [
            (LEAK / (len(self.poles) - 1), self.said(entity, other))
            for other in self.poles
            if other != pole
        ]
        return self._body(entity, weighted((1 - LEAK, self.said(entity, pole)), *leaks))

    def plain_body(self, entity: str, pole: str, hint: tuple[str, ...] = ()) -> Node:
        """Sentences as in `body`, without contradictions and preferred wordings.

        Poles then differ only in the words that show them.

        Args:
            entity: What the text is about.
            pole: The value of the latent.
            hint: Slots, of which each sentence that shows the pole has at least one; empty admits
                all sentences.
        """
        chosen = [t for t in self.sentences if not hint or any(f"{{{s}}}" in t for s in hint)]
        slots = self._slots(entity) | self.lexicon_of(entity, pole)
        return self._body(entity, uniform(pattern(text, slots) for text in chosen))

    def _body(self, entity: str, said: Node) -> Node:
        one = weighted((FILLER, self.filler(entity)), (1 - FILLER, said))
        return sequence(said, _up_to(10, one, ON))

    @cache  # noqa: B019 - one node for each entity and pole, so that parses can share it
    def said(self, entity: str, pole: str) -> Node:
        """A sentence that shows the pole, by its words and by the wordings it prefers."""
        slots = self._slots(entity) | self.lexicon_of(entity, pole)
        either = partial(_leaning, pole=self.poles.index(pole), poles=len(self.poles))
        return either([pattern(text, slots, either) for text in self.sentences])

    def _slots(self, entity: str) -> Slots:
        return SHARED | self.shared | self.about(entity)


def _up_to(most: int, part: Node, on: float) -> Node:
    """No part, one, or more: each next one with probability `on`, at most so many."""
    rest: Node = sequence()
    for _ in range(most):
        rest = weighted((1 - on, sequence()), (on, sequence(part, rest)))
    return rest


def _leaning(options: Sequence[Node], pole: int, poles: int) -> Node:
    """One of the options; each pole prefers some, so that every word says a little about it."""
    turn = min(len(options), poles)
    weights = [HABIT if i % turn == pole % turn else 1.0 for i in range(len(options))]
    total = sum(weights)
    return weighted(*((w / total, option) for w, option in zip(weights, options, strict=True)))


def by_pole(slots: Mapping[str, Slots]) -> Callable[[str, str], Slots]:
    """A function that gives the words of a pole, whatever the text is about."""
    return lambda _, pole: slots[pole]


def even(poles: int) -> Callable[[str, str], float]:
    """A prior by which every pole is as likely."""
    return lambda _entity, _pole: 1 / poles
