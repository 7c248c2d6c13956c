"""Weighted grammars: one tree draws texts, parses them and gives their probability."""

import itertools
import random
from bisect import bisect_right
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from math import log
from typing import Any

END = "</s>"  # the end of a text, as the tokenizer spells it


@dataclass(frozen=True, eq=False)
class Word:
    """One word of the text."""

    text: str


@dataclass(frozen=True, eq=False)
class Mark:
    """A mark without a word: from here on the latent `name` has this value."""

    name: str
    value: str


@dataclass(frozen=True, eq=False)
class Sequence:
    """Parts that follow one another."""

    parts: tuple["Node", ...]


@dataclass(frozen=True, eq=False)
class Choice:
    """One of several options, drawn by weight.

    Attributes:
        options: What may follow.
        weights: The probability of each option; they add up to 1.
        bounds: The running sum of the weights.
    """

    options: tuple["Node", ...]
    weights: tuple[float, ...]
    bounds: tuple[float, ...] = field(init=False)

    def __post_init__(self) -> None:
        if len(self.options) != len(self.weights) or abs(sum(self.weights) - 1) > 1e-9:
            raise ValueError(
                f"got {len(self.options)} options of weights {self.weights}: expected one weight "
                "each, adding up to 1"
            )
        object.__setattr__(self, "bounds", tuple(itertools.accumulate(self.weights)))


Node = Word | Mark | Sequence | Choice
# What is still to come: the next node, then the rest. A linked list, so that states share tails.
_Rest = tuple[Node, Any] | None
Labels = tuple[tuple[str, str], ...]
State = tuple[Labels, _Rest]


def sequence(*parts: Node) -> Sequence:
    """The parts, one after the other."""
    return Sequence(parts)


def uniform(options: Iterable[Node]) -> Choice:
    """One of the options, all of which are as likely."""
    nodes = tuple(options)
    return Choice(nodes, tuple(1 / len(nodes) for _ in nodes))


def weighted(*options: tuple[float, Node]) -> Choice:
    """One of the options by weight; those of weight 0 are left out."""
    kept = [(weight, node) for weight, node in options if weight > 0]
    return Choice(tuple(node for _, node in kept), tuple(weight for weight, _ in kept))


def draw(node: Node, source: random.Random) -> list[str]:
    """Draw a text from a grammar: its words; each choice takes one random number."""
    words: list[str] = []
    stack: list[Node] = [node]
    while stack:
        top = stack.pop()
        match top:
            case Word(text):
                words.append(text)
            case Sequence(parts):
                stack.extend(reversed(parts))
            case Choice(options):
                at = bisect_right(top.bounds, source.random())
                stack.append(options[min(at, len(options) - 1)])
            case Mark():
                pass
    return words


def every(node: Node) -> Iterator[tuple[str, ...]]:
    """All texts of a small grammar, in order."""
    match node:
        case Word(text):
            yield (text,)
        case Mark():
            yield ()
        case Sequence(parts):
            for texts in itertools.product(*(tuple(every(part)) for part in parts)):
                yield tuple(itertools.chain.from_iterable(texts))
        case Choice(options):
            for option in options:
                yield from every(option)


def words_of(node: Node) -> set[str]:
    """Every word that can occur in a grammar."""
    words: set[str] = set()
    seen: set[int] = set()
    stack: list[Node] = [node]
    while stack:
        top = stack.pop()
        if id(top) in seen:
            continue
        seen.add(id(top))
        match top:
            case Word(text):
                words.add(text)
            case Sequence(parts):
                stack.extend(parts)
            case Choice(options):
                stack.extend(options)
            case Mark():
                pass
    return words


class Reader:
    """Follows texts through a grammar and keeps every parse, so that sums over parses are exact.

    Args:
        root: The grammar.
    """

    def __init__(self, root: Node) -> None:
        self._start: State = ((), (root, None))
        self._arcs: dict[State, dict[str, list[tuple[float, State]]]] = {}

    def read(self, words: Iterable[str]) -> tuple[float, dict[State, float]]:
        """Read the beginning of a text.

        Returns:
            The log-probability that a text begins so, in nats, and the probability of each parse
            given the beginning; -inf and no parse if no text begins so.
        """
        total, states = 0.0, {self._start: 1.0}
        for word in words:
            masses: dict[State, float] = defaultdict(float)
            for state, share in states.items():
                stored = self._arcs.get(state)  # most states are: no call for them
                arcs = self.arcs(state) if stored is None else stored
                for weight, after in arcs.get(word, ()):
                    masses[after] += share * weight
            total_mass = sum(masses.values())
            if total_mass == 0:
                return float("-inf"), {}
            total += log(total_mass)
            states = {state: mass / total_mass for state, mass in masses.items()}
        return total, states

    def following(self, states: dict[State, float]) -> dict[str, float]:
        """The distribution of the next word after some parses; `END` is the end of the text."""
        shares: dict[str, float] = defaultdict(float)
        for state, share in states.items():
            for word, arcs in self.arcs(state).items():
                shares[word] += share * sum(weight for weight, _ in arcs)
        return dict(shares)

    def arcs(self, state: State) -> dict[str, list[tuple[float, State]]]:
        """For each next word, the ways to it: their weights, and the states that they lead to."""
        if state not in self._arcs:
            merged: dict[tuple[str, State], float] = defaultdict(float)
            for weight, word, after in _ways(state):
                merged[word, after] += weight
            arcs: dict[str, list[tuple[float, State]]] = defaultdict(list)
            for (word, after), weight in merged.items():
                arcs[word].append((weight, after))
            self._arcs[state] = dict(arcs)
        return self._arcs[state]


def _ways(state: State) -> Iterator[tuple[float, str, State]]:
    waiting: list[tuple[float, Labels, _Rest]] = [(1.0, *state)]
    while waiting:
        weight, labels, rest = waiting.pop()
        if rest is None:
            yield weight, END, (labels, None)
            continue
        node, after = rest
        match node:
            case Word(text):
                yield weight, text, (labels, after)
            case Mark(name, value):
                waiting.append((weight, (*labels, (name, value)), after))
            case Sequence(parts):
                for part in reversed(parts):
                    after = (part, after)
                waiting.append((weight, labels, after))
            case Choice(options, weights):
                waiting.extend(
                    (weight * share, labels, (option, after))
                    for option, share in zip(options, weights, strict=True)
                )
