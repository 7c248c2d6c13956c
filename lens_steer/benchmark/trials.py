"""Trials: one way of writing texts, at one strength, with one seed, and all that was measured."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from lens_steer.evaluation import EditSizes, Evaluation, FixedTexts, TextCosts
from lens_steer.models import SteerableModel
from lens_steer.steering import Intervention

_DIGITS = 7  # of every number in a row


@dataclass(frozen=True, eq=False)
class FixedCosts:
    """What a method costs along fixed unsteered texts, text by text; float64.

    Attributes:
        kl: Sum over the text's draws of KL(steered || unsteered), nats.
        draws: Tokens drawn.
        relative: Sum over steered positions of |edit| / |residual stream|.
        mahalanobis: The same of the length in clean standard deviations.
        positions: How many are steered.
        energy: Share of |edit|^2 by block index; empty where nothing is edited.
    """

    kl: Float[Tensor, " text"]
    draws: Float[Tensor, " text"]
    relative: Float[Tensor, " text"]
    mahalanobis: Float[Tensor, " text"]
    positions: Float[Tensor, " text"]
    energy: tuple[tuple[int, float], ...] = ()


@dataclass(frozen=True, eq=False)
class Trial:
    """One way of writing texts, on the prompts of one behaviour.

    Attributes:
        method: Its name in tables.
        behaviour_name: What is measured.
        model: Name of the model.
        fit: Number of the fit: the method made again from other training data, or another draw.
        seed: Of the texts.
        multiple: Of the method's strength as it was given; 0 is the unsteered model.
        shown: The method in words.
        found: Behaviour, texts, nats along them.
        fixed: Costs along fixed texts; None where texts are not written by steering.
    """

    method: str
    behaviour_name: str
    model: str
    fit: int
    seed: int
    multiple: float
    shown: str
    evaluation: Evaluation
    fixed: FixedCosts | None = None

    @property
    def key(self) -> tuple[str, str, float, str, int, int]:
        """What tells it from all others of a comparison."""
        return (
            *(self.behaviour_name, self.method, self.multiple),
            *(self.model, self.fit, self.seed),
        )

    def row(self) -> dict[str, Any]:
        """Everything as plain JSON."""
        return _plain(self)

    @classmethod
    def of_row(cls, row: Mapping[str, Any]) -> "Trial":
        """What `row` was made of.

        Raises:
            ValueError: If something is missing.
        """
        try:
            found, fixed = dict(row["evaluation"]), row["fixed"]
            found["paths"] = _made(TextCosts, found["paths"])
            if found["well_formed"] is not None:
                found["well_formed"] = torch.tensor(found["well_formed"], dtype=torch.bool)
            found["behaviour"] = torch.tensor(found["behaviour"], dtype=torch.float32)
            for name in ("groups", "texts", "text_groups"):
                found[name] = tuple(found[name])
            parts = {
                "evaluation": Evaluation(**found),
                "fixed": None if fixed is None else _made(FixedCosts, fixed),
            }
            return cls(**{**row, **parts})
        except (KeyError, TypeError, AttributeError) as error:
            raise ValueError(f"not a trial that lens_steer wrote ({error!r})") from error


def fixed_costs(
    model: SteerableModel, texts: FixedTexts, each: Sequence[Intervention | None]
) -> list[FixedCosts]:
    """Costs of several methods along the same unsteered texts.

    Raises:
        ValueError: If a method does not fit the model.
    """
    owned = [() if method is None else (method,) for method in each]
    nats, sizes = texts.nats(model, owned), texts.sizes(model, owned)
    return [_by_text(texts, nats[i], sizes[i]) for i in range(len(each))]


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


def _made(cls: type, row: Mapping[str, Any]) -> Any:
    """A dataclass of float64 tensors, and of tuples where the row holds pairs."""
    return cls(
        **{
            name: tuple((int(layer), float(share)) for layer, share in value)
            if name == "energy"
            else torch.tensor(value, dtype=torch.float64)
            for name, value in row.items()
        }
    )
