"""Steering written by hand: PyTorch hooks on a plain Llama of Transformers.

The edits are those of the equations in docs/methods.md, computed in float64. Nothing of lens_steer
or TransformerLens is used here: what a method has fitted comes as tensors.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor

Edit = Callable[[Tensor], Tensor]  # [pos width] to [pos width], float64


class Place(NamedTuple):
    """Where a block is edited.

    Attributes:
        layer: The index of the block.
        part: `resid_pre` is the block's input, `resid` its output, `head` what the matrix that
            writes the attention's output is given, `neuron` the same of the MLP.
    """

    layer: int
    part: str


@dataclass(frozen=True)
class Reading:
    """What a steered model says of one text, from the last token of its prompt on.

    Attributes:
        tokens: The text, prompt included.
        logits: `[pos vocab]`.
        moves: For each place what was added there, `[pos width]`, float64.
    """

    tokens: list[int]
    logits: Tensor
    moves: dict[Place, Tensor]


class SteeredText:
    """Forward passes over one text, edited from the last token of its prompt on."""

    def __init__(self, model: Any, edits: dict[Place, Edit], prompt_length: int) -> None:
        self._model, self._edits, self._from = model, edits, prompt_length - 1
        self._moves: dict[Place, list[Tensor]] = {place: [] for place in edits}
        self._handles: list[Any] = []
        self._start = 0

    def __enter__(self) -> "SteeredText":
        for place in self._edits:
            block = self._model.model.layers[place.layer]
            match place.part:
                case "resid":
                    handle = block.register_forward_hook(partial(self._behind, place))
                case "resid_pre":
                    handle = block.register_forward_pre_hook(partial(self._before, place))
                case "head":
                    matrix = block.self_attn.o_proj
                    handle = matrix.register_forward_pre_hook(partial(self._before, place))
                case _:
                    matrix = block.mlp.down_proj
                    handle = matrix.register_forward_pre_hook(partial(self._before, place))
            self._handles.append(handle)
        return self

    def __exit__(self, *_: object) -> None:
        for handle in self._handles:
            handle.remove()

    def __call__(self, tokens: Sequence[int], cache: Any = None) -> Tensor:
        """The logits `[pos vocab]` of tokens; a cache holds those before them."""
        self._start = 0 if cache is None else cache.get_seq_length()
        with torch.no_grad():
            out = self._model(
                torch.tensor([list(tokens)]), past_key_values=cache, use_cache=cache is not None
            )
        return out.logits[0]

    @property
    def moves(self) -> dict[Place, Tensor]:
        """What was added at each place, one pass after the other."""
        return {place: torch.cat(moves) for place, moves in self._moves.items()}

    def _before(self, place: Place, module: Any, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        del module
        return (self._edited(place, inputs[0]), *inputs[1:])

    def _behind(self, place: Place, module: Any, inputs: Any, output: Tensor) -> Tensor:
        del module, inputs
        return self._edited(place, output)

    def _edited(self, place: Place, x: Tensor) -> Tensor:
        first = max(0, self._from - self._start)
        new = self._edits[place](x[0, first:].double()).to(x.dtype)
        self._moves[place].append(new.double() - x[0, first:].double())
        return torch.cat([x[:, :first], new[None]], dim=1)


def teacher_forced(
    model: Any, tokens: Sequence[int], prompt_length: int, edits: dict[Place, Edit]
) -> Reading:
    """One pass over a text that is there already."""
    with SteeredText(model, edits, prompt_length) as text:
        logits = text(tokens)[prompt_length - 1 :]
        return Reading(list(tokens), logits, text.moves)


def greedy(model: Any, prompt: Sequence[int], edits: dict[Place, Edit], new_tokens: int) -> Reading:
    """The likeliest token again and again, over a key-value cache."""
    from transformers import DynamicCache

    tokens, logits = list(prompt), []
    cache = DynamicCache(config=model.config)
    with SteeredText(model, edits, len(prompt)) as text:
        unread = tokens
        for _ in range(new_tokens):
            logits.append(text(unread, cache)[-1])
            unread = [int(logits[-1].argmax())]
            tokens = tokens + unread
        return Reading(tokens, torch.stack(logits), text.moves)


def greedy_without_cache(
    model: Any, prompt: Sequence[int], edits: dict[Place, Edit], new_tokens: int
) -> list[int]:
    """The tokens of the same text, the whole of it read anew for each."""
    tokens = list(prompt)
    with SteeredText(model, edits, len(prompt)) as text:
        for _ in range(new_tokens):
            tokens.append(int(text(tokens)[-1].argmax()))
    return tokens


# ---- the methods ----


def added(layer: int, vector: Tensor) -> dict[Place, Edit]:
    """CAA: x + vector, behind a block."""
    return {Place(layer, "resid"): lambda x: x + vector.double()}


def scaled(
    part: str, chosen: Sequence[tuple[int, int]], delta: float, width: int
) -> dict[Place, Edit]:
    """SADI: A + delta (A * M), with M = 1 at the chosen (layer, element) of that width."""

    def scale(elements: list[int], a: Tensor) -> Tensor:
        mask = torch.zeros(a.shape[1] // width, dtype=torch.float64)
        mask[elements] = 1
        return a + delta * a * mask.repeat_interleave(width)

    by_layer: dict[int, list[int]] = {}
    for layer, element in chosen:
        by_layer.setdefault(layer, []).append(element)
    return {Place(layer, part): partial(scale, those) for layer, those in by_layer.items()}


def fed_back(
    gains: Tensor, directions: Tensor, setpoints: Tensor, strength: float
) -> dict[Place, Edit]:
    """LQR: u_k = (beta_k - v_k . z_k) w_k, z_k read before block k and u_k added behind it."""
    edits: dict[Place, Edit] = {}
    for k, w in enumerate(gains.double()):
        if bool(w.any()):
            loop = _Loop(w, directions[k].double(), float(setpoints[k]), strength)
            edits[Place(k, "resid_pre")], edits[Place(k, "resid")] = loop.read, loop.push
    return edits


class _Loop:
    def __init__(self, w: Tensor, v: Tensor, beta: float, strength: float) -> None:
        self._w, self._v, self._beta, self._strength = w, v, beta, strength
        self._z = torch.zeros(0)

    def read(self, z: Tensor) -> Tensor:
        self._z = z
        return z

    def push(self, x: Tensor) -> Tensor:
        return x + self._strength * torch.outer(self._beta - self._z @ self._v, self._w)


def _unit_gradient(matrix: Tensor, q: Tensor, a: Tensor) -> Tensor:
    """The direction in which h(a) = n' A n + 2 q . n + c rises most, n = a / |a|."""
    n = a / a.norm(dim=1, keepdim=True)
    slope = 2 * (n @ matrix + q)
    slope = slope - n * (n * slope).sum(dim=1, keepdim=True)
    return slope / slope.norm(dim=1, keepdim=True)


def flowed_in_euler_steps(
    layer: int, matrix: Tensor, q: Tensor, length: float, steps: int
) -> dict[Place, Edit]:
    """ODESteer as published: da/dt = grad h / |grad h| for a length, in steps of Euler's method."""

    def flow(a: Tensor) -> Tensor:
        for _ in range(steps):
            a = a + length / steps * _unit_gradient(matrix.double(), q.double(), a)
        return a

    return {Place(layer, "resid"): flow}


def flowed(
    layer: int, matrix: Tensor, q: Tensor, angle: float, steps: int = 100
) -> dict[Place, Edit]:
    """ODESteer by an angle: the same equation for a length of angle |a|, by Runge-Kutta steps."""

    def flow(a: Tensor) -> Tensor:
        step = angle / steps * a.norm(dim=1, keepdim=True)
        field = partial(_unit_gradient, matrix.double(), q.double())
        for _ in range(steps):
            k1 = field(a)
            k2 = field(a + step / 2 * k1)
            k3 = field(a + step / 2 * k2)
            k4 = field(a + step * k3)
            a = a + step / 6 * (k1 + 2 * k2 + 2 * k3 + k4)
        return a

    return {Place(layer, "resid"): flow}
