"""Keys or values of a frozen context with those of new tokens behind them, the two kept apart.

A cache appends new keys to old ones by copying both into one tensor. Where many copies of one token
run over the same context (`torch.vmap`), or many gradients go back at once, that multiplies what
does not depend on the copy: the context's keys are written, and their gradients computed, for each.
Kept apart, the context takes part in products with all copies at once, as one matrix, and has no
gradient at all.
"""

from collections.abc import Callable, Sequence
from copy import copy
from typing import Any

import torch
from torch import Tensor
from typing_extensions import override

_PRODUCTS = (torch.matmul, Tensor.matmul, Tensor.__matmul__)


class AppendedStates:
    """What stands for `torch.cat([context, new], dim=-2)` in the code of an attention layer.

    Operations that leave the axis of positions alone (heads repeated, axes swapped) are applied to
    both parts, and so is a product with queries or with attention weights. Anything else is given
    the whole tensor, and goes on with that: slower, and right.

    Attributes:
        context: Of the tokens before, which depend on nothing.
        new: Of the new tokens.
        axis: The axis of positions, -2 or -1.
        joined: Called whenever the whole has to be made.

    Example:
        >>> keys = AppendedStates(torch.zeros(1, 2, 5, 4), torch.ones(1, 2, 1, 4), lambda: None)
        >>> torch.matmul(queries, keys.transpose(-2, -1))  # [1 2 n 6]
    """

    def __init__(
        self, context: Tensor, new: Tensor, joined: Callable[[], object], axis: int = -2
    ) -> None:
        self.context, self.new, self.axis, self._joined = context, new, axis, joined

    def whole(self) -> Tensor:
        """Both in one tensor."""
        self._joined()
        context = self.context.expand(*self.new.shape[:-2], *self.context.shape[-2:])
        return torch.cat([context, self.new], dim=self.axis)

    @property
    def shape(self) -> torch.Size:
        """The shape of the whole."""
        sizes = list(self.new.shape)
        sizes[self.axis] += self.context.shape[self.axis]
        return torch.Size(sizes)

    def size(self, dim: int | None = None) -> Any:
        """The shape of the whole, or its length along one axis."""
        return self.shape if dim is None else self.shape[dim]

    @property
    def dtype(self) -> torch.dtype:
        """The dtype of both."""
        return self.new.dtype

    @property
    def device(self) -> torch.device:
        """The device of both."""
        return self.new.device

    @property
    def ndim(self) -> int:
        """How many axes there are."""
        return self.new.ndim

    def transpose(self, first: int, second: int) -> Any:
        """The last two axes swapped; of any others the whole."""
        if {first % self.ndim, second % self.ndim} != {self.ndim - 2, self.ndim - 1}:
            return self.whole().transpose(first, second)
        return self._each(lambda x: x.transpose(-2, -1), -3 - self.axis)

    @property
    def mT(self) -> Any:
        """The last two axes swapped."""
        return self.transpose(-2, -1)

    def __getitem__(self, key: Any) -> Any:
        keys = key if isinstance(key, tuple) else (key,)
        whole_axes = all(k is None or (isinstance(k, slice) and k == slice(None)) for k in keys)
        missing = self.ndim - sum(k is not None for k in keys)
        if whole_axes and None not in (*keys, *[slice(None)] * missing)[-2:]:
            return self._each(lambda x: x[keys])
        return self.whole()[key]

    def expand(self, *sizes: Any) -> Any:
        """As a tensor's, with axes before the last two only."""
        return self._resized(Tensor.expand, *sizes)

    def reshape(self, *sizes: Any) -> Any:
        """As a tensor's; the parts stay apart if the last two axes are what they were."""
        return self._resized(Tensor.reshape, *sizes)

    def repeat_interleave(self, repeats: int, dim: int) -> Any:
        """As a tensor's; the parts stay apart if the axis is none of the last two."""
        if not isinstance(repeats, int) or dim % self.ndim >= self.ndim - 2:
            return self.whole().repeat_interleave(repeats, dim=dim)
        return self._each(lambda x: x.repeat_interleave(repeats, dim=dim))

    def to(self, *args: Any, **options: Any) -> "AppendedStates":
        """As a tensor's."""
        return self._each(lambda x: x.to(*args, **options))

    def contiguous(self) -> "AppendedStates":
        """The same: the parts are laid out anew where they need be."""
        return self

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return getattr(self.whole(), name)

    @classmethod
    def __torch_function__(
        cls, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        """Products with the parts; everything else with the whole."""
        del types
        options = kwargs or {}
        if func in _PRODUCTS and not options and len(args) == 2 and isinstance(args[0], Tensor):
            return args[1]._times(args[0])
        return func(*(map(_whole, args)), **{name: _whole(x) for name, x in options.items()})

    def _times(self, x: Tensor) -> Tensor:
        """x @ self."""
        if x.ndim < 2:
            return x @ self.whole()
        if self.axis == -1:
            return torch.cat([_Product.apply(x, self.context), _product(x, self.new)], dim=-1)
        n = self.context.shape[-2]
        return _Product.apply(x[..., :n], self.context) + _product(x[..., n:], self.new)

    def _resized(self, how: Callable[..., Tensor], *sizes: Any) -> Any:
        shape = list(sizes[0] if len(sizes) == 1 and not isinstance(sizes[0], int) else sizes)
        if len(shape) < 2 or tuple(shape[-2:]) != tuple(self.shape[-2:]) or -1 in shape:
            return how(self.whole(), shape)
        lead = shape[:-2]
        return self._each(lambda x: how(x, [*lead, *x.shape[-2:]]))

    def _each(self, fn: Callable[[Tensor], Tensor], axis: int | None = None) -> "AppendedStates":
        axis = self.axis if axis is None else axis
        return AppendedStates(fn(self.context), fn(self.new), self._joined, axis)


class FrozenLayer:
    """The `update` of one layer of a frozen cache: it keeps nothing of what is new.

    What the layer itself makes of the first new states tells what its context is.

    Attributes:
        apart: Whether the context and what is new were kept apart so far.
    """

    def __init__(self, layer: Any) -> None:
        self._layer, self.apart = layer, True
        self._contexts: list[Tensor] | None = None

    def __call__(self, keys: Tensor, values: Tensor, *args: Any, **options: Any) -> Any:
        """Keys and values of the context and of the new tokens."""
        new = (keys, values)
        if not self._contexts:
            whole = copy(self._layer).update(keys, values, *args, **options)
            if self._contexts is None:
                self._contexts = self._found(whole, new)
            if not self._contexts:
                return whole
        return tuple(AppendedStates(*x, self._join) for x in zip(self._contexts, new, strict=True))

    def _found(self, whole: Sequence[Tensor], new: Sequence[Tensor]) -> list[Tensor]:
        """What the layer puts before new states; nothing if it does not just append them."""
        length = whole[0].shape[-2] - new[0].shape[-2]
        if length == 0:
            return []
        if not all(torch.equal(x[..., length:, :], y) for x, y in zip(whole, new, strict=True)):
            self.apart = False
            return []
        return [x[..., :length, :].detach() for x in whole]

    def _join(self) -> None:
        self.apart = False


def _whole(x: Any) -> Any:
    if isinstance(x, (list, tuple)):
        return type(x)(map(_whole, x))
    return x.whole() if isinstance(x, AppendedStates) else x


def _product(x: Tensor, y: Tensor) -> Tensor:
    """x @ y, of one token without thousands of products of matrices that are single numbers."""
    if y.shape[-1] == 1:
        return (x * y.mT).sum(dim=-1, keepdim=True)
    return x * y if y.shape[-2] == 1 else x @ y


class _Product(torch.autograd.Function):
    """x @ w, w being the same for all copies of x: one product of matrices, however many copies.

    PyTorch's own rule would copy w for each.
    """

    @staticmethod
    @override
    def forward(x: Tensor, w: Tensor) -> Tensor:
        return x @ w

    @staticmethod
    @override
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
        del output
        ctx.save_for_backward(inputs[1])

    @staticmethod
    @override
    def backward(ctx: Any, *grad_outputs: Any) -> Any:
        (w,) = ctx.saved_tensors
        return _Product.apply(grad_outputs[0], w.mT), None

    @staticmethod
    @override
    def vmap(info: Any, in_dims: Any, x: Tensor, w: Tensor) -> tuple[Tensor, int]:  # type: ignore[override]
        del info
        if in_dims[1] is not None:
            x = x if in_dims[0] is None else x.movedim(in_dims[0], 0)
            return torch.matmul(x, w.movedim(in_dims[1], 0)), 0
        copies = x.movedim(in_dims[0], -3)
        rows = copies.flatten(-3, -2)
        return _Product.apply(rows, w).unflatten(-2, copies.shape[-3:-1]).movedim(-3, 0), 0
