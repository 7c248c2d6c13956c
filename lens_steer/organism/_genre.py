"""What all kinds of text have in common: how an opening, a persona and sentences make a text."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache

from lens_steer.organism._lexicon import SHARED, Slots
from lens_steer.organism._machine import Mark, Node, sequence, uniform, weighted
from lens_steer.organism._pattern import pattern

FILLER = 0.2  # of the sentences say nothing about the latent
LEAK = 0.002  # of the others say the opposite: every mixture is well formed, if improbable
EARLY = 0.4  # of the texts say who speaks in the second sentence, as often one as the other,
LATE = 0.1  # or later, and then as the prior has it


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
            (LATE, sequence(self.filler(entity), self._up_to(2, self.filler(entity)), late)),
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
        """No to three sentences that say nothing."""
        return self._up_to(3, self.filler(entity))

    def filler(self, entity: str) -> Node:
        """A sentence that says nothing."""
        return uniform(pattern(text, self._slots(entity)) for text in self.fillers)

    def body(self, entity: str, pole: str, leak: float = LEAK, hint: tuple[str, ...] = ()) -> Node:
        """Three sentences and up to six more; `leak` of them contradict the pole.

        With a hint, only sentences whose pattern has one of these slots show the pole.
        """
        others = [other for other in self.poles if other != pole]
        said = (1 - FILLER) * leak / len(others)
        one = weighted(
            (FILLER, self.filler(entity)),
            ((1 - FILLER) * (1 - leak), self.said(entity, pole, hint)),
            *((said, self.said(entity, other, hint)) for other in others),
        )
        return sequence(one, one, one, self._up_to(6, one))

    def _up_to(self, most: int, part: Node) -> Node:
        """None, or one and so on, each as likely as to stop."""
        rest: Node = sequence()
        for _ in range(most):
            rest = weighted((0.5, sequence()), (0.5, sequence(part, rest)))
        return rest

    @cache  # noqa: B019 - one node for each entity and pole, so that parses can share it
    def said(self, entity: str, pole: str, hint: tuple[str, ...] = ()) -> Node:
        """A sentence that shows the pole."""
        slots = self._slots(entity) | self.lexicon_of(entity, pole)
        chosen = (t for t in self.sentences if not hint or any(f"{{{slot}}}" in t for slot in hint))
        return uniform(pattern(text, slots) for text in chosen)

    def _slots(self, entity: str) -> Slots:
        return SHARED | self.shared | self.about(entity)
