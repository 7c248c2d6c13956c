"""Steered blocks: where they steer, what that does, how they compose, that nothing is left."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from itertools import product
from typing import Any

import pytest
import torch
from torch import Tensor

import lens_steer as ls
from lens_steer.models import bos_id, check_unsteered, is_bridge, unsteered
from lens_steer.sites import Kind, Site
from lens_steer.steering import Additive
from tests.conftest import BACKENDS, WITH_BOS, Loader
from tests.interventions import (
    PADDINGS,
    PROMPTS,
    SCOPES,
    STEERED_LAYER,
    Batch,
    Broken,
    Cached,
    Prepared,
    Ready,
    Recorder,
    Scale,
    all_kinds,
    drawn,
    expected,
    manual_hook,
    padded,
    push,
    rows_of,
    run,
    traces,
    watched,
)

# Logits are of order 10; float32 sums in another order (another batch, a cache) differ by less.
ROUNDING: dict[str, Any] = {"rtol": 1e-4, "atol": 1e-4}
# The same forward with the same shapes: only the edit's own additions could differ.
SAME_FORWARD: dict[str, Any] = {"rtol": 1e-6, "atol": 1e-6}
SITE = Site(STEERED_LAYER)
# Where a scope is, the recorders say for every scope; what it does there needs only a few.
FEW_SCOPES = ("last", "prompt", (0, 3))


@pytest.fixture(params=BACKENDS)
def either(request: pytest.FixtureRequest, load: Loader) -> Any:
    """One architecture on each backend: for what is the same code on all of them."""
    return load("llama", request.param)


@pytest.fixture(autouse=True)
def _nothing_is_left_behind(request: pytest.FixtureRequest) -> Iterator[None]:
    """Every test here also checks that its model ends as it began."""
    name = next((n for n in ("model", "either") if n in request.fixturenames), None)
    if name is None:
        yield
        return
    model = request.getfixturevalue(name)
    before = traces(model)
    yield
    assert traces(model) == before


def last_logits(logits: Tensor, batch: Batch) -> Tensor:
    return logits[torch.arange(len(batch.last)), torch.tensor(batch.last)]


def prompt_and_more(model: Any, side: str) -> tuple[Batch, list[Tensor], list[Tensor]]:
    """A padded batch of prompts, then what follows: one token, two at once, one."""
    batch = padded(model, rows_of(model), side)
    draw = torch.Generator().manual_seed(3)
    more = [torch.randint(5, 100, (len(batch.real), n), generator=draw) for n in (1, 2, 1)]
    return batch, more, [torch.ones_like(tokens, dtype=torch.bool) for tokens in more]


# ---- where ----


@contextmanager
def recorded(
    model: Any, lengths: Sequence[int]
) -> Iterator[list[tuple[Any, Sequence[int] | None, Recorder]]]:
    """A recorder for every scope, with the prompts' lengths and without: blocks within blocks."""
    with ExitStack() as stack:
        found = []
        for scope, told in [*product(SCOPES, [None]), *product(SCOPES[:3], [list(lengths)])]:
            recorder = Recorder()
            stack.enter_context(ls.steered(model, recorder, scope=scope, prompt_lengths=told))
            found.append((scope, told, recorder))
        yield found


def taken(recorder: Recorder, clean: Tensor) -> Tensor:
    """What a recorder was given since the last time, `[n d]`."""
    seen = torch.cat(recorder.seen) if recorder.seen else clean[:0, 0]
    recorder.seen.clear()
    return seen


@pytest.mark.parametrize("side", PADDINGS)
def test_a_forward_without_a_cache_edits_exactly_the_positions_of_the_scope(
    model: Any, side: str
) -> None:
    batch = padded(model, rows_of(model), side)
    with torch.no_grad(), recorded(model, [n - 1 for n in batch.lengths]) as recorders:
        # Recorders change nothing, so that what a hook sees is the clean activation.
        clean = watched(model, SITE, lambda: run(model, batch.tokens, batch.mask))
    for scope, told, recorder in recorders:
        where = expected(model, scope, batch.real, batch.tokens.shape[1], told or batch.lengths)
        assert torch.equal(taken(recorder, clean), clean[where]), (scope, told)


