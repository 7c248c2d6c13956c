"""The law with gains of the prompt at hand: blocks are linearised at its own last token."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import ClassVar

import torch
from jaxtyping import Float, Int
from torch import Tensor

from lens_steer.activations import Activations
from lens_steer.artifacts import savable
from lens_steer.axes import Activation, Mask, Tokens
from lens_steer.linearity import BlockMaps
from lens_steer.models import SteerableModel
from lens_steer.sites import Site
from lens_steer.steering.base import Edit
from lens_steer.steering.lqr.costs import Cost, Costs
from lens_steer.steering.lqr.fitting import Setpoints
from lens_steer.steering.lqr.loop import FeatureLaw, absent_layers, check_finite
from lens_steer.steering.lqr.riccati import factored_steps


@savable
@dataclass(frozen=True, eq=False, repr=False)
class OnlineLQR(FeatureLaw):
    """`LQR.fit_feature` with every prompt's own Jacobians: no average over other texts.

    Before a prompt is continued, its blocks are linearised at its last token, by T (T + 1) / 2
    backward passes of one token; the gains then hold for all that is written behind it.

    Attributes:
        directions: v_k, from training data.
        setpoints: beta_k.
        costs: Of state errors and pushes.
        gains: w_k of each prompt; made by `prepare`.
    """

    per_prompt: ClassVar[bool] = True

    directions: Float[Tensor, "layer_and_last d"] = field(repr=False)
    setpoints: Float[Tensor, " layer_and_last"] = field(repr=False)
    costs: Costs = field(repr=False)
    gains: Float[Tensor, "prompt layer d"] | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        super().__post_init__()
        check_finite(directions=self.directions, setpoints=self.setpoints)

    @classmethod
    def fit(  # noqa: PLR0913 - the weights of a regulator
        cls,
        activations: Activations,
        *,
        state_cost: Cost = 0.1,
        control_cost: Cost = 1.0,
        terminal_cost: float | int = 0.1,
        setpoint: float | int = 1.0,
        centred: bool = True,
        layers: Sequence[int] | None = None,
        reference: Float[Tensor, "layer_and_last d"] | None = None,
        one_sided: bool = False,
        cap: float | int | None = None,
    ) -> "OnlineLQR":
        """Features and set-points; arguments as `LQR.fit_feature`, without Jacobians.

        Raises:
            ValueError: As `LQR.fit_feature`.
        """
        targets = Setpoints.of(activations, setpoint, centred=centred, reference=reference)
        v, beta = targets.directions[..., 0], targets.setpoints[..., 0]
        costs = Costs.of(len(v) - 1, state_cost, control_cost, terminal_cost, layers)
        source = activations.provenance
        return cls(v, beta, costs, one_sided=one_sided, cap=cap, provenance=source)

    @property
    def layers(self) -> tuple[int, ...]:
        """Blocks behind which it may push: a feature before them, and no infinite cost."""
        free = self.costs.control.isfinite().nonzero().flatten().tolist()
        return tuple(k for k in free if k not in absent_layers(self.directions))

    @property
    def shape(self) -> tuple[int, int]:
        """Layers and dimensions."""
        return len(self.directions) - 1, self.directions.shape[1]

    def prepare(self, model: SteerableModel, tokens: Tokens, mask: Mask) -> "OnlineLQR":
        """Linearise at the last token of each prompt.

        Raises:
            ValueError: If a prompt has no token.
        """
        rows = [tuple(ids[real].tolist()) for ids, real in zip(tokens, mask, strict=True)]
        if not all(rows):
            raise ValueError("a prompt without a token: OnlineLQR linearises at its last one")
        maps = BlockMaps.of_rows(model, rows)

        def pull(layer: int, columns: Float[Tensor, "*text d p"]) -> Float[Tensor, "text d p"]:
            each = columns.to(maps.states).expand(len(rows), -1, -1)
            return maps.vjp(layer, each.permute(2, 0, 1)).permute(1, 2, 0)

        v = self.directions[..., None]
        steps = factored_steps(pull, v, self.costs)
        gains = [step.gain(v[k])[..., 0] for k, step in enumerate(steps)]
        return replace(self, gains=torch.stack(gains, dim=1).to(self.directions))

    def select_prompts(self, rows: Int[Tensor, " row"]) -> "OnlineLQR":
        """Of some of the prompts that were linearised at."""
        return self if self.gains is None else replace(self, gains=self.gains[rows.cpu()])

    def terms(self, layer: int) -> tuple[Tensor, Tensor, Tensor]:
        """See `FeatureLaw`; one concept, and a gain for each prompt."""
        assert self.gains is not None  # `edits` sees to it
        v, beta = self.directions[layer, :, None], self.setpoints[layer, None]
        return v, beta, self.gains[:, layer, :, None]

    def edits(self, model: SteerableModel) -> dict[Site, Edit]:
        """See `Intervention`; before `prepare`, they refuse to work."""
        if self.gains is None:
            return dict.fromkeys(self.sites, _unready)
        return super().edits(model)

    def _summary(self) -> list[str]:
        return [f"layers={list(self.layers)}"]


def _unready(x: Activation, _prompts: Int[Tensor, " n"] | None = None) -> Activation:
    raise ValueError(
        f"OnlineLQR on {len(x)} positions without their prompts' Jacobians: it works in "
        "`steered` and `generate`, which linearise at the prompts first"
    )
