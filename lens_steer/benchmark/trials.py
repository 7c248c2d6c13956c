"""Trials: one way of writing texts, at one strength, with one seed, and all that was measured."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from lens_steer.arguments import Seed
from lens_steer.artifacts import check_field_types
from lens_steer.evaluation import EditSizes, Evaluation, FixedTexts, TextCosts
from lens_steer.models import SteerableModel
from lens_steer.reports import short_repr
from lens_steer.steering import Intervention

_DIGITS = 7  # of every number in a row


@dataclass(frozen=True, eq=False)
class FixedCosts:
    """What a method costs along fixed unsteered texts, text by text, in float64.

    Attributes:
        kl: KL(steered || unsteered) of each text, summed over its draws, nats.
        draws: The number of tokens drawn.
        relative: |edit| / |residual stream|, summed over steered positions.
        mahalanobis: The length of the edit in clean standard deviations, summed over steered
            positions.
        positions: The number of steered positions.
        energy: (block index, share of |edit|^2) of each layer; empty where nothing is edited.
    """

    kl: Float[Tensor, " text"]
    draws: Float[Tensor, " text"]
    relative: Float[Tensor, " text"]
    mahalanobis: Float[Tensor, " text"]
    positions: Float[Tensor, " text"]
    energy: tuple[tuple[int, float], ...] = ()

    __repr__ = short_repr


@dataclass(frozen=True, eq=False)
class Trial:
    """One way of writing texts, on the prompts of one behaviour.

    Attributes:
        method: The name of the method in tables.
        behaviour_name: The behaviour that is measured.
        model: The name of the model.
        fit: The number of the fit: the method made again from other training data, or another
            random direction.
        seed: The seed of the texts.
        multiple: The strength as a multiple of the method's own; 0 is the unsteered model.
        shown: The method in words.
        evaluation: The behaviour, the texts, and the nats along them.
        fixed: Costs along fixed texts; None where texts are not written by steering.
    """

    method: str
    behaviour_name: str
    model: str
    fit: int
    seed: Seed
    multiple: float
    shown: str
    evaluation: Evaluation
    fixed: FixedCosts | None = None

    __repr__ = short_repr

    @property
    def key(self) -> tuple[str, str, float, str, int, int]:
        """What tells a trial from all others of a comparison."""
        return (
            self.behaviour_name,
            self.method,
            self.multiple,
            self.model,
            self.fit,
            self.seed,
        )

    def row(self) -> dict[str, Any]:
        """The trial as plain JSON, every number with seven digits."""
        return _plain(self)

    @classmethod
    def of_row(cls, row: Mapping[str, Any]) -> "Trial":
        """The trial that a row was made of.

        Raises:
            ValueError: If something is missing.
        """
        try:
            evaluation, fixed = dict(row["evaluation"]), row["fixed"]
            if "paths" in evaluation:  # what version 0.1 called the costs
                evaluation["text_costs"] = evaluation.pop("paths")
            evaluation.setdefault("unjudged", ())  # newer than some journals
            evaluation["text_costs"] = _from_row(TextCosts, evaluation["text_costs"])
            if evaluation["well_formed"] is not None:
                evaluation["well_formed"] = torch.tensor(
                    evaluation["well_formed"], dtype=torch.bool
                )
            evaluation["behaviour"] = torch.tensor(evaluation["behaviour"], dtype=torch.float32)
            for name in ("groups", "texts", "text_groups", "unjudged"):
                evaluation[name] = tuple(evaluation[name])
            parts = {
                "evaluation": Evaluation(**evaluation),
                "fixed": None if fixed is None else _from_row(FixedCosts, fixed),
            }
            trial = cls(**{**row, **parts})
            trial._check()
        except (KeyError, TypeError, AttributeError, OverflowError) as error:
            raise ValueError(f"not a trial that lens_steer wrote ({str(error)[:200]})") from error
        return trial

    def _check(self) -> None:
        """Raise a TypeError unless all fields hold what they say, of as many texts each."""
        found = self.evaluation
        for part in (self, found, found.text_costs, self.fixed):
            if part is not None:
                check_field_types(part)
        for number in (self.multiple, found.perplexity):
            float(number)  # overflows for a whole number of hundreds of digits
        hash((found.groups, found.text_groups))  # groups are keys
        texts = len(found.texts)
        costs = texts if found.text_costs is None else len(found.text_costs.kl)
        if not len(found.text_groups) == costs == texts or len(found.groups) != len(
            found.behaviour
        ):
            raise TypeError("texts, their costs, behaviour and groups differ in number")


def fixed_costs(
    model: SteerableModel, texts: FixedTexts, methods: Sequence[Intervention | None]
) -> list[FixedCosts]:
    """The costs of several methods along the same unsteered texts.

    Raises:
        ValueError: If a method does not fit the model.
    """
    groups = [() if method is None else (method,) for method in methods]
    nats, sizes = texts.nats(model, groups), texts.sizes(model, groups)
    return [_by_text(texts, nats[i], sizes[i]) for i in range(len(methods))]


def _by_text(texts: FixedTexts, nats: Float[Tensor, " text"], sizes: EditSizes) -> FixedCosts:
    def summed(x: Float[Tensor, " position"]) -> Float[Tensor, " text"]:
        return torch.zeros(len(texts.texts)).double().index_add(0, sizes.text_index, x.double())

    shares = zip(sizes.layers, sizes.energy.tolist(), strict=True)
    energy = tuple(shares) if bool(sizes.norm.any()) else ()
    relative, lengths = sizes.relative.norm(dim=1), sizes.mahalanobis.norm(dim=1)
    positions = summed(torch.ones_like(relative))
    return FixedCosts(nats, texts.draws, summed(relative), summed(lengths), positions, energy)


def _plain(value: Any) -> Any:
    if isinstance(value, Tensor):
        return _plain(value.tolist())
    if isinstance(value, float):
        return float(f"{value:.{_DIGITS}g}")
    if isinstance(value, tuple | list):
        return [_plain(item) for item in value]
    if hasattr(value, "__dataclass_fields__"):
        return {f.name: _plain(getattr(value, f.name)) for f in fields(value)}
    return value


def _from_row(cls: type, row: Mapping[str, Any]) -> Any:
    """A dataclass of float64 tensors, and of (layer, share) pairs in `energy`."""
    return cls(
        **{
            name: tuple((int(layer), float(share)) for layer, share in value)
            if name == "energy"
            else torch.tensor(value, dtype=torch.float64)
            for name, value in row.items()
        }
    )