@pytest.mark.parametrize("side", PADDINGS)
def test_a_forward_with_a_cache_edits_exactly_the_positions_of_the_scope(
    model: Any, side: str
) -> None:
    batch, more, ones = prompt_and_more(model, side)
    first = batch.mask if batch.mask is not None else torch.ones_like(batch.tokens).bool()
    cached = Cached(model, len(batch.real), masked=batch.mask is not None)
    seen: list[list[bool]] = [[] for _ in batch.real]
    with torch.no_grad(), recorded(model, batch.lengths) as recorders:
        for tokens, mask in zip([batch.tokens, *more], [first, *ones], strict=True):
            past = [sum(row) for row in seen]
            clean = watched(model, SITE, lambda t=tokens, m=mask: cached(t, m))
            seen = [row + new for row, new in zip(seen, mask.tolist(), strict=True)]
            for scope, told, recorder in recorders:
                # Untold, a forward continues whatever the cache holds, which may be nothing.
                lengths = told or (past if any(past) else batch.lengths)
                where = expected(model, scope, seen, tokens.shape[1], lengths)
                assert torch.equal(taken(recorder, clean), clean[where]), (scope, told)


def test_without_an_attention_mask_every_column_counts_as_text(bridge: Any) -> None:
    batch = padded(bridge, rows_of(bridge), "right")
    clean = watched(bridge, SITE, lambda: run(bridge, batch.tokens, None))
    recorder = Recorder()
    with ls.steered(bridge, recorder, scope="last"):
        run(bridge, batch.tokens, None)
    assert torch.equal(torch.cat(recorder.seen), clean[:, -1])


def test_a_prompt_read_in_two_parts_over_a_cache_is_steered_as_when_read_at_once(
    either: Any,
) -> None:
    batch = padded(either, rows_of(either), "none")
    width, method = batch.tokens.shape[1], push(either)
    for scope in FEW_SCOPES:
        how: Any = {"scope": scope, "sink": True, "prompt_lengths": batch.lengths}
        with torch.no_grad(), ls.steered(either, method, **how):
            whole = run(either, batch.tokens, None)
            cached = Cached(either, len(batch.real), masked=False)
            parts = [cached(batch.tokens[:, : width - 2]), cached(batch.tokens[:, width - 2 :])]
        torch.testing.assert_close(torch.cat(parts, dim=1), whole, **ROUNDING)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("architecture", ["llama", "qwen2", "qwen3", "neox"])
def test_scope_prompt_leaves_the_bos_alone_and_steers_rows_without_one_wholly(
    load: Loader, architecture: str, backend: str
) -> None:
    model = load(architecture, backend)
    (row,) = rows_of(model, PROMPTS[1:2])
    assert (bos_id(model) is not None) == (architecture in WITH_BOS)
    for sink, left_out in ((True, architecture in WITH_BOS), (False, True)):
        recorder = Recorder()
        with ls.steered(model, recorder, scope="prompt", sink=sink):
            run(model, torch.tensor([row]), None)
        assert len(torch.cat(recorder.seen)) == len(row) - left_out


def test_scope_prompt_goes_by_the_token_so_that_a_row_that_lacks_its_bos_is_steered_wholly(
    llama: Any,
) -> None:
    rows = [[1, 10, 11, 12], [9, 10, 11, 12]]
    clean = watched(llama, SITE, lambda: run(llama, torch.tensor(rows), None))
    for sink in (True, False):
        recorder = Recorder()
        with ls.steered(llama, recorder, scope="prompt", sink=sink):
            run(llama, torch.tensor(rows), None)
        where = torch.tensor([[False, True, True, True], [sink, True, True, True]])
        assert torch.equal(torch.cat(recorder.seen), clean[where])


# ---- what ----


def final_and_logits(model: Any, batch: Batch) -> tuple[Tensor, Tensor]:
    """The last block's output and the logits."""
    logits: list[Tensor] = []
    with torch.no_grad():
        read = watched(
            model,
            Site(model.cfg.n_layers - 1),
            lambda: logits.append(run(model, batch.tokens, batch.mask)),
        )
    return read, logits[0]


