"""What the steering tests share: small methods, a brute-force scope, runs over a cache, padding."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from lens_steer.attribution import ElementMask
from lens_steer.models import bos_id, encode_prompt, is_bridge
from lens_steer.sites import Kind, Site, has_sites
from lens_steer.steering import (
    ITI,
    Ablation,
    ActAdd,
    Additive,
    Angular,
    Edit,
    Intervention,
    RepE,
    ResidualITI,
)

Rows = list[list[int]]

# The longest is longer than Gemma's window of 16.
PROMPTS = ("The cat", "A dog sat in the sun and", "One day, the dog and the cat met.", "Hi!")
SCOPES = ("last", "prompt", "generated", "all", (0, 3), (2,), (1, 30, 31))
PADDINGS = ("left", "right", "none")
STEERED_LAYER = 1


@dataclass(frozen=True, eq=False, repr=False)
class Recorder(Intervention):
    """Changes nothing, and keeps what it was given."""

    site: Site = Site(STEERED_LAYER)
    seen: list[Tensor] = field(default_factory=list, repr=False)

    @property
    def sites(self) -> tuple[Site, ...]:
        return (self.site,)

    def edits(self, model: Any) -> dict[Site, Edit]:
        del model

        def keep(x: Tensor) -> Tensor:
            self.seen.append(x.detach().clone())
            return x

        return {self.site: keep}


@dataclass(frozen=True, eq=False, repr=False)
class Scale(Intervention):
    """Multiplies: does not commute with adding."""

    factor: float = 1.5
    site: Site = Site(STEERED_LAYER)

    @property
    def sites(self) -> tuple[Site, ...]:
        return (self.site,)

    def edits(self, model: Any) -> dict[Site, Edit]:
        del model
        return {self.site: lambda x: x * self.factor**self.strength}


@dataclass(frozen=True, eq=False, repr=False)
class Broken(Intervention):
    """Raises, in an edit or when it is made ready."""

    when: str = "edit"
    site: Site = Site(STEERED_LAYER)

    @property
    def sites(self) -> tuple[Site, ...]:
        return (self.site,)

    def edits(self, model: Any) -> dict[Site, Edit]:
        del model

        def fail(x: Tensor) -> Tensor:
            raise ArithmeticError("broken on purpose")

        return {self.site: fail if self.when == "edit" else lambda x: x}

    def prepare(self, model: Any, tokens: Tensor, mask: Tensor) -> "Broken":
        del model, tokens, mask
        if self.when == "prepare":
            raise ArithmeticError("broken on purpose")
        return self


@dataclass(frozen=True, eq=False, repr=False)
class Prepared(Intervention):
    """Adds the mean over the prompts' real tokens of the clean model's final residual stream.

    Attributes:
        calls: Tokens, mask and what was measured, of every time it was made ready.
    """

    site: Site = Site(STEERED_LAYER)
    calls: list[tuple[Tensor, Tensor, Tensor]] = field(default_factory=list, repr=False)
    mean: Tensor | None = None

    @property
    def sites(self) -> tuple[Site, ...]:
        return (self.site,)

    def edits(self, model: Any) -> dict[Site, Edit]:
        del model
        mean = self.mean
        if mean is None:
            return {self.site: lambda x: x}
        return {self.site: lambda x: x + self.strength * mean}

    def prepare(self, model: Any, tokens: Tensor, mask: Tensor) -> "Prepared":
        with torch.no_grad():
            read = watched(model, Site(model.cfg.n_layers - 1), lambda: run(model, tokens, mask))
        mean = read[mask].mean(dim=0)
        self.calls.append((tokens.clone(), mask.clone(), mean))
        return Prepared(site=self.site, calls=self.calls, mean=mean, strength=self.strength)


@dataclass(frozen=True, eq=False, repr=False)
class Ready(Scale):
    """Calls `make(tokens)` when it is made ready, and is then of strength `then`."""

    make: Callable[[Tensor], Any] = field(kw_only=True, repr=False)
    then: float = 1.0

    def prepare(self, model: Any, tokens: Tensor, mask: Tensor) -> "Ready":
        del model, mask
        with torch.no_grad():
            self.make(tokens)
        return self.with_strength(self.then)


def drawn(shape: Sequence[int], *, seed: int = 0, size: float = 1.0) -> Tensor:
    """Normal numbers, `size` their standard deviation."""
    return size * torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def push(model: Any, *, layer: int = STEERED_LAYER, seed: int = 0, size: float = 1.0) -> Additive:
    """A random vector on the residual stream."""
    return Additive((Site(layer),), (drawn((model.cfg.d_model,), seed=seed, size=size),))


def rows_of(model: Any, prompts: Sequence[str] = PROMPTS) -> Rows:
    return [encode_prompt(model, prompt) for prompt in prompts]


@dataclass(frozen=True)
class Batch:
    """Rows in a rectangle; `mask` is None where every column is text."""

    tokens: Tensor
    mask: Tensor | None
    real: list[list[bool]]

    @property
    def lengths(self) -> list[int]:
        return [sum(row) for row in self.real]

    @property
    def last(self) -> list[int]:
        """Column of each row's last real token."""
        return [max(i for i, real in enumerate(row) if real) for row in self.real]


