"""Oracles in plain Python and float64 numpy, written from the definitions and not from the code."""

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, TypeVar

import numpy as np

from tests.numpy_models import NumpyModel, recorded

Part = TypeVar("Part")

Array = np.ndarray[Any, np.dtype[np.float64]]


def welford(sample: Sequence[Any]) -> tuple[int, Array, Array]:
    """Count, mean and sum of squared deviations, one value at a time (Welford 1962)."""
    mean = np.zeros_like(np.asarray(sample[0], dtype=np.float64))
    m2 = np.zeros_like(mean)
    for count, value in enumerate(sample, start=1):
        x = np.asarray(value, dtype=np.float64)
        before = x - mean
        mean = mean + before / count
        m2 = m2 + before * (x - mean)
    return len(sample), mean, m2


def chan(a: tuple[int, Array, Array], b: tuple[int, Array, Array]) -> tuple[int, Array, Array]:
    """Two samples' moments put together (Chan, Golub and LeVeque 1979, eq. 2.1)."""
    count = a[0] + b[0]
    shift = b[1] - a[1]
    mean = (a[0] * a[1] + b[0] * b[1]) / count
    return count, mean, a[2] + b[2] + shift**2 * a[0] * b[0] / count


def separability(desired: Sequence[int], undesired: Sequence[int]) -> Fraction:
    """Leave-one-out majority vote by token, the classes weighing the same, in exact fractions."""
    weight = (Fraction(1, len(desired)), Fraction(1, len(undesired)))
    sides = (list(desired), list(undesired))
    shares = []
    for own in (0, 1):
        right = Fraction(0)
        for left_out, token in enumerate(sides[own]):
            others = [t for i, t in enumerate(sides[own]) if i != left_out]
            mine = weight[own] * others.count(token)
            theirs = weight[1 - own] * sides[1 - own].count(token)
            right += Fraction(1, 2) if mine == theirs else Fraction(int(mine > theirs))
        shares.append(right / len(sides[own]))
    return (shares[0] + shares[1]) / 2


def components(ties: Sequence[set[Hashable]]) -> list[set[int]]:
    """Indices whose sets of ties meet, directly or through others: merged until nothing changes."""
    found = [({i}, set(tie)) for i, tie in enumerate(ties)]
    merged = True
    while merged:
        merged = False
        for i in range(len(found)):
            for j in range(i + 1, len(found)):
                if found[i][1] & found[j][1]:
                    found[i] = (found[i][0] | found[j][0], found[i][1] | found[j][1])
                    del found[j]
                    merged = True
                    break
            if merged:
                break
    return [members for members, _ in found]


# ---- SADI (arXiv:2410.12299) ----

Rows = Sequence[tuple[Sequence[int], Sequence[int]]]  # tokens of desired and undesired, by pair


def sadi_scores(model: NumpyModel, pairs: Rows, kind: str) -> Array:
    """Mean over pairs of desired minus undesired at the last token [layer element]."""

    def last(tokens: Sequence[int]) -> Array:
        held = np.stack([x[-1] for x in recorded(model, tokens, kind)])
        return held.mean(axis=-1) if kind == "head" else held

    gaps = [last(desired) - last(undesired) for desired, undesired in pairs]
    return np.stack(gaps).mean(axis=0)


def sadi_selection(scores: Array, k: int) -> set[tuple[int, int]]:
    """(layer, element) of the k largest signed scores over all layers together."""
    ranked = sorted(np.ndindex(*scores.shape), key=lambda place: -scores[place])
    return {(int(layer), int(element)) for layer, element in ranked[:k]}


def sadi_gain(shape: Sequence[int], chosen: set[tuple[int, int]], delta: Any) -> Array:
    """1 + delta * M [layer element]; delta is one number, or one for each element."""
    mask = np.zeros(tuple(shape))
    for place in chosen:
        mask[place] = 1.0
    return 1.0 + np.asarray(delta, dtype=np.float64) * mask