@pytest.mark.parametrize("side", PADDINGS)
def test_the_effect_equals_a_hook_written_by_hand(model: Any, side: str) -> None:
    batch = padded(model, rows_of(model), side)
    vector, real = drawn((model.cfg.d_model,)), torch.tensor(batch.real)
    for scope in FEW_SCOPES:
        where = expected(model, scope, batch.real, batch.tokens.shape[1], batch.lengths)
        with ls.steered(model, Additive((SITE,), (vector,)), scope=scope):
            ours = final_and_logits(model, batch)
        with model.hooks(fwd_hooks=[(SITE.hook_name, manual_hook(vector, where))]):
            by_hand = final_and_logits(model, batch)
        for mine, theirs in zip(ours, by_hand, strict=True):
            torch.testing.assert_close(mine[real], theirs[real], **SAME_FORWARD)


def test_every_editable_kind_is_steered_where_it_says(model: Any) -> None:
    tokens = padded(model, rows_of(model), "none").tokens
    shapes = {
        Kind.HEAD: (model.cfg.n_heads, model.cfg.d_head),
        Kind.NEURON: (model.cfg.d_mlp,),
        Kind.UP: (model.cfg.d_mlp,),
    }
    with torch.no_grad():
        clean = run(model, tokens, None)
        for kind in all_kinds(model):
            site = Site(2, kind)
            vector = drawn(shapes.get(kind, (model.cfg.d_model,)))
            everywhere = torch.ones(tokens.shape, dtype=torch.bool)
            with ls.steered(model, Additive((site,), (vector,)), scope="all", sink=True):
                ours = run(model, tokens, None)
            with model.hooks(fwd_hooks=[(site.hook_name, manual_hook(vector, everywhere))]):
                by_hand = run(model, tokens, None)
            torch.testing.assert_close(ours, by_hand, **SAME_FORWARD)
            assert float((ours - clean).abs().max()) > 1e-2, kind


def test_last_logits_do_not_depend_on_the_padding_or_the_batch(model: Any) -> None:
    rows, method = rows_of(model), push(model)
    for scope in FEW_SCOPES:
        found = []
        with torch.no_grad(), ls.steered(model, method, scope=scope):
            for side in ("left", "right"):
                batch = padded(model, rows, side)
                found.append(last_logits(run(model, batch.tokens, batch.mask), batch))
            alone = [run(model, torch.tensor([row]), None)[0, -1] for row in rows]
        for ours in found:
            torch.testing.assert_close(ours, torch.stack(alone), **ROUNDING)


@pytest.mark.parametrize("side", ["left", "none"])
def test_logits_over_a_cache_equal_those_of_one_forward(model: Any, side: str) -> None:
    batch, more, ones = prompt_and_more(model, side)
    method, width = push(model), batch.tokens.shape[1]
    tokens = torch.cat([batch.tokens, *more], dim=1)
    mask = None if batch.mask is None else torch.cat([batch.mask, *ones], dim=1)
    for scope in ("last", "generated", (2, 30)):
        with torch.no_grad(), ls.steered(model, method, scope=scope, prompt_lengths=batch.lengths):
            whole = run(model, tokens, mask)[:, width - 1 :]
            cached = Cached(model, len(batch.real), masked=mask is not None)
            parts = [cached(batch.tokens, batch.mask)[:, -1:]]
            parts += [cached(new) for new in more]
        torch.testing.assert_close(torch.cat(parts, dim=1), whole, **ROUNDING)


def test_strength_zero_leaves_logits_bit_equal_and_so_does_a_block_once_it_is_over(
    model: Any,
) -> None:
    batch, method = padded(model, rows_of(model), "left"), push(model)
    with torch.no_grad():
        before = run(model, batch.tokens, batch.mask)
        for scope in ("last", "all"):
            with ls.steered(model, method.with_strength(0.0), scope=scope):
                assert torch.equal(run(model, batch.tokens, batch.mask), before)
            with ls.steered(model, method, scope=scope):
                run(model, batch.tokens, batch.mask)
            assert torch.equal(run(model, batch.tokens, batch.mask), before)
        with ls.steered(model):
            assert torch.equal(run(model, batch.tokens, batch.mask), before)


def test_twice_the_strength_adds_twice_the_vector(either: Any) -> None:
    tokens, vector = padded(either, rows_of(either), "none").tokens, drawn((either.cfg.d_model,))
    clean = watched(either, SITE, lambda: run(either, tokens, None))
    with ls.steered(either, Additive((SITE,), (vector,), strength=2.0), scope="all", sink=True):
        twice = watched(either, SITE, lambda: run(either, tokens, None))
    torch.testing.assert_close(twice, clean + 2 * vector, **SAME_FORWARD)