def padded(model: Any, rows: Rows, side: str) -> Batch:
    """Rows padded on one side; on none, they are cut to the length of the shortest."""
    if side == "none":
        width = min(len(row) for row in rows)
        cut = [row[:width] for row in rows]
        return Batch(torch.tensor(cut), None, [[True] * width for _ in rows])
    width = max(len(row) for row in rows)
    filler = model.tokenizer.pad_token_id
    cells, real = [], []
    for row in rows:
        gap = width - len(row)
        before, after = (gap, 0) if side == "left" else (0, gap)
        cells.append([filler] * before + row + [filler] * after)
        real.append([False] * before + [True] * len(row) + [False] * after)
    return Batch(torch.tensor(cells), torch.tensor(real), real)


def brute_force(
    scope: Any,
    real: Sequence[bool],
    chunk: int,
    prompt_length: int,
    starts_with_bos: bool,
    sinks: Sequence[int] = (),
) -> list[bool]:
    """The scope's definition, token by token, for the last `chunk` columns of one row."""
    chosen, position = [], -1
    for is_real in real:
        position += is_real
        if not is_real:
            chosen.append(False)
        elif scope == "all":
            chosen.append(position not in sinks)
        elif scope == "last":
            chosen.append(position >= prompt_length - 1)
        elif scope == "generated":
            chosen.append(position >= prompt_length)
        elif scope == "prompt":
            is_bos = position == 0 and starts_with_bos
            chosen.append(position < prompt_length and not is_bos and position not in sinks)
        else:
            chosen.append(position in scope)
    return chosen[len(chosen) - chunk :]


def expected(
    model: Any, scope: Any, real: Rows | list[list[bool]], chunk: int, prompt_lengths: Sequence[int]
) -> Tensor:
    """`brute_force` of every row, all of which begin with the BOS if the model has one.

    The first token of a prompt is its only sink: activations of random weights are of one size.
    """
    has_bos = bos_id(model) is not None
    return torch.tensor(
        [
            brute_force(scope, [bool(r) for r in row], chunk, length, has_bos, range(length)[:1])
            for row, length in zip(real, prompt_lengths, strict=True)
        ]
    )


def run(model: Any, tokens: Tensor, mask: Tensor | None) -> Tensor:
    """Logits of a forward that brings no cache, through the model's own call."""
    given: dict[str, Any] = {} if mask is None else {"attention_mask": mask.long()}
    if is_bridge(model):
        given["use_cache"] = False
    return model(tokens, **given)


def watched(model: Any, site: Site, call: Callable[[], Any]) -> Tensor:
    """The activation at a site during `call`, seen by a hook of TransformerLens' own."""
    found: list[Tensor] = []

    def keep(x: Tensor, hook: Any) -> None:
        found.append(x.detach().clone())

    with model.hooks(fwd_hooks=[(site.hook_name, keep)]):
        call()
    (only,) = found
    return only


