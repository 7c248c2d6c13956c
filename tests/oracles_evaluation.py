"""Numpy oracles of the evaluation, written from the definitions and not from the code."""

from collections.abc import Hashable, Sequence
from dataclasses import fields
from itertools import product
from typing import Any

import numpy as np
import torch

from lens_steer.benchmark.grouped_sums import Sums
from lens_steer.models import is_bridge
from lens_steer.organism.machine import END, Choice, Mark, Node, Reader, State
from lens_steer.organism.machine import Sequence as Sequence_

Array = np.ndarray[Any, np.dtype[np.float64]]


def all_resample_means(values: Sequence[float], groups: Sequence[Hashable]) -> Array:
    """The mean of every possible resample of groups: the bootstrap distribution itself."""
    members: dict[Hashable, list[float]] = {}
    for value, group in zip(values, groups, strict=True):
        members.setdefault(group, []).append(value)
    samples = list(members.values())
    return np.array(
        [float(np.mean(sum(drawn, []))) for drawn in product(samples, repeat=len(samples))]
    )


def raw_logits(model: Any, ids: Sequence[int], **hooks: Any) -> Array:
    """Logits of one row alone, through the model's own call; `hooks` as `model.hooks` takes."""
    uncached = {"use_cache": False} if is_bridge(model) else {}
    with torch.no_grad(), model.hooks(**hooks):
        return model(torch.tensor([list(ids)]), **uncached)[0].double().numpy()


def token_log_probabilities(logits: Array, ids: Sequence[int], prompt_length: int) -> Array:
    """Of each token from `prompt_length` on, by its definition, one token at a time."""
    found = []
    for position in range(max(prompt_length, 1), len(ids)):
        row = logits[position - 1]
        peak = row.max()
        total = peak + np.log(np.exp(row - peak).sum())
        found.append(row[ids[position]] - total)
    return np.array(found)


def log_softmax(logits: Array) -> Array:
    """Of every row, in float64."""
    shifted = logits - logits.max(axis=-1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True))


def divergence(steered: Array, unsteered: Array) -> Array:
    """KL(steered || unsteered) of each row's distribution, nats."""
    ours, theirs = log_softmax(steered), log_softmax(unsteered)
    return (np.exp(ours) * (ours - theirs)).sum(axis=-1)


class Conditioned:
    """A grammar, and the same grammar given the value of a latent, word by word and exactly.

    A state's labels say what the latent is; where it is not settled yet, the tree of what is still
    to come says how likely each value is: the first mark on every way through it decides.
    """

    def __init__(self, root: Node, latent: str, value: str) -> None:
        self._latent, self._value = latent, value
        self._reader = Reader(root)
        self._known: dict[Node, tuple[float, float]] = {}

    def states(self, words: Sequence[str]) -> dict[State, float]:
        """Where a beginning may have led, with shares."""
        return self._reader.read(words)[1]

    def share(self, states: dict[State, float]) -> float:
        """P(latent = value | beginning)."""
        return sum(share * self._share_of(state) for state, share in states.items())

    def _share_of(self, state: State) -> float:
        labels, rest = state
        own = [value for name, value in labels if name == self._latent]
        if own:
            return float(own[-1] == self._value)
        yes, open_still = 0.0, 1.0
        while rest is not None:
            node, rest = rest
            hit, left = self._settled(node)
            yes, open_still = yes + open_still * hit, open_still * left
        return yes

    def _settled(self, node: Node) -> tuple[float, float]:
        """(that the first mark of the latent has the value, that there is none)."""
        if node not in self._known:
            self._known[node] = self._settles(node)
        return self._known[node]

    def _settles(self, node: Node) -> tuple[float, float]:
        match node:
            case Mark(name, value) if name == self._latent:
                return float(value == self._value), 0.0
            case Sequence_(parts):
                yes, left = 0.0, 1.0
                for part in parts:
                    hit, still = self._settled(part)
                    yes, left = yes + left * hit, left * still
                return yes, left
            case Choice(options, weights):
                each = [self._settled(option) for option in options]
                return (
                    sum(w * hit for w, (hit, _) in zip(weights, each, strict=True)),
                    sum(w * left for w, (_, left) in zip(weights, each, strict=True)),
                )
        return 0.0, 1.0

    def following(self, states: dict[State, float]) -> tuple[list[str], Array, Array]:
        """Next words, their probabilities under the conditioned grammar and under the plain one."""
        plain: dict[str, float] = {}
        joint: dict[str, float] = {}
        for state, share in states.items():
            for word, arcs in self._reader.arcs(state).items():
                for weight, after in arcs:
                    mass = share * weight
                    plain[word] = plain.get(word, 0.0) + mass
                    joint[word] = joint.get(word, 0.0) + mass * self._share_of(after)
        words = list(plain)
        own = np.array([joint[word] for word in words])
        return words, own / own.sum(), np.array([plain[word] for word in words])

    def write(
        self, beginning: Sequence[str], source: np.random.Generator
    ) -> list[tuple[Array, Array]]:
        """A text drawn given the value: at every word, both distributions it may be drawn from."""
        states, found = self.states(beginning), []
        while True:
            words, own, plain = self.following(states)
            found.append((own, plain))
            word = words[int(source.choice(len(words), p=own))]
            if word == END:
                return found
            after: dict[State, float] = {}
            for state, share in states.items():
                for weight, follower in self._reader.arcs(state).get(word, []):
                    after[follower] = after.get(follower, 0.0) + share * weight
            total = sum(after.values())
            states = {state: share / total for state, share in after.items()}


def sums_of(behaviour: Any, examples: Any) -> Sums:
    """Sums of which only two are other than zero."""
    behaviour = np.asarray(behaviour, dtype=float)
    named = {field.name: np.zeros_like(behaviour) for field in fields(Sums)}
    return Sums(**named | {"behaviour": behaviour, "examples": np.asarray(examples, dtype=float)})