def test_tokens_masks_lengths_and_vectors_are_never_written_to(model: Any) -> None:
    batch, vector = padded(model, rows_of(model), "left"), drawn((model.cfg.d_model,))
    assert batch.mask is not None
    lengths = torch.tensor(batch.lengths)
    given = [batch.tokens, batch.mask, lengths, vector]
    before = [tensor.clone() for tensor in given]
    clean: list[Tensor] = []

    def keep(x: Tensor, hook: Any) -> None:
        clean.append(x)
        clean.append(x.detach().clone())

    method = Additive((SITE,), (vector,), strength=2.0)
    with model.hooks(fwd_hooks=[(SITE.hook_name, keep)]):  # sees the activation that ours replaces
        for scope in ("last", "all"):
            with ls.steered(model, method, scope=scope, prompt_lengths=lengths):
                run(model, batch.tokens, batch.mask)
    assert all(torch.equal(a, b) for a, b in zip(given, before, strict=True))
    assert all(torch.equal(a, b) for a, b in zip(clean[::2], clean[1::2], strict=True))


@pytest.mark.parametrize("scope", ["last", "all"])
def test_the_gradient_for_the_vector_equals_finite_differences(model: Any, scope: Any) -> None:
    tokens = padded(model, rows_of(model), "none").tokens
    size, direction = model.cfg.d_model, drawn((model.cfg.d_model,), seed=5)
    weights = drawn((model.cfg.d_vocab,), seed=6)

    def loss(vector: Tensor) -> Tensor:
        with ls.steered(model, Additive((SITE,), (vector,)), scope=scope):
            return (run(model, tokens, None)[:, -1].log_softmax(dim=-1) * weights).sum()

    vector = drawn((size,), seed=4).requires_grad_()
    (gradient,) = torch.autograd.grad(loss(vector), vector)
    # Central differences of float32 losses of order 1e3: the best step leaves errors below 1 %.
    step = 3e-3
    with torch.no_grad():
        there, back = loss(vector + step * direction), loss(vector - step * direction)
    along = float(gradient @ direction)
    assert float(there - back) / (2 * step) == pytest.approx(along, rel=2e-2, abs=0.5)


@pytest.mark.parametrize("scope", ["last", "all"])
def test_the_gradient_flows_through_the_edit_to_earlier_layers(either: Any, scope: Any) -> None:
    tokens = padded(either, rows_of(either), "none").tokens
    earlier, vector = drawn((either.cfg.d_model,), seed=7), drawn((either.cfg.d_model,))
    everywhere = torch.ones(tokens.shape, dtype=torch.bool)
    where = expected(either, scope, everywhere.tolist(), tokens.shape[1], [tokens.shape[1]] * 4)

    def gradient(by_hand: bool) -> Tensor:
        first = earlier.clone().requires_grad_()
        hooks = [("blocks.0.hook_resid_post", manual_hook(first, everywhere))]
        if by_hand:
            hooks.append((SITE.hook_name, manual_hook(vector, where)))
        methods = () if by_hand else (Additive((SITE,), (vector,)),)
        with ls.steered(either, *methods, scope=scope), either.hooks(fwd_hooks=hooks):
            loss = run(either, tokens, None)[:, -1].log_softmax(dim=-1)[:, 7].sum()
        return torch.autograd.grad(loss, first)[0]

    ours = gradient(by_hand=False)
    torch.testing.assert_close(ours, gradient(by_hand=True), rtol=1e-4, atol=1e-5)
    assert float(ours.abs().max()) > 1e-4


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("architecture", ["llama", "gpt2"])
def test_a_bfloat16_model_keeps_its_dtype_and_comes_close_to_the_float32_one(
    load: Loader, fresh_model: Loader, architecture: str, backend: str
) -> None:
    exact, rough = (
        load(architecture, backend),
        fresh_model(architecture, backend, dtype=torch.bfloat16),
    )
    tokens = padded(exact, rows_of(exact), "none").tokens
    method = push(exact, size=0.5)
    found = []
    for model in (exact, rough):
        for scope in ("last", "all"):
            with torch.no_grad(), ls.steered(model, method, scope=scope):
                read = watched(model, SITE, lambda m=model: run(m, tokens, None))
            assert read.dtype == next(iter(model.parameters())).dtype
            found.append(read.float())
    for ours, theirs in zip(found[2:], found[:2], strict=True):
        # Eight bits of mantissa, a dozen roundings in two blocks: a few per cent of the largest.
        assert float((ours - theirs).abs().max() / theirs.abs().max()) < 0.05


