"""What every steering method is: a value that says which activations become what."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, fields, replace
from math import inf, isfinite
from numbers import Real
from typing import Any, TypeVar

from jaxtyping import Float, Int
from torch import Tensor

from lens_steer.arguments import Number, shortened
from lens_steer.axes import Activation, Mask, Tokens, ranges
from lens_steer.models import Provenance, SteerableModel
from lens_steer.reports import shortened_in_the_middle
from lens_steer.sites import Site

Edit = Callable[..., Activation]  # of activations; of their prompts as well, if `per_prompt`
_LONGEST = 300  # letters of a setting that are printed
AnyIntervention = TypeVar("AnyIntervention", bound="Intervention")


@dataclass(frozen=True, eq=False, repr=False, kw_only=True)
class Intervention(ABC):
    """A steering method, finished and immutable.

    Attributes:
        strength: Dimensionless; 0 is the exact identity, 1 the method as made.
        provenance: The model and data it was fitted on; None if made by hand.
        report: How the strength was found, if `calibrate` did; another strength drops it.
    """

    strength: float | int = 1.0
    provenance: Provenance | None = None
    report: Any = field(default=None, repr=False)

    def __post_init__(self) -> None:
        strength = self.strength
        if isinstance(strength, bool) or not isinstance(strength, Real) or not isfinite(strength):
            raise ValueError(f"strength {strength!r}: expected a finite number; 0 is no steering")
        object.__setattr__(self, "strength", float(strength))
        for knob in fields(self):  # whatever knobs a method has
            value = getattr(self, knob.name)
            if isinstance(value, Real) and not isfinite(value):
                raise ValueError(f"{knob.name} {value}: expected a finite number")

    @property
    @abstractmethod
    def sites(self) -> tuple[Site, ...]:
        """Where it edits, in the order of the forward pass."""

    @property
    def max_useful_strength(self) -> float:
        """Largest strength that does more than smaller ones: infinite, but for what wraps round."""
        return inf

    @property
    def last_prompt_token_only(self) -> bool:
        """Whether it edits the prompt's last token alone, at any scope."""
        return False

    @property
    def per_prompt(self) -> bool:
        """Whether its edits are also given the prompt of each activation."""
        return False

    @property
    def needs_prompt(self) -> bool:
        """Whether it is to be made ready for each prompt (`prepare`) before it edits."""
        return type(self).prepare is not Intervention.prepare

    @abstractmethod
    def edits(self, model: SteerableModel) -> dict[Site, Edit]:
        """What it does at each site: pure functions of the steered activations `[n *site]`.

        They know nothing of positions, return new tensors, and hold their tensors on the model's
        device.

        Raises:
            ValueError: If the method does not fit the model.
        """

    def prepare(
        self: AnyIntervention, model: SteerableModel, tokens: Tokens, mask: Mask
    ) -> AnyIntervention:
        """The method made ready for these prompts; may run the clean model."""
        del model, tokens, mask
        return self

    def select_prompts(self: AnyIntervention, rows: Int[Tensor, " row"]) -> AnyIntervention:
        """Of some of the prompts that it was made ready for; the same, unless it keeps theirs."""
        del rows
        return self

    def transform(
        self, x: Float[Tensor, "*batch"], site: Site | None = None
    ) -> Float[Tensor, "*batch"]:
        """The steered activations, of the shape and dtype of `x`: what the hook of a site does.

        A pure function of tensors, which needs no model. Methods whose edit depends on more than
        the activation itself (regulators, gates, published SADI's two passes) have none.

        Args:
            x: Activations `[... *site]`.
            site: Where they are from; a method of one site may leave it out.

        Raises:
            ValueError: If the method does not steer there, is for activations of another shape, or
                needs more than the activations.
        """
        del x, site
        raise ValueError(
            f"what a method of class {type(self).__name__} does to an activation depends on more "
            "than that activation (its prompt, or another site): there is no transform, use "
            "`with steered(model, method)` or `generate`"
        )

    def with_strength(self: AnyIntervention, strength: Number) -> AnyIntervention:
        """The same method at another strength (not a multiple of the present one)."""
        return replace(self, strength=strength, report=None)

    def without_provenance(self: AnyIntervention) -> AnyIntervention:
        """The same method without the record of its model, to be used on another one."""
        return replace(self, provenance=None)

    def checked_edits(self, model: SteerableModel) -> dict[Site, Edit]:
        """`edits`, checked against the model; nothing at strength 0.

        Raises:
            ValueError: If it was fitted on another model, or a site cannot be edited.
        """
        if self.provenance is not None:
            self.provenance.check(model)
        edits = self.edits(model)
        fixed = [site.hook_name for site in edits if not site.kind.editable]
        if fixed:
            raise ValueError(
                f"{', '.join(fixed)} can be read but not edited (kind 'gate'): steer 'neuron' "
                "instead"
            )
        return edits if self.strength != 0 else {}

    def hooks(self, model: SteerableModel) -> list[tuple[str, Callable[..., Tensor]]]:
        """`(hook name, fn)` for every position, as `model.run_with_hooks(fwd_hooks=...)` takes."""
        return [
            (site.hook_name, _everywhere(edit)) for site, edit in self.checked_edits(model).items()
        ]

    def __repr__(self) -> str:
        hidden = ("strength", "provenance", "at")  # it ends with the names of the places
        knobs = [f.name for f in fields(self) if f.repr and f.name not in hidden]
        texts = (shortened_in_the_middle(repr(getattr(self, name)), _LONGEST) for name in knobs)
        printed = [f"{name}={text}" for name, text in zip(knobs, texts, strict=True)]
        settings = ", ".join([f"strength={self.strength:g}", *printed, *self._summary()])
        return f"{type(self).__name__}({settings}) at {_places(self.sites)}"

    def _summary(self) -> list[str]:
        """Further settings to print, for fields whose own repr is long (marked `repr=False`)."""
        return []


def apply_everywhere(edit: Edit, x: Tensor) -> Tensor:
    """An edit of every position of `[batch pos *site]`, in the dtype that came."""
    before = x.flatten(0, 1)
    return check_edited(edit(before), before).to(x.dtype).reshape(x.shape)


def check_edited(after: Any, before: Tensor) -> Tensor:
    """What an edit returned, of which one activation for each that came is expected.

    Raises:
        ValueError: If it is no tensor, or has another shape: it would be spread over positions.
    """
    if not isinstance(after, Tensor) or after.shape != before.shape:
        raise ValueError(
            f"an edit returned {shortened(after)} for activations of shape {list(before.shape)}: "
            "expected a tensor of that shape, one steered activation for each that came"
        )
    return after


def _everywhere(edit: Edit) -> Callable[..., Tensor]:
    def fn(x: Tensor, hook: Any = None) -> Tensor:
        del hook
        return apply_everywhere(edit, x)

    return fn


def _places(sites: Sequence[Site]) -> str:
    """The hook names of some sites; of one kind at more than eight layers as one name.

    Such a name has the layers in braces: `blocks.{1-29}.hook_resid_post`.
    """
    by_kind: dict[str, list[int]] = {}
    for site in sites:
        by_kind.setdefault(site.hook_name.split(".", 2)[2], []).append(site.layer)
    names = []
    for kind, layers in by_kind.items():
        shown = [str(layer) for layer in layers]
        if len(layers) > 8:
            shown = [f"{{{ranges(sorted(layers))}}}"]
        names += [f"blocks.{layer}.{kind}" for layer in shown]
    return ", ".join(names)
