"""Kinds of activation, and where they are read and edited; no other file has hook names."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any
from weakref import WeakKeyDictionary

from torch.nn import Module

from lens_steer.arguments import Layer, check_room


class Kind(StrEnum):
    """Which activation of a block is meant; `Kind.parse` also accepts TransformerLens' names."""

    RESID = "resid"
    RESID_PRE = "resid_pre"
    HEAD = "head"
    NEURON = "neuron"
    GATE = "gate"
    UP = "up"
    MLP_OUT = "mlp_out"
    ATTN_OUT = "attn_out"

    @classmethod
    def parse(cls, name: str) -> "Kind":
        """The kind of that name, or of TransformerLens' (`resid_post`, `z`, `mlp_post`).

        Raises:
            ValueError: If there is no such kind; the message lists them.

        Example:
            >>> Kind.parse("resid_post")
            <Kind.RESID: 'resid'>
        """
        try:
            return cls(_TRANSFORMER_LENS_NAMES.get(name, name))
        except ValueError:
            known = ", ".join([*cls, *_TRANSFORMER_LENS_NAMES])
            raise ValueError(f"unknown kind {name!r}: expected one of {known}") from None

    @property
    def editable(self) -> bool:
        """Whether a returned edit takes effect there; `gate` has no hook point of its own."""
        return self is not Kind.GATE


_TRANSFORMER_LENS_NAMES = {"resid_post": "resid", "z": "head", "mlp_post": "neuron"}

_HOOKS = {  # in the order of the forward pass
    Kind.RESID_PRE: "hook_resid_pre",
    Kind.HEAD: "attn.hook_z",
    Kind.ATTN_OUT: "hook_attn_out",
    Kind.GATE: "mlp.hook_pre",
    Kind.UP: "mlp.hook_pre_linear",
    Kind.NEURON: "mlp.hook_post",
    Kind.MLP_OUT: "hook_mlp_out",
    Kind.RESID: "hook_resid_post",
}
_ORDER = tuple(_HOOKS)
_STREAM = (Kind.RESID_PRE, Kind.RESID)


@dataclass(frozen=True)
class Site:
    """One place in the model: a layer and a kind; sites sort in the order of the forward pass.

    Attributes:
        layer: The index of the block, counted from 0.
        kind: The activation. `resid` is the block's output, `resid_pre` its input (at layer 0 the
            embedding); `head` and `neuron` are written to the residual stream through W_O and
            W_out; `up` is what the gate of a gated MLP multiplies.

    Example:
        >>> Site(3, "head").hook_name
        'blocks.3.attn.hook_z'
    """

    layer: Layer
    kind: Kind = Kind.RESID

    def __post_init__(self) -> None:
        if not isinstance(self.kind, Kind):
            object.__setattr__(self, "kind", Kind.parse(self.kind))

    def __lt__(self, other: "Site") -> bool:
        ours, theirs = ((site.layer, _ORDER.index(site.kind)) for site in (self, other))
        return ours < theirs

    @property
    def hook_name(self) -> str:
        """TransformerLens' name of the hook point, the same on both model classes."""
        return f"blocks.{self.layer}.{_HOOKS[self.kind]}"


def sites_of(model: Any, kind: str, layers: Sequence[int] | None) -> list[Site]:
    """One site of a kind in each of some layers, in that order; None means every layer.

    Raises:
        ValueError: If there is no such kind, no layer is given, or one is negative.
    """
    parsed = Kind.parse(kind)
    chosen = range(model.cfg.n_layers) if layers is None else layers
    sites = [Site(layer, parsed) for layer in chosen]
    if not sites:
        raise ValueError("no layers to read: expected at least one, or None for all")
    return sites


def hook_point(model: Any, site: Site) -> Any:
    """The model's hook point at a site; see `hook_points`."""
    return hook_points(model, [site])[site]


def hook_points(model: Any, sites: Iterable[Site]) -> dict[Site, Any]:
    """The model's hook points at some sites.

    Names are looked up here because TransformerLens itself ignores unknown ones on some routes.

    Raises:
        ValueError: If a layer is out of range, or the model has no such hook point.
    """
    points = _points_by_name(model)
    return {site: _hook_point(points, model.cfg.n_layers, site) for site in sites}


def has_sites(model: Any, *sites: Site) -> bool:
    """Whether the model has all of these sites."""
    points = _points_by_name(model)
    return all(site.kind in _kinds(points, site.layer) for site in sites)