# ---- order and nesting ----


def users_hook(fn: Callable[[Tensor], Tensor | None]) -> tuple[str, Callable[..., Any]]:
    def hook_function(x: Tensor, hook: Any) -> Tensor | None:
        return fn(x)

    return SITE.hook_name, hook_function


def by_hand_in_order(model: Any, tokens: Tensor, fns: list[Any]) -> Tensor:
    with torch.no_grad():
        return model.run_with_hooks(tokens, fwd_hooks=[users_hook(fn) for fn in fns])


def test_methods_act_in_list_order_and_nested_blocks_with_the_outer_first(either: Any) -> None:
    tokens, vector = padded(either, rows_of(either), "none").tokens, drawn((either.cfg.d_model,))
    add, scale = Additive((SITE,), (vector,)), Scale()
    with torch.no_grad():
        with ls.steered(either, add, scale, scope="all", sink=True):
            listed = run(either, tokens, None)
        with (
            ls.steered(either, add, scope="all", sink=True),
            ls.steered(either, scale, scope="all", sink=True),
        ):
            nested = run(either, tokens, None)
        with ls.steered(either, scale, add, scope="all", sink=True):
            turned = run(either, tokens, None)
        with (
            ls.steered(either, scale, scope="all", sink=True),
            ls.steered(either, add, scope="all", sink=True),
        ):
            nested_turned = run(either, tokens, None)
    added_first = by_hand_in_order(either, tokens, [lambda x: x + vector, lambda x: x * 1.5])
    scaled_first = by_hand_in_order(either, tokens, [lambda x: x * 1.5, lambda x: x + vector])
    for ours in (listed, nested):
        torch.testing.assert_close(ours, added_first, **SAME_FORWARD)
    for ours in (turned, nested_turned):
        torch.testing.assert_close(ours, scaled_first, **SAME_FORWARD)
    assert float((added_first - scaled_first).abs().max()) > 1e-2


def test_nested_blocks_keep_their_own_scopes_and_the_inner_one_ends_by_itself(either: Any) -> None:
    tokens = padded(either, rows_of(either), "none").tokens
    outer, inner = Recorder(), Recorder()
    with ls.steered(either, outer, scope="all", sink=True):
        with ls.steered(either, inner, scope=(1,)):
            run(either, tokens, None)
        run(either, tokens, None)
    assert [len(seen) for seen in outer.seen] == [tokens.numel()] * 2
    assert [len(seen) for seen in inner.seen] == [len(tokens)]


def test_the_same_method_in_two_nested_blocks_acts_twice(either: Any) -> None:
    tokens, method = padded(either, rows_of(either), "none").tokens, push(either)
    clean = watched(either, SITE, lambda: run(either, tokens, None))
    with (
        ls.steered(either, method, scope="all", sink=True),
        ls.steered(either, method, scope="all", sink=True),
    ):
        twice = watched(either, SITE, lambda: run(either, tokens, None))
    torch.testing.assert_close(twice, clean + 2 * method.vectors[0], **SAME_FORWARD)


# ---- with TransformerLens' own tools ----


TOOLS: dict[str, Callable[[Any, Tensor], Any]] = {
    "reset_hooks": lambda model, _: model.reset_hooks(),
    "run_with_cache": lambda model, tokens: model.run_with_cache(tokens),
    "run_with_hooks": lambda model, tokens: model.run_with_hooks(
        tokens, fwd_hooks=[users_hook(lambda x: 0 * x)]
    ),
}


@pytest.mark.parametrize("tool", TOOLS)
def test_transformer_lens_own_tools_do_not_end_the_steering(either: Any, tool: str) -> None:
    tokens, method = padded(either, rows_of(either), "none").tokens, push(either)
    with torch.no_grad(), ls.steered(either, method):
        before = run(either, tokens, None)
        TOOLS[tool](either, tokens)
        after = run(either, tokens, None)
    assert torch.equal(after, before)


