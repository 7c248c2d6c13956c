"""A method that acts on some prompts and leaves the others alone.

Source: Lee et al. 2025, "Programming Refusal with Conditional Activation Steering"
(arXiv:2409.05907).
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from math import inf

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from typing_extensions import override

from lens_steer.activations import Activations, LayerActivations
from lens_steer.arguments import Layer, Number
from lens_steer.artifacts import savable
from lens_steer.axes import Activation, Mask, Tokens
from lens_steer.models import SteerableModel, working_place
from lens_steer.sites import Kind, Site, hook_point, site_shape
from lens_steer.steering.base import Edit, Intervention
from lens_steer.steering.gate.conditions import (
    BarrierCondition,
    Condition,
    CosineCondition,
    best_cut,
)
from lens_steer.steering.gate.prompts import token_means


@savable
@dataclass(frozen=True, eq=False, repr=False)
class Gate(Intervention):
    """Any method, on the prompts alone whose clean activation meets a condition.

    Before a prompt is continued, the clean model reads it; the mean of the residual stream over all
    its tokens but attention sinks is scored, and that decides for the prompt and all that is
    written behind it. Each row decides for itself. The paper averages over all tokens, the first
    included (`sink=True`), whose activation is then most of the mean on many models.
    Strength multiplies the method's own.

    Attributes:
        method: What acts.
        condition: Scores a prompt's activation.
        layer: Block behind which it is read.
        threshold: In the units of the score.
        above: Whether the method acts on scores of at least the threshold; False: on those below.
        fitted: `f1` and `balanced_accuracy` on the prompts the threshold was chosen on.
        opened: On which prompts it acts; made by `prepare`.
        sink: Whether attention sinks are averaged too; as in the `prompt_means` that the threshold
            was chosen on.
    """

    method: Intervention
    condition: Condition
    layer: Layer
    threshold: Number
    above: bool = True
    fitted: Mapping[str, float] = field(default_factory=dict, repr=False)
    opened: Bool[Tensor, " prompt"] | None = field(default=None, repr=False)
    sink: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        for name, kind in (("method", Intervention), ("condition", Condition)):
            value = getattr(self, name)
            if not isinstance(value, kind):
                raise ValueError(
                    f"{name}: got a {type(value).__name__}, expected a {kind.__name__}"
                )

    @classmethod
    def fit(
        cls,
        method: Intervention,
        desired: Activations | LayerActivations | Float[Tensor, "desired d"],
        undesired: Float[Tensor, "undesired d"] | None = None,
        *,
        layer: Layer | None = None,
        condition: Condition | None = None,
        sink: bool = False,
    ) -> "Gate":
        """Choose a threshold on prompts, by F1, and the side of it on which the method acts.

        The paper's condition direction is a first principal component; this one is the classes'
        mean difference, which needs no pairs.

        Args:
            method: What is to act.
            desired: Activations of prompts, those to be steered being the desired; or a tensor of
                them, see `prompt_means`.
            undesired: The tensor of the prompts to be left alone.
            layer: Of tensors.
            condition: None is a `CosineCondition` along the classes' mean difference.
            sink: As the activations were read: True if `prompt_means` was given it.

        Raises:
            ValueError: If the activations are not of the residual stream, the class means are equal
                with no condition given, or all prompts have one score.

        Example:
            >>> harmful, harmless = (
            ...     ls.steering.prompt_means(model, prompts, 3) for prompts in (bad, good)
            ... )
            >>> method = ls.Gate.fit(refusal, harmful, harmless, layer=3)
        """
        prompts = LayerActivations.of(desired, undesired, layer=layer)
        if prompts.kind is not Kind.RESID or prompts.desired.ndim != 2:
            raise ValueError(
                f"got kind {prompts.kind.value!r} of shape {tuple(prompts.desired.shape)}: "
                "expected activations of the residual stream, [prompt d]"
            )
        if condition is None:
            condition = CosineCondition(prompts.direction)
        _check_width(condition, prompts.desired.shape[1])
        cut = best_cut(condition.score(prompts.desired), condition.score(prompts.undesired))
        fitted = {"f1": cut.f1, "balanced_accuracy": cut.balanced_accuracy}
        return cls(
            method,
            condition,
            prompts.layer,
            cut.threshold,
            cut.above,
            fitted,
            sink=sink,
            provenance=prompts.provenance or method.provenance,
        )

    @property
    @override
    def sites(self) -> tuple[Site, ...]:
        return self.method.sites

    @property
    @override
    def per_prompt(self) -> bool:  # whatever the method is
        return True

    @property
    @override
    def last_prompt_token_only(self) -> bool:
        return self.method.last_prompt_token_only

    @property
    @override
    def max_useful_strength(self) -> float:  # where the method is at its own
        if not self.method.strength:
            return inf
        return self.method.max_useful_strength / abs(self.method.strength)

    def opens(self, x: Float[Tensor, "... d"]) -> Bool[Tensor, "..."]:
        """Whether the method acts on prompts of these mean activations."""
        _check_width(self.condition, x.shape[-1])
        return (self.condition.score(x).double() >= self.threshold) == self.above

    @override
    def prepare(self, model: SteerableModel, tokens: Tokens, mask: Mask) -> "Gate":
        opened = self.opens(token_means(model, tokens, mask, self.layer, sink=self.sink))
        return replace(self, opened=opened, method=self.method.prepare(model, tokens, mask))

    @override
    def select_prompts(self, rows: Int[Tensor, " row"]) -> "Gate":
        if self.opened is None:
            return self
        method = self.method.select_prompts(rows)
        return replace(self, opened=self.opened[rows.cpu()], method=method)

    @override
    def without_provenance(self) -> "Gate":  # the method and a barrier lose their records too
        condition = self.condition
        if isinstance(condition, BarrierCondition):
            condition = condition.without_provenance()
        method = self.method.without_provenance()
        return replace(self, provenance=None, method=method, condition=condition)

    @override
    def edits(self, model: SteerableModel) -> dict[Site, Edit]:  # before `prepare`: they refuse
        if isinstance(self.condition, BarrierCondition) and self.condition.provenance:
            self.condition.provenance.check(model)
        place = Site(self.layer)
        hook_point(model, place)
        _check_width(self.condition, *site_shape(model, place.kind))
        inner = self.method.with_strength(self.strength * self.method.strength)
        edits = inner.checked_edits(model)
        if self.opened is None:
            return dict.fromkeys(edits, _unready)
        return {site: self._edit(model, site, edit) for site, edit in edits.items()}

    def _edit(self, model: SteerableModel, site: Site, edit: Edit) -> Edit:
        assert self.opened is not None  # `edits` sees to it
        flags = self.opened.to(working_place(model, site.layer)["device"])
        once, named = self.method.last_prompt_token_only, self.method.per_prompt

        def steer(x: Activation, prompts: Int[Tensor, " n"]) -> Activation:
            left = edit(x, prompts) if named else edit(x)
            if left is x:  # it only looks
                return x
            acts = flags if once else flags[prompts]  # `once`: one position for each prompt
            return torch.where(acts.reshape(-1, *[1] * (x.ndim - 1)), left.to(x.dtype), x)

        return steer

    def _summary(self) -> list[str]:
        return [f"{name}={value:.3g}" for name, value in sorted(self.fitted.items())]


def _unready(x: Activation, _prompts: Int[Tensor, " n"] | None = None) -> Activation:
    raise ValueError(
        f"Gate on {len(x)} positions without their prompts: it works in `steered` and `generate`, "
        "which read the prompts first"
    )


def _check_width(condition: Condition, width: int) -> None:
    if condition.width != width:
        raise ValueError(
            f"the condition is of {condition.width} entries, but activations have {width}"
        )
