"""SADI as its code does it: a patch computed in a first, clean pass."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace

import torch
from jaxtyping import Float, Int
from torch import Tensor
from typing_extensions import override

from lens_steer.artifacts import savable
from lens_steer.axes import Activation, Mask, Tokens
from lens_steer.models import SteerableModel, clean_gates, has_gates, read
from lens_steer.sites import Kind, Site, hook_points
from lens_steer.steering.base import Edit, Intervention
from lens_steer.steering.sadi.scaling import SADI, check_fits, edited_kind, on_model


@savable
@dataclass(frozen=True, eq=False, repr=False)
class FrozenSADI(SADI):
    """At the last prompt token, in every layer, the clean activation with the mask scaled.

    The published code's two passes: elements that were not chosen are held at their clean values
    too, so that an early scaled head cannot reach a later one at that position. Only the last
    prompt token is edited, whatever the scope holds besides.

    The published neurons are of kind `gate`: on a gated MLP its activation function's output is
    held, and what it multiplies (`mlp.hook_pre_linear`) is that of the steered pass. Kind `neuron`
    holds the product of the two, which is another method.

    Attributes:
        clean: What the prompts' last tokens hold in each layer; made by `prepare`.
    """

    clean: tuple[Float[Tensor, "batch *site"], ...] | None = field(default=None, repr=False)

    @property
    @override
    def last_prompt_token_only(self) -> bool:
        return True

    @property
    @override
    def sites(self) -> tuple[Site, ...]:
        return tuple(sorted(Site(layer, edited_kind(self.mask.kind)) for layer in self.mask.layers))

    @override
    def prepare(self, model: SteerableModel, tokens: Tokens, mask: Mask) -> "FrozenSADI":
        if not bool(mask.any(dim=1).all()):
            raise ValueError("a prompt without a token: FrozenSADI patches its last one")
        columns = torch.arange(mask.shape[1], device=mask.device)
        last = torch.where(mask, columns, -1).amax(dim=1)

        def keep(x: Tensor) -> Tensor:
            return x[torch.arange(len(x), device=x.device), last.to(x.device)].detach()

        layers = [site.layer for site in self.sites]
        with torch.no_grad():
            if self._holds_gates(model):
                gates = clean_gates(model, tokens, mask, layers, keep)
                return replace(self, clean=tuple(gates[layer] for layer in layers))
            clean = read(model, tokens, mask, dict.fromkeys(self.sites, keep))
        return replace(self, clean=tuple(clean[site] for site in self.sites))

    @override
    def select_prompts(self, rows: Int[Tensor, " row"]) -> "FrozenSADI":
        if self.clean is None:
            return self
        return replace(self, clean=tuple(x[rows.to(x.device)] for x in self.clean))

    def fold_into_weights(self, model: SteerableModel) -> SteerableModel:
        """Refuse: the patch is made of the prompt's own activations.

        Raises:
            ValueError: Always.
        """
        del model
        raise ValueError("FrozenSADI looks at the prompt first, which no weights do: fold a SADI")

    @override
    def transform(
        self, x: Float[Tensor, "*batch"], site: Site | None = None
    ) -> Float[Tensor, "*batch"]:
        return Intervention.transform(self, x, site)  # refuses: a patch is made of the prompt

    @override
    def edits(self, model: SteerableModel) -> dict[Site, Edit]:  # before `prepare`: they refuse
        check_fits(model, self.mask)
        gated = self._holds_gates(model)
        ups = {site: Site(site.layer, Kind.UP) for site in self.sites} if gated else {}
        hook_points(model, [*self.sites, *ups.values()])
        if self.clean is None:
            return dict.fromkeys([*ups.values(), *self.sites], _unready)
        gains, edits = self.gains(), dict[Site, Edit]()
        for site, clean in zip(self.sites, self.clean, strict=True):
            held = clean * on_model(model, site, gains[site])
            if gated:
                patch = _GatePatch(held)
                edits[ups[site]], edits[site] = patch.look, patch.write
            else:
                edits[site] = _patch(held)
        return edits

    def _holds_gates(self, model: SteerableModel) -> bool:
        """Whether it holds a factor of the neurons: on MLPs without a gate they are the same."""
        return self.mask.kind is Kind.GATE and has_gates(model, min(self.mask.layers))


def _patch(wanted: Tensor) -> Callable[[Tensor], Tensor]:
    def patch(x: Activation) -> Activation:
        return wanted.to(x.device, x.dtype)

    return patch


class _GatePatch:
    """The two hooks of a block: what its gate would multiply is kept, and multiplies the patch."""

    def __init__(self, gate: Float[Tensor, "n neuron"]) -> None:
        self._gate = gate
        self._up: Tensor | None = None

    def look(self, x: Activation) -> Activation:
        """Before the product: keep the up projection, and leave it alone."""
        self._up = x
        return x

    def write(self, x: Activation) -> Activation:
        """Behind it: the held gate times that."""
        if self._up is None:
            raise ValueError("FrozenSADI reads mlp.hook_pre_linear before it writes: hook both")
        up, self._up = self._up, None
        return (self._gate.to(x.device) * up).to(x.dtype)


def _unready(x: Activation) -> Activation:
    raise ValueError(
        f"FrozenSADI on {len(x)} positions without their clean activations: it works in "
        "`steered` and `generate`, which read the prompts first"
    )