def test_run_with_cache_in_the_block_shows_the_steered_activations(either: Any) -> None:
    tokens, method = padded(either, rows_of(either), "none").tokens, push(either)
    with torch.no_grad():
        _, clean = either.run_with_cache(tokens)
        with ls.steered(either, method, scope=(2,)):
            _, cache = either.run_with_cache(tokens)
    moved = clean[SITE.hook_name].clone()
    moved[:, 2] += method.vectors[0]
    torch.testing.assert_close(cache[SITE.hook_name], moved, **SAME_FORWARD)


def test_run_with_hooks_in_the_block_adds_to_the_steering(either: Any) -> None:
    tokens, vector = padded(either, rows_of(either), "none").tokens, drawn((either.cfg.d_model,))
    users = [users_hook(lambda x: 1.5 * x)]
    with torch.no_grad(), ls.steered(either, Additive((SITE,), (vector,)), scope="all", sink=True):
        both = either.run_with_hooks(tokens, fwd_hooks=users)
    by_hand = by_hand_in_order(either, tokens, [lambda x: x + vector, lambda x: x * 1.5])
    torch.testing.assert_close(both, by_hand, **SAME_FORWARD)


def test_hooks_of_the_user_survive_the_block(either: Any) -> None:
    tokens, calls = padded(either, rows_of(either), "none").tokens, []
    before = traces(either)
    either.add_hook(*users_hook(lambda _: calls.append("before")))
    try:
        with ls.steered(either, push(either)):
            either.add_hook(*users_hook(lambda _: calls.append("within")))
            run(either, tokens, None)
        run(either, tokens, None)
    finally:
        either.reset_hooks()
    assert calls == ["before", "within"] * 2
    assert traces(either) == before


# ---- nothing is left ----


def test_an_exception_in_the_block_leaves_nothing(model: Any) -> None:
    batch, before = padded(model, rows_of(model), "left"), traces(model)
    clean = run(model, batch.tokens, batch.mask)
    with pytest.raises(ArithmeticError), ls.steered(model, push(model), Scale()):
        raise ArithmeticError
    assert traces(model) == before
    assert torch.equal(run(model, batch.tokens, batch.mask), clean)


@pytest.mark.parametrize("when", ["edit", "prepare"])
def test_an_exception_inside_a_method_leaves_nothing(either: Any, when: str) -> None:
    batch, before = padded(either, rows_of(either), "left"), traces(either)
    clean = run(either, batch.tokens, batch.mask)
    with pytest.raises(ArithmeticError), ls.steered(either, push(either), Broken(when=when)):
        run(either, batch.tokens, batch.mask)
    assert traces(either) == before
    assert torch.equal(run(either, batch.tokens, batch.mask), clean)


def test_an_exception_that_the_user_catches_leaves_the_block_steering(either: Any) -> None:
    tokens, method = padded(either, rows_of(either), "none").tokens, push(either)
    with torch.no_grad(), ls.steered(either, method):
        before = run(either, tokens, None)
        with pytest.raises(ArithmeticError), ls.steered(either, Broken(when="prepare")):
            run(either, tokens, None)
        assert torch.equal(run(either, tokens, None), before)


def test_when_entering_fails_it_says_why_and_leaves_nothing(either: Any) -> None:
    good, before = push(either), traces(either)
    far = push(either, layer=either.cfg.n_layers)
    wide = Additive((SITE,), (drawn((either.cfg.d_model + 1,)),))
    gate = Additive((Site(0, Kind.GATE),), (drawn((either.cfg.d_mlp,)),))
    wrong: list[tuple[str, tuple[Any, ...], dict[str, Any]]] = [
        ("layer 4: this model has 4", (good, far), {}),
        ("this model holds", (good, wide), {}),
        ("steer 'neuron' instead", (good, gate), {}),
        ("expected positions", (good,), {"scope": (-1,)}),
        ("expected one number of tokens", (good,), {"prompt_lengths": [-1]}),
    ]
    for message, methods, options in wrong:
        with pytest.raises(ValueError, match=message), ls.steered(either, *methods, **options):
            pytest.fail("entered")
        assert traces(either) == before


def test_lengths_for_another_batch_are_refused_when_the_forward_begins(either: Any) -> None:
    tokens = padded(either, rows_of(either), "none").tokens
    with (
        ls.steered(either, push(either), prompt_lengths=[3, 3]),
        pytest.raises(ValueError, match="2 prompt_lengths for a batch of 4"),
    ):
        run(either, tokens, None)


