"""RepE: adding the first principal component of the differences between the classes.

Source: Zou et al. 2023, "Representation Engineering" (arXiv:2310.01405), section 3.1: linear
artificial tomography, the reading vector being added as in section 3.2.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from typing_extensions import override

from lens_steer.activations import Activations, LayerActivations
from lens_steer.arguments import Layer, Number
from lens_steer.artifacts import savable
from lens_steer.sites import Site
from lens_steer.steering.base import (
    OneSite,
    VectorMethod,
    as_rows,
    check_activation_shape,
    check_unit,
    class_difference,
    editable_site,
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
    gap: Number
    centre: Number
    coefficient: Number = 1.0

    def __post_init__(self) -> None:
        super().__post_init__()
        check_unit(self.direction, "direction")
        if not self.gap > 0:
            raise ValueError(f"gap {self.gap}: expected a distance above 0")

    @classmethod
    def fit(
        cls,
        desired: Activations | LayerActivations | Float[Tensor, "desired *site"],
        undesired: Float[Tensor, "undesired *site"] | None = None,
        *,
        layer: Layer | None = None,
        coefficient: Number = 1.0,
    ) -> "RepE":
        """Take the component of the differences within pairs, or of all differences without pairs.

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

        Example:
            >>> method = ls.RepE.fit(resid.at(layer=3))
        """
        activations = LayerActivations.of(desired, undesired, layer=layer)
        up, down = _sides(activations)
        if activations.paired:
            return cls._of(activations, up - down, coefficient)
        # sum over i, j of (u_i - d_j)(u_i - d_j)' / nm: both spreads, and the mean difference
        spread = ((side - side.mean(dim=0)) / len(side) ** 0.5 for side in (up, down))
        rows = torch.cat([*spread, (up.mean(dim=0) - down.mean(dim=0))[None]])
        return cls._of(activations, rows, coefficient)

    @classmethod
    def fit_pairs(
        cls,
        desired: Float[Tensor, "pair *site"],
        undesired: Float[Tensor, "pair *site"],
        *,
        layer: Layer | None = None,
        coefficient: Number = 1.0,
    ) -> "RepE":
        """Fit tensors whose rows are pairs: row i of one with row i of the other.

        What pairs have in common, such as their prompt, is in no difference of theirs.

        Raises:
            ValueError: As `fit`, or if the counts differ.

        Example:
            >>> method = ls.RepE.fit_pairs(truthful, untruthful, layer=3)
        """
        activations = LayerActivations.of(desired, undesired, layer=layer)
        return cls.fit(replace(activations, paired=True), coefficient=coefficient)

    @classmethod
    def _of(
        cls, activations: LayerActivations, rows: Float[Tensor, "row d"], coefficient: float | int
    ) -> "RepE":
        up, down = (side.mean(dim=0) for side in _sides(activations))
        site = editable_site(activations)
        class_difference(activations)  # refuses equal means
        unit = _first_component(rows)
        gap = float(unit @ (up - down))
        along = torch.cat(_sides(activations)) @ unit
        if abs(gap) <= _ROUNDING * float(along.abs().max()):  # its sign would be that of rounding
            raise ValueError(
                f"the first component at {site.hook_name} does not tell the class means apart"
            )
        unit = unit if gap > 0 else -unit
        return cls(
            site,
            unit.reshape(activations.desired.shape[1:]).to(activations.desired.dtype),
            abs(gap),
            float(unit @ (up + down)) / 2,
            coefficient,
            provenance=activations.provenance,
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
        check_activation_shape(x, self.at, shape)
        rows = as_rows(x, shape).flatten(1)
        along = rows @ self.direction.to(rows).flatten() - self.centre
        return along.reshape(x.shape[: x.ndim - len(shape)])


def _sides(
    activations: LayerActivations,
) -> tuple[Float[Tensor, "desired d"], Float[Tensor, "undesired d"]]:
    """Both classes as vectors in float64."""
    few = min(len(activations.desired), len(activations.undesired))
    if few < 2:
        raise ValueError(f"{few} activations of a class: a component needs two or more of either")
    editable_site(activations)
    return activations.desired.double().flatten(1), activations.undesired.double().flatten(1)


def _first_component(rows: Float[Tensor, "row d"]) -> Float[Tensor, " d"]:
    """The first component of rows and their opposites, whose mean is 0: rows have no sign."""
    from sklearn.decomposition import PCA

    both = torch.cat([rows, -rows]).numpy()
    components: Any = PCA(n_components=1, svd_solver="full").fit(both).components_
    return torch.from_numpy(components[0])
