"""Trials: one way of writing texts, at one strength, with one seed, and all that was measured."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from lens_steer.evaluation._edits import EditSizes
from lens_steer.evaluation._evaluate import evaluate_each
from lens_steer.evaluation._evaluation import Evaluation
from lens_steer.evaluation._fixed import FixedTexts
from lens_steer.evaluation._judges import Judge
from lens_steer.evaluation._paths import Paths
from lens_steer.models import SteerableModel
from lens_steer.pairs import ContrastivePairs
from lens_steer.steering.base import Intervention


@dataclass(frozen=True, eq=False)
class Trial:
    """One way of writing texts, on the prompts of one behaviour.

    Attributes:
        method: Its name in tables.
        behaviour_name: What is measured.
        model: Name of the model.
        fit: Number of the fit: the method made again from other training data, or another draw.
        seed: Of the texts.
        multiple: Of the method's strength as it was given; 0 for the unsteered model.
        shown: The method in words.
        found: Behaviour, texts, nats along them.
        kl_fixed: Nats of each of the fixed unsteered texts; NaN where nothing is steered by hooks.
        draws: Tokens drawn in each of those.
        relative: Sum over a text's steered positions of |edit| / |residual stream|.
        mahalanobis: The same of the length in clean standard deviations.
        positions: Steered in each text.
        energy: Share of |edit|^2 by layer; empty without edits.
    """

    method: str
    behaviour_name: str
    model: str
    fit: int
    seed: int
    multiple: float
    shown: str
    found: Evaluation
    kl_fixed: Float[Tensor, " text"]
    draws: Float[Tensor, " text"]
    relative: Float[Tensor, " text"]
    mahalanobis: Float[Tensor, " text"]
    positions: Float[Tensor, " text"]
    energy: tuple[tuple[int, float], ...] = ()

    def row(self) -> dict[str, Any]:
        """Everything as plain JSON; numbers with seven digits."""
        found, paths = self.found, self.found.paths
        assert paths is not None  # only made by hand without
        return {
            **{"method": self.method, "behaviour_name": self.behaviour_name, "model": self.model},
            **{"fit": self.fit, "seed": self.seed, "multiple": self.multiple, "shown": self.shown},
            "behaviour": _rounded(found.behaviour),
            "groups": list(found.groups),
            "texts": list(found.texts),
            "text_groups": list(found.text_groups),
            "well_formed": None if found.well_formed is None else found.well_formed.tolist(),
            **{name: _rounded(getattr(paths, name)) for name in _OF_PATHS},
            **{name: _rounded(getattr(self, name)) for name in _OF_TEXTS},
            "energy": [[layer, float(f"{share:.6g}")] for layer, share in self.energy],
        }

    @classmethod
    def of_row(cls, row: Mapping[str, Any]) -> "Trial":
        """What `row` was made of.

        Raises:
            ValueError: If something is missing.
        """
        try:
            numbers = {name: _tensor(row[name]) for name in (*_OF_PATHS, *_OF_TEXTS)}
            paths = Paths(*(numbers[name] for name in _OF_PATHS))
            formed = row["well_formed"]
            found = Evaluation(
                _tensor(row["behaviour"]).float(),
                tuple(row["groups"]),
                paths.perplexity,
                tuple(row["texts"]),
                None if formed is None else torch.tensor(formed, dtype=torch.bool),
                paths,
                tuple(row["text_groups"]),
            )
            names = ("method", "behaviour_name", "model", "fit", "seed", "multiple", "shown")
            plain = {name: row[name] for name in names}
            energy = tuple((int(layer), float(share)) for layer, share in row["energy"])
            rest = {name: numbers[name] for name in _OF_TEXTS}
        except (KeyError, TypeError) as error:
            raise ValueError(f"not a trial of lens_steer ({error!r})") from error
        return cls(**plain, found=found, energy=energy, **rest)


_OF_PATHS = ("kl", "draws_sampled", "surprise", "tokens")
_OF_TEXTS = ("kl_fixed", "draws", "relative", "mahalanobis", "positions")