@pytest.mark.parametrize("side", PADDINGS)
def test_blocks_of_one_row_set_each_give_every_row_its_own_method(either: Any, side: str) -> None:
    batch = padded(either, rows_of(either), side)
    methods = [push(either), None, push(either, layer=0, seed=1), push(either, seed=2)]
    count = len(batch.real)
    with torch.no_grad(), ExitStack() as stack:
        plain = run(either, batch.tokens, batch.mask)
        expected = plain.clone()
        for row, method in enumerate(methods):
            if method is not None:
                with ls.steered(either, method):
                    expected[row] = run(either, batch.tokens, batch.mask)[row]
        for row, method in enumerate(methods):
            if method is not None:
                own = [i == row for i in range(count)]
                stack.enter_context(ls.steered(either, method, rows=own))
        found = run(either, batch.tokens, batch.mask)
    real = torch.tensor(batch.real)
    torch.testing.assert_close(found[real], expected[real], **ROUNDING)
    assert torch.equal(found[1][real[1]], plain[1][real[1]])


def test_a_method_is_made_ready_for_its_own_rows(either: Any) -> None:
    batch = padded(either, rows_of(either), "left")
    method, own = Prepared(), torch.tensor([True, False, True, False])
    with ls.steered(either, method, rows=own):
        run(either, batch.tokens, batch.mask)
    ((tokens, mask, _),) = method.calls
    assert torch.equal(tokens, batch.tokens[own])
    assert torch.equal(mask, torch.tensor(batch.real)[own])
    with ls.steered(either, method, rows=[False] * 4):
        run(either, batch.tokens, batch.mask)
    assert len(method.calls) == 1


def test_rows_of_another_batch_are_refused_when_the_forward_begins(either: Any) -> None:
    tokens = padded(either, rows_of(either), "none").tokens
    with (
        ls.steered(either, push(either), rows=[True, False]),
        pytest.raises(ValueError, match="2 rows for a batch of 4"),
    ):
        run(either, tokens, None)


def test_a_mask_that_does_not_say_what_is_padding_is_refused_while_steering(llama: Any) -> None:
    tokens = padded(llama, rows_of(llama), "none").tokens
    causal = torch.ones(4, 1, tokens.shape[1], tokens.shape[1]).tril()
    with ls.steered(llama, push(llama)), pytest.raises(ValueError, match="attention_mask"):
        llama(tokens, attention_mask=causal, use_cache=False)


def test_a_generate_that_the_user_put_on_the_model_comes_back(llama: Any) -> None:
    def users(*args: Any, **kwargs: Any) -> str:
        return "the user's"

    vars(llama)["generate"] = users
    try:
        with ls.steered(llama, push(llama)), ls.steered(llama, push(llama)):
            assert llama.generate() == "the user's"
        assert vars(llama)["generate"] is users
    finally:
        del vars(llama)["generate"]


# ---- made ready for each prompt ----


@pytest.mark.parametrize("side", PADDINGS)
def test_prepare_sees_the_prompt_on_the_clean_model_once_and_not_at_later_steps(
    model: Any, side: str
) -> None:
    batch, more, ones = prompt_and_more(model, side)
    real = torch.tensor(batch.real)
    final = Site(model.cfg.n_layers - 1)
    clean = watched(model, final, lambda: run(model, batch.tokens, batch.mask))[real].mean(dim=0)
    method = Prepared()
    with torch.no_grad(), ls.steered(model, push(model, layer=0), method, scope="all", sink=True):
        cached = Cached(model, len(batch.real), masked=batch.mask is not None)
        cached(batch.tokens, batch.mask)
        for tokens, mask in zip(more, ones, strict=True):
            cached(tokens, mask)
    ((tokens, mask, mean),) = method.calls
    assert torch.equal(tokens, batch.tokens)
    assert torch.equal(mask, real)
    torch.testing.assert_close(mean, clean, **ROUNDING)


def test_what_was_made_ready_is_used_at_the_prompt_and_at_later_steps(either: Any) -> None:
    batch = padded(either, rows_of(either), "none")
    final = Site(either.cfg.n_layers - 1)
    mean = watched(either, final, lambda: run(either, batch.tokens, None)).flatten(0, 1).mean(dim=0)
    by_hand = Additive((SITE,), (mean,))
    found = []
    for method in (Prepared(), by_hand):
        with torch.no_grad(), ls.steered(either, method, scope="all", sink=True):
            cached = Cached(either, len(batch.real), masked=False)
            found.append([cached(batch.tokens), cached(batch.tokens[:, :1])])
    for ours, theirs in zip(*found, strict=True):
        torch.testing.assert_close(ours, theirs, **ROUNDING)


