"""RepE: adding the first principal component of the differences between the classes.

Source: Zou et al. 2023, "Representation Engineering" (arXiv:2310.01405), section 3.1: linear
artificial tomography, the reading vector being added as in section 3.2.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from math import isfinite
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from typing_extensions import override

from lens_steer.activations import LayerActivations
from lens_steer.artifacts import savable
from lens_steer.sites import Site
from lens_steer.steering.base import (
    OneSite,
    VectorMethod,
    check_shape,
    check_unit,
    class_difference,
    editable_site,
    rows_of,
)

_ROUNDING = torch.finfo(torch.float32).eps  # of the largest projection: what activations have


@savable
@dataclass(frozen=True, eq=False, repr=False)
class RepE(OneSite, VectorMethod):
    """x becomes x + strength * coefficient * gap * direction.

    Scaling: at strength and coefficient 1 the undesired mean moves along the direction as far as
    the desired mean is, so that strengths mean the same at every layer. The paper adds the vector
    of length 1, times a coefficient of its own choice.

    Attributes:
        at: Where.
        direction: First principal component, of length 1; desired activations project higher.
        gap: Distance of the class means along it, in units of the activation, > 0.
        centre: Projection half-way between the class means.
        coefficient: Dimensionless, in gaps; 0 is the identity.
    """

    direction: Float[Tensor, "*site"] = field(repr=False)
    gap: float | int
    centre: float | int
    coefficient: float | int = 1.0

    def __post_init__(self) -> None:
        super().__post_init__()
        check_unit(self.direction, "direction")
        if not (self.gap > 0 and isfinite(self.gap) and isfinite(self.centre)):
            raise ValueError(f"gap {self.gap}, centre {self.centre}: expected finite, the gap > 0")
        if not isfinite(self.coefficient):
            raise ValueError(f"coefficient {self.coefficient}: expected a finite number of gaps")

    @classmethod
    def fit(
        cls,
        desired: LayerActivations | Float[Tensor, "desired *site"],
        undesired: Float[Tensor, "undesired *site"] | None = None,
        *,
        layer: int | None = None,
        coefficient: float | int = 1.0,
    ) -> "RepE":
        """Of the differences within pairs if they are known, else of every desired and undesired.

        Activations captured from paired examples know their pairs; for tensors see `fit_pairs`.
        Differences have no sign, as under the paper's random ones, so that their mean is not
        centred away. Without pairs this is what drawing them at random gives on average; the
        component is then often what activations of both classes vary by most, and not what tells
        them apart: look at `gap`.

        Args:
            desired: Captured activations `.at(layer=...)`; or tensors, see `LayerActivations.of`.
            undesired: The tensor of the undesired.
            layer: Of tensors.
            coefficient: See the class.

        Raises:
            ValueError: If there are fewer than two activations of a class, the class means are
                equal, or equal along the component, or the kind cannot be edited.
        """
        given = LayerActivations.of(desired, undesired, layer=layer)
        up, down = _sides(given)
        if given.paired:
            return cls._of(given, up - down, coefficient)
        # sum over i, j of (u_i - d_j)(u_i - d_j)' / nm: both spreads, and the mean difference
        spread = ((side - side.mean(dim=0)) / len(side) ** 0.5 for side in (up, down))
        rows = torch.cat([*spread, (up.mean(dim=0) - down.mean(dim=0))[None]])
        return cls._of(given, rows, coefficient)

    @classmethod
    def fit_pairs(
        cls,
        desired: Float[Tensor, "pair *site"],
        undesired: Float[Tensor, "pair *site"],
        *,
        layer: int | None = None,
        coefficient: float | int = 1.0,
    ) -> "RepE":
        """`fit` of tensors whose rows are pairs: row i of one with row i of the other.

        What pairs have in common, such as their prompt, is in no difference of theirs.

        Raises:
            ValueError: As `fit`, or if the counts differ.
        """
        given = LayerActivations.of(desired, undesired, layer=layer)
        return cls.fit(replace(given, paired=True), coefficient=coefficient)

    @classmethod
    def _of(
        cls, given: LayerActivations, rows: Float[Tensor, "row d"], coefficient: float | int
    ) -> "RepE":
        up, down = (side.mean(dim=0) for side in _sides(given))
        site = editable_site(given)
        class_difference(given)  # refuses equal means
        unit = _first_component(rows)
        gap = float(unit @ (up - down))
        along = torch.cat(_sides(given)) @ unit
        if abs(gap) <= _ROUNDING * float(along.abs().max()):  # its sign would be that of rounding
            raise ValueError(
                f"the first component at {site.hook_name} does not tell the class means apart"
            )
        unit = unit if gap > 0 else -unit
        return cls(
            site,
            unit.reshape(given.desired.shape[1:]).to(given.desired.dtype),
            abs(gap),
            float(unit @ (up + down)) / 2,
            coefficient,
            provenance=given.provenance,
        )

    @override
    def items(self) -> Sequence[tuple[Site, Tensor]]:
        return [(self.at, self.coefficient * self.gap * self.direction)]

    def scores(self, x: Float[Tensor, "*batch"]) -> Float[Tensor, "..."]:
        """How far activations lie towards the desired class, in its units: 0 is half-way.

        Raises:
            ValueError: As `transform`.
        """
        shape = tuple(self.direction.shape)
        check_shape(x, self.at, shape)
        rows = rows_of(x, shape).flatten(1)
        found = rows @ self.direction.to(rows).flatten() - self.centre
        return found.reshape(x.shape[: x.ndim - len(shape)])


def _sides(
    given: LayerActivations,
) -> tuple[Float[Tensor, "desired d"], Float[Tensor, "undesired d"]]:
    """Both classes as vectors in float64."""
    few = min(len(given.desired), len(given.undesired))
    if few < 2:
        raise ValueError(f"{few} activations of a class: a component needs two or more of either")
    editable_site(given)
    return given.desired.double().flatten(1), given.undesired.double().flatten(1)


def _first_component(rows: Float[Tensor, "row d"]) -> Float[Tensor, " d"]:
    """Of rows without signs: each stands with its opposite, so that the mean is 0."""
    from sklearn.decomposition import PCA

    both = torch.cat([rows, -rows]).numpy()
    components: Any = PCA(n_components=1, svd_solver="full").fit(both).components_
    return torch.from_numpy(components[0])