def _points_by_name(model: Any) -> Mapping[str, Any]:
    """`model.hook_dict`, remembered: a TransformerBridge takes milliseconds to write it out."""
    if not isinstance(model, Module):  # nothing to remember it by
        return model.hook_dict
    state = tuple(getattr(model, name, None) for name in _NAMING)
    stored = _points.get(model)
    if stored is None or stored[0] != state:
        points: Any = model.hook_dict
        stored = _points[model] = (state, dict(points))
    return stored[1]


def _hook_point(points: Mapping[str, Any], n_layers: int, site: Site) -> Any:
    if site.layer >= n_layers:
        raise ValueError(f"layer {site.layer}: this model has {n_layers}, 0 to {n_layers - 1}")
    kinds = _kinds(points, site.layer)
    if site.kind in kinds:
        return points[site.hook_name]
    raise ValueError(
        f"this model has no hook point {site.hook_name} that kind {site.kind.value!r} could use: "
        f"of block {site.layer}, {' and '.join(kinds) or 'nothing'} can be read and edited"
    )


def _kinds(points: Mapping[str, Any], layer: int) -> list[Kind]:
    """What can be read of a block: the residual stream alone, where it is no attention and MLP."""
    kinds = [kind for kind, name in _HOOKS.items() if f"blocks.{layer}.{name}" in points]
    whole = Kind.ATTN_OUT in kinds and Kind.MLP_OUT in kinds
    return kinds if whole else [kind for kind in kinds if kind in _STREAM]


def site_shape(model: Any, kind: Kind) -> tuple[int, ...]:
    """Sizes of the `*site` axes of a kind on this model."""
    cfg = model.cfg
    match kind:
        case Kind.HEAD:
            return (cfg.n_heads, cfg.d_head)
        case Kind.NEURON | Kind.GATE | Kind.UP:
            return (cfg.d_mlp,)
        case _:
            return (cfg.d_model,)


_NAMING = ("compatibility_mode", "_weights_processed")  # what changes a bridge's hook names
_points: WeakKeyDictionary[Any, tuple[Any, Mapping[str, Any]]] = WeakKeyDictionary()


@dataclass(frozen=True, eq=False)
class PointHook:
    """A hook on one hook point.

    Attributes:
        name: The name of the hook point.
    """

    name: str
    _point: Any
    _handle: Any

    @property
    def present(self) -> bool:
        """Whether the hook is still there: `reset_hooks(including_permanent=True)` removes it."""
        return self._handle.hook.id in self._point._forward_hooks

    def remove(self) -> None:
        """Remove the hook, and TransformerLens' record of it."""
        self._handle.hook.remove()
        others = [other for other in self._point.fwd_hooks if other is not self._handle]
        self._point.fwd_hooks[:] = others


def add_hook(point: Any, fn: Callable[[Any], Any], acts: Callable[[], bool]) -> PointHook:
    """Hook a hook point directly, without the model's own bookkeeping.

    Args:
        point: The hook point.
        fn: Maps the activation, or returns None to leave it as it is.
        acts: Is called at every pass; where it returns False, the hook does nothing.
    """
    user_hook = _UserHook(fn, acts)
    point.add_hook(user_hook, is_permanent=True)  # model.reset_hooks() is the user's
    # TransformerLens 3.9 returns nothing from add_hook
    handle = next(h for h in reversed(point.fwd_hooks) if h.user_hook is user_hook)
    hooks = point._forward_hooks
    hooks[handle.hook.id] = _OnOneModule(point, hooks[handle.hook.id])
    return PointHook(str(point.name), point, handle)


class _UserHook:
    """A hook as TransformerLens calls it, with the hook point by name."""

    __name__ = "lens_steer"  # TransformerLens asks every hook for its name

    def __init__(self, fn: Callable[[Any], Any], acts: Callable[[], bool]) -> None:
        self._fn, self._acts = fn, acts

    def __call__(self, x: Any, hook: Any) -> Any:
        del hook
        return self._fn(x) if self._acts() else None


class _OnOneModule:
    """A hook as PyTorch calls it, which does nothing on the modules of a deep copy of the model."""

    def __init__(self, module: Any, hook: Callable[[Any, Any, Any], Any]) -> None:
        self._module, self._hook = module, hook

    def __call__(self, module: Any, args: Any, output: Any) -> Any:
        return self._hook(module, args, output) if module is self._module else None


check_room(globals())