class Cached:
    """Forward passes over one key-value cache, by the public calls of either class."""

    def __init__(self, model: Any, batch: int, *, masked: bool) -> None:
        self.model, self.masked = model, masked
        self.real: Tensor | None = None
        if is_bridge(model):
            from transformers import DynamicCache

            self.cache: Any = DynamicCache(config=model.original_model.config)
        else:
            from transformer_lens import TransformerLensKeyValueCache

            self.cache = TransformerLensKeyValueCache.init_cache(model.cfg, "cpu", batch)

    def __call__(self, tokens: Tensor, mask: Tensor | None = None) -> Tensor:
        real = torch.ones_like(tokens, dtype=torch.bool) if mask is None else mask
        self.real = real if self.real is None else torch.cat([self.real, real], dim=1)
        if not is_bridge(self.model):
            given = {"attention_mask": real.long()} if self.masked else {}
            return self.model(tokens, past_kv_cache=self.cache, **given)
        given = {"past_key_values": self.cache, "use_cache": True}
        if self.masked:
            positions = (self.real.long().cumsum(dim=1) - 1).clamp(min=0)
            given["attention_mask"] = self.real.long()
            given["position_ids"] = positions[:, -tokens.shape[1] :]
        return self.model(tokens, **given)


def manual_hook(vector: Tensor, where: Tensor) -> Callable[..., Tensor]:
    """Adds a vector at the marked positions, written without lens_steer."""

    def add(x: Tensor, hook: Any) -> Tensor:
        marks = where.reshape(*where.shape, *[1] * (x.ndim - 2)).to(x.dtype)
        return x + marks * vector

    return add


def traces(model: Any) -> dict[str, Any]:
    """What steering could leave behind: hooks of every module, hook lists, patched attributes."""
    found: dict[str, Any] = {}
    roots = {"": model} | ({"original.": model.original_model} if is_bridge(model) else {})
    for prefix, root in roots.items():
        for name, module in root.named_modules():
            held = module._forward_hooks, module._forward_pre_hooks, module._backward_hooks
            if any(held):
                found[prefix + name] = [tuple(hooks) for hooks in held]
    found |= {name: len(p.fwd_hooks) for name, p in model.hook_dict.items() if p.fwd_hooks}
    found["attributes"] = {name: vars(model).get(name) for name in _generators(model)}
    return found


def _generators(model: Any) -> Iterator[str]:
    names = ("generate", "generate_stream", "hf_generate", "forward")
    return (name for name in names if hasattr(model, name))


def kinds_of(model: Any) -> list[Kind]:
    """The kinds that a model has: MLPs without a gate have nothing that it multiplies."""
    return [kind for kind in Kind if has_sites(model, Site(0, kind))]


def all_kinds(model: Any) -> list[Kind]:
    """The kinds of a model that can be edited."""
    return [kind for kind in kinds_of(model) if kind is not Kind.GATE]


def baselines(model: Any) -> dict[str, Intervention]:
    """One of each, of random tensors that fit the model: what the invariants are tested on."""
    d, heads, width = model.cfg.d_model, model.cfg.n_heads, model.cfg.d_head
    axes = torch.linalg.qr(drawn((d, 3), seed=5)).Q.T.contiguous()
    chosen = torch.zeros(model.cfg.n_layers, heads, dtype=torch.bool)
    chosen[0, 1] = chosen[2, 0] = chosen[2, 3] = True
    thetas = drawn((*chosen.shape, width), seed=6)
    thetas = chosen[..., None] * thetas / thetas.norm(dim=-1, keepdim=True)
    mask = ElementMask(chosen, Kind.HEAD, tuple(range(len(chosen))))
    plane = (Site(STEERED_LAYER), axes[0], axes[1])
    return {
        "ActAdd": ActAdd((Site(1),), (drawn((d,)),), prompts=("a", "b"), coefficient=2.0),
        "RepE": RepE(Site(2), axes[0], 3.0, 0.5, coefficient=0.7),
        "ITI": ITI(mask, thetas, 0.3 * chosen, 4.0),
        "ResidualITI": ResidualITI(Site(0), axes[1], 2.0),
        "Ablation": Ablation((Site(0), Site(1), Site(3)), axes[2]),
        "Ablation to": Ablation((Site(1, Kind.MLP_OUT),), axes[2], 1.5),
        "Angular": Angular(*plane, angle=0.8),
        "Angular to": Angular(*plane, to_angle=-1.0, only_aligned=True),
    }


class NoWaiting(TorchDispatchMode):
    """Refuses whatever reads a number out of a tensor, for which a device would have to wait."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        assert "_local_scalar_dense" not in str(func)
        return func(*args, **(kwargs or {}))
