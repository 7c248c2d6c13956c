"""Local nats: what a method costs near strength 0, the unit in which strengths can be compared.

A smooth method costs KL(s) = c s^2 / 2 nats per token at a small strength s, whatever its vectors
are measured in. Two small teacher-forced passes give c, and c the strength of any other cost: at
0.1 nats per token that is mostly right within ten or twenty percent on public models, on other
texts within a quarter. Where next tokens are all but certain, as on the embedded model, or in early
blocks, it can be off by several times: `calibrate` measures.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import copysign, isfinite, sqrt
from typing import TypeVar

import torch
from jaxtyping import Float
from torch import Tensor
from typing_extensions import Unpack

from lens_steer.arguments import Count, Number, Positive
from lens_steer.artifacts import savable
from lens_steer.data import ContrastivePairs
from lens_steer.evaluation.fixed_texts import FixedTexts
from lens_steer.intervals import Interval, ratio_interval
from lens_steer.models import SteerableModel
from lens_steer.steering import Decoding, DecodingOptions, Intervention, decoding_of_call

_WANTED = 4e-3  # nats per token of the larger reading: small, and far above rounding in float32
_BAND = (1e-3, 1.6e-2)  # where a reading is taken as it is
_LEAST = 1e-5  # where the knob ends before the band; below it rounding counts
_STEP = 10.0  # between one strength tried and the next, at most
_PASSES = 12  # in search of the band
_AGREE = 0.25  # relative difference of the two curvatures; of a smooth method it is a few percent

AnyNats = TypeVar("AnyNats", float, Tensor)


class NotLocal(ValueError):
    """The cost of a method near strength 0 is no parabola, or cannot be measured."""


@savable
@dataclass(frozen=True)
class LocalNats:
    """KL(s) = c s^2 / 2, nats per token, of one method along fixed unsteered texts.

    Attributes:
        strengths: The two at which it was measured, of the method's sign, the smaller one first.
        kl: The nats per token at each.
        curvature: c as the larger strength has it, nats per token and squared strength, with its
            95 % interval over texts.
        tokens: How many tokens were drawn in the texts.
        texts: How many texts there were.

    Raises:
        NotLocal: If the readings are those of no parabola: `kl / strength**2` differs by more than
            a quarter.
    """

    strengths: tuple[float, float]
    kl: tuple[float, float]
    curvature: Interval
    tokens: Count
    texts: Count

    def __post_init__(self) -> None:
        (small, large), (low, high) = self.strengths, self.kl
        if not (0 < abs(small) < abs(large) < torch.inf and small * large > 0):
            raise ValueError(
                f"strengths {self.strengths}: expected two finite ones of one sign, the smaller "
                "one first"
            )
        if not (0 < low < torch.inf and 0 < high < torch.inf):
            raise ValueError(f"kl {self.kl}: expected two positive numbers of nats per token")
        if abs(_curvature(low, small) / _curvature(high, large) - 1) > _AGREE:
            raise NotLocal(
                f"the cost is no parabola near strength 0: {low:.3g} nats per token at strength "
                f"{small:.3g} and {high:.3g} at {large:.3g}, {high / low:.3g} times as many, "
                f"expected about {(large / small) ** 2:.3g} times: scan strengths instead, "
                "calibrate(..., strengths=...)"
            )

    @classmethod
    def fit(
        cls,
        model: SteerableModel,
        method: Intervention,
        pairs: ContrastivePairs,
        *,
        decoding: Decoding | None = None,
        **options: Unpack[DecodingOptions],
    ) -> "LocalNats":
        """Measure along unsteered texts after the prompts of `pairs`; seed 0 if none is named.

        Args:
            decoding: How texts are written, and where the method steers; or the same as keywords.
            options: As `generate`.

        Raises:
            NotLocal: As `along`.
            ValueError: As `FixedTexts.sample`, or if the method does not fit the model.
            TypeError: If a keyword is unknown.

        Example:
            >>> local = ls.evaluation.LocalNats.fit(model, method, dev, max_new_tokens=20)
            >>> fair = method.with_strength(local.strength_at(0.1))
        """
        decoding = decoding_of_call(cls.fit, decoding, options, seed=0)
        return cls.along(model, method, FixedTexts.sample(model, pairs, decoding=decoding))

    @classmethod
    def along(cls, model: SteerableModel, method: Intervention, texts: FixedTexts) -> "LocalNats":
        """Measure along texts that many methods can share.

        Raises:
            NotLocal: If the method costs nothing, steering breaks the model, or the cost is no
                parabola.
            ValueError: If the method does not fit the model.

        Example:
            >>> texts = ls.evaluation.FixedTexts.sample(model, dev, seed=0)
            >>> ls.evaluation.LocalNats.along(model, method, texts).curvature
        """
        [found] = cls.along_each(model, [method], texts)
        if isinstance(found, NotLocal):
            raise found
        return found

    @classmethod
    def along_each(
        cls, model: SteerableModel, methods: Sequence[Intervention], texts: FixedTexts
    ) -> "list[LocalNats | NotLocal]":
        """What `along` gives for each of many methods, all in the same passes.

        Returns:
            One for each method; where `along` would raise `NotLocal`, that error, not raised.

        Raises:
            ValueError: If a method does not fit the model.

        Example:
            >>> local = ls.evaluation.LocalNats.along_each(model, methods, texts)
            >>> fair = [m.with_strength(l.strength_at(0.1)) for m, l in zip(methods, local)]
        """
        for method in methods:
            method.checked_edits(model)
        searches = [_Search(method) for method in methods]
        for _ in range(_PASSES):
            open_ones = [search for search in searches if search.open]
            if not open_ones:
                break
            tried = [(search.method.with_strength(search.next),) for search in open_ones]
            nats = texts.nats(model, tried)
            for search, by_text in zip(open_ones, nats, strict=True):
                search.add(by_text, texts.draws)
        return [search.result(texts) for search in searches]

    def strength_at(self, kl: Positive) -> float:
        """The strength at which the method costs `kl` nats per token, if the parabola goes so far.

        Example:
            >>> method.with_strength(local.strength_at(0.1))
        """
        return copysign(sqrt(2 * kl / self.curvature.mean), self.strengths[0])

    def kl_at(self, strength: Number) -> float:
        """The nats per token at a strength, if the parabola goes so far.

        Example:
            >>> local.kl_at(method.strength)
        """
        return self.curvature.mean * strength**2 / 2


class _Search:
    """Looks for a strength of the wanted cost, then measures at half of it."""

    def __init__(self, method: Intervention) -> None:
        unit = method.strength or 1.0
        self.method = method
        self.end = copysign(method.max_useful_strength, unit)
        self.next = copysign(min(abs(unit), abs(self.end)), unit)
        self.readings: dict[float, Float[Tensor, " text"]] = {}
        self.large: float | None = None  # once it is found
        self.open = True
        self.last = torch.nan

    def add(self, nats: Float[Tensor, " text"], draws: Float[Tensor, " text"]) -> None:
        """Take a reading at `next`, and say where the next one is."""
        self.last = kl = float(nats.sum() / draws.sum())
        self.readings[self.next] = nats
        if self.large is not None:
            self.open = False
        elif _BAND[0] <= kl <= _BAND[1] or (self.next == self.end and _LEAST <= kl < _BAND[0]):
            self.large, self.next = self.next, self.next / 2
        elif self.next == self.end and kl < _LEAST:
            self.open = False
        else:
            factor = sqrt(_WANTED / kl) if kl > 0 and isfinite(kl) else (_STEP if kl == 0 else 0.0)
            step = min(_STEP, max(1 / _STEP, factor))
            self.next = copysign(min(abs(self.next * step), abs(self.end)), self.next)

    def result(self, texts: FixedTexts) -> LocalNats | NotLocal:
        """What was found, or why there is nothing."""
        if self.open or self.large is None:
            return NotLocal(
                f"no strength of {self.method!r} costs about {_WANTED:g} nats per token: "
                f"{self.last:.3g} at strength {list(self.readings)[-1]:.3g}: expected a method "
                "that edits these texts a little at a small strength"
            )
        pair = (self.large / 2, self.large)
        draws = texts.draws
        by_text = _curvature(self.readings[self.large], self.large)
        curvature = ratio_interval(by_text.numpy(), draws.numpy(), seed=0)
        kl = tuple(float(self.readings[s].sum() / draws.sum()) for s in pair)
        try:
            return LocalNats(pair, (kl[0], kl[1]), curvature, int(draws.sum()), len(texts.texts))
        except NotLocal as error:
            return NotLocal(f"{self.method!r}: {error}")


def _curvature(kl: AnyNats, strength: float) -> AnyNats:
    return 2 * kl / strength**2