def test_prepare_sees_only_the_prompt_where_the_forward_holds_more(either: Any) -> None:
    batch = padded(either, rows_of(either), "left")
    method = Prepared()
    with ls.steered(either, method, prompt_lengths=[n - 2 for n in batch.lengths]):
        run(either, batch.tokens, batch.mask)
    ((_, mask, _),) = method.calls
    assert mask.sum(dim=1).tolist() == [n - 2 for n in batch.lengths]
    assert not bool((mask & ~torch.tensor(batch.real)).any())


def test_every_prompt_forward_of_a_block_is_prepared_afresh_and_strength_zero_never(
    either: Any,
) -> None:
    first, second = ([row] for row in rows_of(either, PROMPTS[:2]))
    method, off = Prepared(), Prepared(strength=0.0)
    with ls.steered(either, method, off):
        run(either, torch.tensor(first), None)
        run(either, torch.tensor(second), None)
    assert [tokens.tolist() for tokens, _, _ in method.calls] == [first, second]
    assert off.calls == []


def test_in_nested_blocks_both_methods_are_made_ready_on_the_clean_model(either: Any) -> None:
    """Whatever block a method is in, `prepare` runs the clean model on the prompt."""
    tokens = padded(either, rows_of(either), "none").tokens
    final = Site(either.cfg.n_layers - 1)
    clean = watched(either, final, lambda: run(either, tokens, None)).flatten(0, 1).mean(dim=0)
    outer, inner = Prepared(), Prepared()
    with (
        ls.steered(either, push(either, layer=0), outer, scope="all", sink=True),
        ls.steered(either, push(either, layer=2), inner, scope="all", sink=True),
    ):
        run(either, tokens, None)
    assert [len(outer.calls), len(inner.calls)] == [1, 1]
    for calls in (outer.calls, inner.calls):
        torch.testing.assert_close(calls[0][2], clean, **ROUNDING)


def test_a_clean_pass_of_another_shape_does_not_move_the_positions_of_an_outer_block(
    either: Any,
) -> None:
    """A method may run the clean model on one row, or a part of it, to make itself ready."""
    batch = padded(either, rows_of(either), "left")
    clean = watched(either, SITE, lambda: run(either, batch.tokens, batch.mask))
    recorder, one_row = Recorder(), Ready(make=lambda tokens: run(either, tokens[:1, :2], None))
    with ls.steered(either, recorder, scope="last"), ls.steered(either, one_row):
        run(either, batch.tokens, batch.mask)
    assert torch.equal(recorder.seen[-1], clean[:, -1])


def test_a_method_may_find_that_a_prompt_needs_no_steering(either: Any) -> None:
    tokens = padded(either, rows_of(either), "none").tokens
    clean = run(either, tokens, None)
    with ls.steered(either, Ready(make=lambda _: None, then=0.0)):
        assert torch.equal(run(either, tokens, None), clean)


def test_embeddings_instead_of_tokens_are_steered_too(llama: Any) -> None:
    assert is_bridge(llama)
    tokens, method = padded(llama, rows_of(llama), "none").tokens, push(llama)
    embedded = llama.original_model.get_input_embeddings()(tokens).detach()
    with torch.no_grad(), ls.steered(llama, method):
        by_tokens = llama.original_model(input_ids=tokens).logits
        by_embeddings = llama.original_model(inputs_embeds=embedded).logits
    torch.testing.assert_close(by_embeddings, by_tokens, **ROUNDING)


def test_what_needs_the_clean_model_is_refused_where_a_block_steers(gpt2: Any, llama: Any) -> None:
    check_unsteered(gpt2, "look at it")
    with ls.steered(gpt2, push(gpt2)):
        with pytest.raises(ValueError, match="being steered: look at it outside the block"):
            check_unsteered(gpt2, "look at it")
        check_unsteered(llama, "look at it")  # another model
        with unsteered(gpt2):
            check_unsteered(gpt2, "look at it")  # it runs clean here
    check_unsteered(gpt2, "look at it")
