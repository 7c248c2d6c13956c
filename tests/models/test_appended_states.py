"""Keys and values kept in two parts, against tensors in one piece, in float64."""

from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention

from lens_steer.models import FrozenContextBlocks, encode_prompt, pad
from lens_steer.models.appended_states import AppendedStates, FrozenLayer

TEXTS, HEADS, LENGTH, WIDTH = 2, 3, 5, 4


def states(new: int = 1) -> tuple[AppendedStates, Tensor, list[int]]:
    """Both parts kept apart, the same in one piece, and how often they were joined."""
    draw = torch.Generator().manual_seed(0)
    context = torch.randn(TEXTS, HEADS, LENGTH, WIDTH, generator=draw, dtype=torch.double)
    token = torch.randn(TEXTS, HEADS, new, WIDTH, generator=draw, dtype=torch.double)
    joined: list[int] = []
    apart = AppendedStates(context, token, lambda: joined.append(1))
    return apart, torch.cat([context, token], dim=-2), joined


def queries(*shape: int) -> Tensor:
    draw = torch.Generator().manual_seed(1)
    return torch.randn(*shape, generator=draw, dtype=torch.double)


@pytest.mark.parametrize("new", [1, 2])
def test_products_are_those_of_the_whole(new: int) -> None:
    apart, whole, joined = states(new)
    q = queries(TEXTS, HEADS, 2, WIDTH)
    p = queries(TEXTS, HEADS, 2, LENGTH + new)
    for found, expected in (
        (torch.matmul(q, apart.transpose(-2, -1)), q @ whole.mT),
        (q @ apart.mT, q @ whole.mT),
        (torch.matmul(p, apart), p @ whole),  # type: ignore[arg-type]
        (p.matmul(apart), p @ whole),  # type: ignore[arg-type]
    ):
        torch.testing.assert_close(found, expected, atol=1e-14, rtol=1e-12)
    assert not joined


def test_what_repeats_heads_keeps_the_parts_apart() -> None:
    apart, whole, joined = states()
    lead = (TEXTS, HEADS, 2)
    for x in (
        apart[:, :, None, :, :].expand(*lead, LENGTH + 1, WIDTH),
        apart[:, :, None].expand((*lead, LENGTH + 1, WIDTH)),
    ):
        y = x.reshape(TEXTS, 2 * HEADS, LENGTH + 1, WIDTH)
        repeated = whole.repeat_interleave(2, dim=1)
        assert y.shape == repeated.shape
        assert torch.equal(torch.cat([y.context, y.new], dim=-2), repeated)
    z = apart.repeat_interleave(2, dim=1).to(torch.float32).contiguous()
    assert z.dtype == torch.float32
    assert (z.ndim, z.size(-2), z.device) == (4, LENGTH + 1, whole.device)
    assert not joined
    assert torch.equal(z.whole(), repeated.float())


def test_everything_else_is_given_the_whole() -> None:
    apart, whole, joined = states()
    some: Any = apart
    q = queries(TEXTS, HEADS, 1, WIDTH)
    expected = [
        (torch.einsum("bhqd,bhkd->bhqk", q, some), q @ whole.mT),
        (
            scaled_dot_product_attention(q, some, some),
            scaled_dot_product_attention(q, whole, whole),
        ),
        (torch.cat([some, whole]), torch.cat([whole, whole])),
        (some.transpose(1, 2), whole.transpose(1, 2)),
        (some[:, :, -1], whole[:, :, -1]),
        (some.reshape(TEXTS, HEADS, -1), whole.reshape(TEXTS, HEADS, -1)),
        (some.repeat_interleave(2, dim=-1), whole.repeat_interleave(2, dim=-1)),
        (some.permute(0, 2, 1, 3), whole.permute(0, 2, 1, 3)),
        (torch.matmul(q[0, 0, 0], some.mT), q[0, 0, 0] @ whole.mT),
    ]
    for found, right in expected:
        torch.testing.assert_close(found, right, atol=1e-14, rtol=1e-12)
    assert len(joined) == len(expected) + 1  # attention has two


def attention(x: Tensor, keys: Any, values: Any) -> Tensor:
    return torch.matmul(torch.matmul(x, keys.transpose(-2, -1)).softmax(dim=-1), values)


def test_copies_and_gradients_are_those_of_the_whole() -> None:
    """Of one token's attention to its context and to itself, copies and second derivatives too."""
    apart, _, joined = states()
    x = queries(TEXTS, HEADS, 1, WIDTH).requires_grad_()

    def two(x: Tensor) -> Tensor:
        keys = AppendedStates(apart.context, 2 * x, lambda: joined.append(1))
        return attention(x, keys, keys)

    def one(x: Tensor) -> Tensor:
        keys = torch.cat([apart.context, 2 * x], dim=-2)
        return attention(x, keys, keys)

    copies = queries(7, TEXTS, HEADS, 1, WIDTH)
    for dim in (0, 2):
        found = torch.vmap(two, in_dims=dim, out_dims=dim)(copies.movedim(0, dim))
        expected = torch.stack([one(c) for c in copies], dim=dim)
        torch.testing.assert_close(found, expected, atol=1e-13, rtol=1e-12)
    nested = torch.vmap(torch.vmap(two))(copies[:6].unflatten(0, (2, 3)))
    expected = torch.stack([one(c) for c in copies[:6]]).unflatten(0, (2, 3))
    torch.testing.assert_close(nested, expected, atol=1e-13, rtol=1e-12)
    twice = [torch.autograd.functional.vhp(lambda x: two(x).sum(), x, copies[0])]
    twice.append(torch.autograd.functional.vhp(lambda x: one(x).sum(), x, copies[0]))
    torch.testing.assert_close(*(product for _, product in twice), atol=1e-12, rtol=1e-12)
    (found,) = torch.autograd.grad(two(x), x, copies, is_grads_batched=True)
    y = one(x)
    expected = [torch.autograd.grad(y, x, c, retain_graph=True)[0] for c in copies]
    torch.testing.assert_close(found, torch.stack(expected), atol=1e-12, rtol=1e-12)
    assert not joined


class Reversed:
    """A layer of a cache that puts what is new first."""

    def update(self, keys: Tensor, values: Tensor) -> list[Tensor]:
        return [torch.cat([x, torch.zeros_like(x)], dim=-2) for x in (keys, values)]


def test_a_layer_that_does_not_append_is_left_to_itself() -> None:
    layer = FrozenLayer(Reversed())
    new = torch.ones(1, 1, 1, 2)
    for x in (new, 3 * new):
        keys, values = layer(x, 2 * x)
        assert torch.equal(keys[:, :, 0], x[:, :, 0])
        assert torch.equal(values[:, :, 0], 2 * x[:, :, 0])
    assert torch.vmap(lambda x: layer(x, x)[0])(torch.stack([new, new])).shape == (2, 1, 1, 2, 2)
    assert not layer.apart


def test_copies_are_light_in_every_bridge(bridge: Any) -> None:
    for text in ("The cat sat in the sun", "A"):
        tokens, mask = pad(bridge, [encode_prompt(bridge, text)], left=True)
        assert FrozenContextBlocks(bridge, tokens, mask).light