def sadi_online(
    model: NumpyModel, tokens: Sequence[int], prompt: int, kind: str, gain: Array
) -> Array:
    """Logits with the live activation scaled from the prompt's last token on, in one pass."""

    def scale(seen: str, layer: int, x: Array) -> Array:
        if seen == kind:
            x = x.copy()
            x[prompt - 1 :] *= gain[layer][:, None] if kind == "head" else gain[layer]
        return x

    return model(tokens, scale)


def sadi_frozen(
    model: NumpyModel, tokens: Sequence[int], prompt: int, kind: str, gain: Array
) -> Array:
    """Logits with every layer overwritten at the prompt's last token, in two passes.

    What is written there is the clean pass's activation, chosen elements scaled.
    """
    clean = [x[-1] for x in recorded(model, tokens[:prompt], kind)]

    def patch(seen: str, layer: int, x: Array) -> Array:
        if seen == kind:
            x = x.copy()
            factor = gain[layer][:, None] if kind == "head" else gain[layer]
            x[prompt - 1] = clean[layer] * factor
        return x

    return model(tokens, patch)


# ---- Linearity (arXiv:2604.19018) ----


@dataclass(frozen=True, eq=False)
class LastToken:
    """A row's last token as a variable, in whole causal passes; derivatives are differences."""

    model: NumpyModel
    tokens: Sequence[int]

    @property
    def states(self) -> Array:
        """The stream entering every block, and leaving the last [layer d]."""
        return np.stack([x[-1] for x in recorded(self.model, self.tokens, "stream")])

    def block(self, layer: int, x: Array) -> Array:
        """What leaves the block if `x` enters it."""
        try:
            self._run(layer, x, until=layer + 1)
        except _Left as left:
            return left.args[0]
        raise AssertionError("no such block")

    def logits(self, layer: int, x: Array) -> Array:
        """Of the next token if `x` enters the block."""
        return self._run(layer, x)

    def jacobian(self, layer: int, step: float = 1e-4) -> Array:
        """Row = output, column = input."""
        z = self.states[layer]
        steps = step * np.eye(len(z))
        columns = [self.block(layer, z + h) - self.block(layer, z - h) for h in steps]
        return np.stack(columns, axis=1) / (2 * step)

    def logit_change(self, layer: int, along: Array, step: float = 1e-4) -> Array:
        """Derivative of the logits along a direction, centred over the vocabulary."""
        z = self.states[layer]
        change = self.logits(layer, z + step * along) - self.logits(layer, z - step * along)
        return centred(change / (2 * step))

    def _run(self, layer: int, x: Array, until: int | None = None) -> Array:
        def put(kind: str, at: int, stream: Array) -> Array:
            if kind != "stream":
                return stream
            if at == until:
                raise _Left(stream[-1])
            if at == layer:
                stream = stream.copy()
                stream[-1] = x
            return stream

        return self.model(self.tokens, put)[-1]


class _Left(Exception):
    """With the last token's stream."""


def centred(x: Array) -> Array:
    return x - x.mean(axis=-1, keepdims=True)


def cosine(a: Array, b: Array) -> float:
    return float(a @ b / np.sqrt((a @ a) * (b @ b)))


def subspace_similarity(a: Array, b: Array, m: int, *, left: bool) -> float:
    """|(U_a S_a)'(U_b S_b)|_* / (|s_a| |s_b|) with the m largest singular values."""
    weighted, sizes = [], []
    for matrix in (a, b) if left else (a.T, b.T):
        values, vectors = np.linalg.eigh(matrix @ matrix.T)  # by eigenvalues, ascending
        s = np.sqrt(np.maximum(values[::-1][:m], 0.0))
        weighted.append(vectors[:, ::-1][:, :m] * s)
        sizes.append(float(np.sqrt((s**2).sum())))
    overlap = np.linalg.svd(weighted[0].T @ weighted[1], compute_uv=False).sum()
    return float(overlap) / (sizes[0] * sizes[1])


def present(value: Part | None) -> Part:
    """What is there: a report's part that may be left out."""
    assert value is not None
    return value
