"""The law with gains of the prompt at hand: blocks are linearised at its own last token."""

from dataclasses import dataclass, field, replace

import torch
from jaxtyping import Float, Int
from torch import Tensor
from typing_extensions import Unpack, override

from lens_steer.activations import Activations
from lens_steer.arguments import Layer
from lens_steer.artifacts import savable
from lens_steer.axes import Activation, Mask, Tokens, ranges
from lens_steer.linearity import BlockMaps
from lens_steer.models import SteerableModel
from lens_steer.sites import Site
from lens_steer.steering.base import Edit, check_finite
from lens_steer.steering.lqr.costs import Costs, RegulatorOptions, Weights
from lens_steer.steering.lqr.feature_law import FeatureLaw, absent_layers
from lens_steer.steering.lqr.fitting import Setpoints
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

    directions: Float[Tensor, "layer_and_last d"] = field(repr=False)
    setpoints: Float[Tensor, " layer_and_last"] = field(repr=False)
    costs: Costs = field(repr=False)
    gains: Float[Tensor, "prompt layer d"] | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        super().__post_init__()
        check_finite(self, "directions", "setpoints")

    @classmethod
    def fit(cls, activations: Activations, **options: Unpack[RegulatorOptions]) -> "OnlineLQR":
        """Take features and set-points; no Jacobians are needed yet.

        Args:
            activations: As `LQR.fit`.
            options: As `LQR.fit`.

        Raises:
            ValueError: As `LQR.fit_feature`.
            TypeError: If an option is misspelt.

        Example:
            >>> method = ls.steering.OnlineLQR.fit(ls.capture(model, train, "resid"))
        """
        weights = Weights.of("OnlineLQR.fit", RegulatorOptions, options)
        targets = Setpoints.of(activations, weights)
        v = targets.directions[..., 0]
        return cls(
            v,
            targets.setpoints[..., 0],
            weights.costs(len(v) - 1),
            one_sided=weights.one_sided,
            cap=weights.cap,
            provenance=activations.provenance,
        )

    @property
    @override
    def per_prompt(self) -> bool:
        return True

    @property
    @override
    def layers(self) -> tuple[int, ...]:  # a feature before them, and no infinite cost
        free = self.costs.control.isfinite().nonzero().flatten().tolist()
        return tuple(k for k in free if k not in absent_layers(self.directions))

    @property
    @override
    def shape(self) -> tuple[int, int]:
        return len(self.directions) - 1, self.directions.shape[1]

    @override
    def prepare(self, model: SteerableModel, tokens: Tokens, mask: Mask) -> "OnlineLQR":
        rows = [tuple(ids[real].tolist()) for ids, real in zip(tokens, mask, strict=True)]
        if not all(rows):
            raise ValueError("a prompt without a token: OnlineLQR linearises at its last one")
        maps = BlockMaps.of_rows(model, rows)

        def pull(layer: int, columns: Float[Tensor, "*text d p"]) -> Float[Tensor, "text d p"]:
            cotangents = columns.to(maps.states).expand(len(rows), -1, -1).permute(2, 0, 1)
            return maps.vjp(layer, cotangents).permute(1, 2, 0)

        v = self.directions[..., None]
        steps = factored_steps(pull, v, self.costs)
        gains = [step.gain(v[k])[..., 0] for k, step in enumerate(steps)]
        return replace(self, gains=torch.stack(gains, dim=1).to(self.directions))

    @override
    def select_prompts(self, rows: Int[Tensor, " row"]) -> "OnlineLQR":
        return self if self.gains is None else replace(self, gains=self.gains[rows.cpu()])

    @override
    def terms(self, layer: Layer) -> tuple[Tensor, Tensor, Tensor]:
        assert self.gains is not None  # `edits` sees to it
        v, beta = self.directions[layer, :, None], self.setpoints[layer, None]
        return v, beta, self.gains[:, layer, :, None]

    @override
    def edits(self, model: SteerableModel) -> dict[Site, Edit]:  # before `prepare`: they refuse
        if self.gains is None:
            return dict.fromkeys(self.sites, _unready)
        return super().edits(model)

    def _summary(self) -> list[str]:
        return [f"layers {ranges(self.layers)}"]


def _unready(x: Activation, *_prompts: Int[Tensor, " n"]) -> Activation:
    raise ValueError(
        f"OnlineLQR on {len(x)} positions without their prompts' Jacobians: it works in "
        "`steered` and `generate`, which linearise at the prompts first"
    )
