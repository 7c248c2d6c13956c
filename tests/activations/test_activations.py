import warnings
from collections.abc import Callable
from threading import Thread
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional

from lens_steer.activations import (
    Activations,
    ContrastStats,
    LabelTokenWarning,
    LayerActivations,
    capture,
    last_token_separability,
    show_read_positions,
    span,
)
from lens_steer.activations.reading import batches_by_prompt, read_rows
from lens_steer.data import ContrastivePairs, Example
from lens_steer.models import Encoded, Message, attach, bos_id, encode
from lens_steer.sites import Kind, Site, sites_of
from lens_steer.steering import Additive, steered
from tests.conftest import ARCHITECTURES, BACKENDS, CONTEXT, HAS_HOOKED, LAYERS, Loader
from tests.reference import separability

# Of the largest activation: a padded batch sums in another order than a row by itself.
ORDER = 1e-5
# bfloat16 keeps 8 bits: relative to the largest activation, a few layers deep.
BFLOAT16 = 0.05

KINDS = ("resid", "head", "neuron", "gate", "mlp_out", "attn_out")
NAMES = {
    "resid": "blocks.{}.hook_resid_post",
    "head": "blocks.{}.attn.hook_z",
    "neuron": "blocks.{}.mlp.hook_post",
    "gate": "blocks.{}.mlp.hook_pre",
    "mlp_out": "blocks.{}.hook_mlp_out",
    "attn_out": "blocks.{}.hook_attn_out",
}
POSITIONS = ("last", "mean", "prompt_last", 0, 2, -1, -2)


def gelu_tanh(x: Tensor) -> Tensor:
    return functional.gelu(x, approximate="tanh")


GATES: dict[str, Callable[[Tensor], Tensor]] = {
    "gpt2": gelu_tanh,
    "neox": functional.gelu,
    "gemma2": gelu_tanh,
    "gemma3": gelu_tanh,
    **dict.fromkeys(("llama", "qwen2", "qwen3"), functional.silu),
}


def alone(model: Any, architecture: str, example: Example, read: Any) -> dict[str, Tensor]:
    """What each kind should be: one row, unpadded, through TransformerLens' own cache."""
    prompt, continuation = str(example.prompt), example.continuation
    tokens = model.to_tokens(prompt + continuation)
    start = model.to_tokens(prompt).shape[1]
    positions = {
        "last": slice(-1, None),
        "mean": slice(start, None),
        "prompt_last": slice(start - 1, start),
    }
    if isinstance(read, int):
        index = range(tokens.shape[1])[read]
        where = slice(index, index + 1)
    else:
        where = positions[read]
    with torch.no_grad():
        _, cache = model.run_with_cache(tokens)

    def at(name: str) -> Tensor:
        return torch.stack([cache[name.format(layer)][0] for layer in range(LAYERS)])

    found = {kind: at(name) for kind, name in NAMES.items()}
    found["gate"] = GATES[architecture](found["gate"])
    found["embedded"] = cache["blocks.0.hook_resid_pre"]
    return {kind: x[:, where].double().mean(dim=1).float() for kind, x in found.items()}


def sides_of(pairs: ContrastivePairs, n: int) -> tuple[tuple[Example, ...], tuple[Example, ...]]:
    """The first pairs only: three of them are three lengths, one beyond Gemma's window."""
    return pairs.desired[:n], pairs.undesired[:n]


def close(ours: Tensor, theirs: Tensor) -> None:
    torch.testing.assert_close(ours, theirs, atol=ORDER * theirs.abs().max().item(), rtol=0)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("architecture", ARCHITECTURES)
@pytest.mark.parametrize("read", ["last", "mean"])
def test_capture_is_what_each_row_has_by_itself(
    architecture: str, backend: str, read: Any, load: Loader, pairs: ContrastivePairs
) -> None:
    model, pairs = load(architecture, backend), ContrastivePairs(*sides_of(pairs, 3))
    sides = [
        [alone(model, architecture, example, read) for example in side]
        for side in (pairs.desired, pairs.undesired)
    ]
    for kind in KINDS:
        found = capture(model, pairs, kind, read=read, token_budget=100, progress=False)
        close(found.desired, torch.stack([x[kind] for x in sides[0]]))
        close(found.undesired, torch.stack([x[kind] for x in sides[1]]))
        if kind == "resid":
            assert found.embedded_desired is not None
            assert found.embedded_undesired is not None
            close(found.embedded_desired, torch.cat([x["embedded"] for x in sides[0]]))
            close(found.embedded_undesired, torch.cat([x["embedded"] for x in sides[1]]))
        else:
            assert found.embedded_desired is found.embedded_undesired is None


def rows_of(model: Any, *examples: tuple[str, str]) -> list[Encoded]:
    return [encode(model, prompt, continuation) for prompt, continuation in examples]


def read_both_ways(
    model: Any, rows: list[Encoded], sites: list[Site], read: Any, budget: int = 2048
) -> tuple[Tensor, Tensor]:
    """The rows with their prompts run once, and each row by itself: no prompt to share."""
    together = read_rows(model, rows, sites, read, token_budget=budget)
    return together, torch.cat([read_rows(model, [row], sites, read) for row in rows])


RAGGED = (
    ("The cat sat in the sun", " and."),
    ("A dog was here, and the very old cat", " ran."),
    ("The cat sat in the sun", " or slept."),
    ("alone", " is this one"),
    ("A dog was here, and the very old cat", "!"),
    ("The cat sat in the sun", " then went."),
)
EVEN = tuple((prompt, end) for prompt in ("0123456789", "abcdefghij") for end in ("+.", "-."))


# Rows of one length need no mask: wherever they are read.
@pytest.mark.parametrize(
    ("read", "examples"),
    [("last", RAGGED), ("mean", RAGGED), ("last", EVEN)],
    ids=["last-ragged", "mean-ragged", "last-even"],
)
def test_prompts_run_once_give_what_each_row_has_by_itself(
    model: Any, read: Any, examples: Any
) -> None:
    rows = rows_of(model, *examples)
    assert len({len(row.ids) for row in rows}) == 1 or examples is RAGGED
    assert len(sum(batches_by_prompt(rows, 2048), [])) >= 4
    for kind in KINDS:
        close(*read_both_ways(model, rows, sites_of(model, kind, None), read))


@pytest.mark.parametrize("sites", [[Site(0)], [Site(2), Site(0)], [Site(0, Kind.RESID_PRE)]])
def test_prompts_run_once_are_run_as_far_as_the_last_site(model: Any, sites: list[Site]) -> None:
    close(*read_both_ways(model, rows_of(model, *RAGGED), sites, "last"))


def test_a_long_prompt_beside_a_long_continuation_stays_in_the_context(model: Any) -> None:
    long, short = "0123456789" * 12, "9876543210" * 3
    ends = [(short, "abc" * n) for n in (28, 29, 30)]
    rows = rows_of(model, *ends, (long, " x"), (long, "y!"))
    assert len(batches_by_prompt(rows, 2048)) == 1
    close(*read_both_ways(model, rows, sites_of(model, "resid", None), "mean"))


@pytest.mark.parametrize("budget", [1, 60, 100, 200])
def test_prompts_run_once_do_not_depend_on_the_budget(llama: Any, budget: int) -> None:
    rows = rows_of(llama, *RAGGED)
    close(*read_both_ways(llama, rows, sites_of(llama, "head", None), "mean", budget))


lengths = st.lists(st.integers(1, 9), min_size=1, max_size=6)


@given(
    groups=st.lists(st.tuples(st.integers(0, 20), lengths), max_size=6), budget=st.integers(1, 200)
)
def test_shared_batches_fit_the_budget_and_save_tokens(
    groups: list[tuple[int, list[int]]], budget: int
) -> None:
    rows = [
        Encoded(tuple([k] * prompt + [9] * end), prompt)
        for k, (prompt, ends) in enumerate(groups)
        for end in ends
    ]
    batches = batches_by_prompt(rows, budget)
    chosen = [i for batch in batches for i in batch]
    assert len(set(chosen)) == len(chosen)
    for batch in batches:
        prompts = {rows[i].ids[: rows[i].prompt_length] for i in batch}
        width = max(rows[i].prompt_length for i in batch)
        ends = max(len(rows[i].ids) - rows[i].prompt_length for i in batch)
        assert () not in prompts
        assert len(prompts) < len(batch)
        assert len(batch) * (width + ends) <= budget


def test_no_prompt_is_shared_where_none_is_worth_it() -> None:
    different = [Encoded((i, 1, 2), 2) for i in range(4)]
    without = [Encoded((1, 2, 3), 0)] * 4
    only_a_start = [Encoded((0, *range(20)), 1)] * 4
    for rows in (different, without, only_a_start):
        assert batches_by_prompt(rows, 2048) == []


def sixty_four(model: Any, n: int) -> ContrastivePairs:
    """Pairs of different prompts of 64 tokens; answers are two."""
    length = 64 - (bos_id(model) is not None)
    prompts = [(f"{i:02}" * 32)[:length] for i in range(n)]
    pairs = ContrastivePairs.of([(prompt, "+.", "-.") for prompt in prompts])
    for example in (*pairs.desired, *pairs.undesired):
        row = encode(model, example.prompt, example.continuation)
        assert (row.prompt_length, len(row.ids)) == (64, 66)
    return pairs


def test_a_pairs_prompt_goes_through_the_model_once(model: Any) -> None:
    pairs, entered = sixty_four(model, 20), []

    def enter(x: Tensor, hook: Any) -> None:
        entered.append(x.shape[0] * x.shape[1])

    with model.hooks(fwd_hooks=[("blocks.0.hook_resid_pre", enter)]):
        for read in (capture, ContrastStats.fit):
            entered.clear()
            read(model, pairs, "head", progress=False)
            assert 1.8 * sum(entered) <= len(pairs) * 2 * 66


def test_progress_counts_every_example_once(llama: Any) -> None:
    counts: list[int] = []
    rows = rows_of(llama, *RAGGED)
    values = read_rows(llama, rows, [Site(1)], "last", advance=counts.append)
    assert len(values) == len(rows)
    assert (sum(counts), len(counts)) == (len(RAGGED), 2)


@pytest.mark.parametrize("read", ["prompt_last", 2, -1])
def test_other_positions_read_whole_rows(
    llama: Any, read: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr("lens_steer.activations.reading.Decoder")
    read_rows(llama, rows_of(llama, *RAGGED), [Site(1)], read)


def test_a_steered_model_reads_whole_rows(llama: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    rows, push = rows_of(llama, *RAGGED), Additive((Site(1),), (torch.ones(32),))
    with steered(llama, push):
        monkeypatch.delattr("lens_steer.activations.reading.Decoder")
        close(*read_both_ways(llama, rows, [Site(2)], "last"))


@pytest.mark.parametrize("read", POSITIONS)
@pytest.mark.parametrize("architecture", ["llama", "qwen2"])
def test_capture_reads_the_position_it_is_asked_for(
    architecture: str, read: Any, load: Loader, pairs: ContrastivePairs
) -> None:
    model = load(architecture)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", LabelTokenWarning)
        found = capture(model, pairs, "resid", read=read, progress=False)
    expected = [alone(model, architecture, example, read)["resid"] for example in pairs.desired]
    close(found.desired, torch.stack(expected))


@pytest.mark.skipif(not HAS_HOOKED, reason="TransformerLens 4 has no HookedTransformer")
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_capture_is_the_same_on_both_backends(
    architecture: str, load: Loader, pairs: ContrastivePairs
) -> None:
    for kind in KINDS:
        one, other = (capture(load(architecture, b), pairs, kind, progress=False) for b in BACKENDS)
        close(one.desired, other.desired)
        close(one.undesired, other.undesired)


def test_gate_is_the_neuron_where_the_mlp_has_no_gate(
    load: Loader, pairs: ContrastivePairs
) -> None:
    for architecture in ("gpt2", "neox"):
        gate, neuron = (
            capture(load(architecture), pairs, kind, progress=False) for kind in ("gate", "neuron")
        )
        close(gate.desired, neuron.desired)


@pytest.mark.parametrize(("theirs", "ours"), [("resid_post", "resid"), ("z", "head")])
def test_capture_accepts_transformer_lens_names(
    llama: Any, pairs: ContrastivePairs, theirs: str, ours: str
) -> None:
    one, other = (capture(llama, pairs, kind, progress=False) for kind in (theirs, ours))
    assert one.kind is other.kind is Kind(ours)
    assert torch.equal(one.desired, other.desired)


def test_capture_does_not_depend_on_the_token_budget(model: Any, pairs: ContrastivePairs) -> None:
    whole = capture(model, pairs, "resid", read="mean", progress=False)
    for budget in (1, 90):
        parts = capture(model, pairs, "resid", read="mean", token_budget=budget, progress=False)
        close(parts.desired, whole.desired)
        close(parts.undesired, whole.undesired)


def test_capture_reads_the_layers_it_is_asked_for_in_their_order(
    llama: Any, pairs: ContrastivePairs
) -> None:
    everything = capture(llama, pairs, "resid", progress=False)
    some = capture(llama, pairs, "resid", layers=[2, 0], progress=False)
    assert some.layers == (2, 0)
    close(some.desired, everything.desired[:, [2, 0]])
    assert some.embedded_desired is not None
    assert everything.embedded_desired is not None
    close(some.embedded_desired, everything.embedded_desired)


def test_capture_takes_unpaired_sides_of_different_size(llama: Any) -> None:
    pairs = ContrastivePairs.unpaired(["The sun.", "A cat."], ["A dog was sad.", "No.", "Hm."])
    found = capture(llama, pairs, "neuron", progress=False)
    assert (len(found.desired), len(found.undesired), found.paired) == (2, 3, False)
    expected = alone(llama, "llama", Example("", "A dog was sad."), "last")["neuron"]
    close(found.undesired[0], expected)


def test_capture_reads_chats_through_the_template(fresh_model: Loader) -> None:
    model = fresh_model("llama")
    model.tokenizer.chat_template = "{% for m in messages %}[{{ m['content'] }}]{% endfor %}"
    chat = (Message("user", "The cat?"),)
    pairs = ContrastivePairs.of([(chat, " was sad.", " was glad.")])
    plain = ContrastivePairs.of([("[The cat?]", " was sad.", " was glad.")])
    one, other = (capture(model, p, "resid", progress=False) for p in (pairs, plain))
    assert torch.equal(one.desired, other.desired)


def test_capture_leaves_the_rest_of_the_forward_out(model: Any, pairs: ContrastivePairs) -> None:
    seen: list[str] = []

    def reached(name: str) -> Any:
        return lambda x, hook: seen.append(name)  # noqa: ARG005

    watch = ["unembed.hook_out", "ln_final.hook_normalized", "blocks.2.hook_resid_pre"]
    with model.hooks(fwd_hooks=[(name, reached(name)) for name in watch]):
        capture(model, pairs, "resid", progress=False)
        assert set(seen) == {"blocks.2.hook_resid_pre"}
        seen.clear()
        capture(model, pairs, "head", layers=[1], progress=False)
        assert not seen


def test_capture_changes_nothing_about_the_model(
    fresh_model: Loader, pairs: ContrastivePairs
) -> None:
    tokens = torch.arange(5, 25)[None]
    for backend in BACKENDS:
        model = fresh_model("gpt2", backend)
        with torch.no_grad():
            logits = model(tokens)
        weights = {name: p.detach().clone() for name, p in model.named_parameters()}
        needs = {name: p.requires_grad for name, p in model.named_parameters()}
        side, random, grad = (
            model.tokenizer.padding_side,
            torch.get_rng_state(),
            torch.is_grad_enabled(),
        )
        for kind in KINDS:
            capture(model, pairs, kind, read="mean", progress=False)
        assert torch.equal(random, torch.get_rng_state())
        assert (model.tokenizer.padding_side, torch.is_grad_enabled()) == (side, grad)
        assert {name: p.requires_grad for name, p in model.named_parameters()} == needs
        assert all(torch.equal(p, weights[name]) for name, p in model.named_parameters())
        assert all(p.grad is None for p in model.parameters())
        assert not any(point.fwd_hooks for point in model.hook_dict.values())
        with torch.no_grad():
            assert torch.equal(logits, model(tokens))


def test_capture_leaves_no_hooks_after_it_failed_midway(
    model: Any, pairs: ContrastivePairs
) -> None:
    tokens = torch.arange(5, 25)[None]
    with torch.no_grad():
        before = model(tokens)

    calls: list[int] = []

    def fail_in_the_second_batch(x: Tensor, hook: Any) -> None:
        calls.append(len(x))
        if len(calls) == 2:
            raise ArithmeticError("midway")

    with (
        model.hooks(fwd_hooks=[("blocks.2.hook_attn_out", fail_in_the_second_batch)]),
        pytest.raises(ArithmeticError, match="midway"),
    ):
        capture(model, pairs, "resid", token_budget=60, progress=False)
    assert len(calls) == 2
    assert not any(point.fwd_hooks for point in model.hook_dict.values())
    with torch.no_grad():
        assert torch.equal(before, model(tokens))
    capture(model, pairs, "resid", progress=False)  # nor is the lock still held


def test_capture_sees_what_the_users_own_hooks_make(llama: Any, pairs: ContrastivePairs) -> None:
    plain = capture(llama, pairs, "resid", progress=False)
    double = [("blocks.1.hook_resid_post", lambda x, hook: x * 2)]  # noqa: ARG005
    with llama.hooks(fwd_hooks=double):
        changed = capture(llama, pairs, "resid", progress=False)
    close(changed.desired[:, 0], plain.desired[:, 0])
    close(changed.desired[:, 1], plain.desired[:, 1] * 2)
    assert not torch.allclose(changed.desired[:, 2], plain.desired[:, 2])


def test_capture_from_several_threads_does_not_mix_rows_up(llama: Any) -> None:
    texts = [["The cat.", "A dog."], ["The sun was.", "Hm."], ["x y z.", "Yes."], ["q.", "a b c."]]
    sets = [ContrastivePairs.unpaired([one], [other]) for one, other in texts]
    expected = [capture(llama, pairs, "resid", progress=False).desired for pairs in sets]
    found: dict[int, list[Tensor]] = {i: [] for i in range(len(sets))}

    def work(i: int) -> None:
        found[i] = [capture(llama, sets[i], "resid", progress=False).desired for _ in range(4)]

    threads = [Thread(target=work, args=(i,)) for i in range(len(sets))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for i, want in enumerate(expected):
        assert len(found[i]) == 4
        assert all(torch.equal(x, want) for x in found[i])


@pytest.mark.parametrize("read", ["last", "mean"])
def test_capture_of_a_bfloat16_model_is_float32_and_close(
    read: Any, fresh_model: Loader, load: Loader, pairs: ContrastivePairs
) -> None:
    for backend in BACKENDS:
        half = fresh_model("llama", backend, dtype=torch.bfloat16)
        for kind in KINDS:
            found = capture(half, pairs, kind, read=read, progress=False)
            exact = capture(load("llama", backend), pairs, kind, read=read, progress=False)
            assert found.desired.dtype == found.undesired.dtype == torch.float32
            error = (found.desired - exact.desired).abs().max() / exact.desired.abs().max()
            assert 0 < error < BFLOAT16


def test_capture_is_float32_whatever_the_default_dtype(llama: Any, pairs: ContrastivePairs) -> None:
    for read in ("last", "mean"):
        expected = capture(llama, pairs, "resid", read=read, progress=False)
        torch.set_default_dtype(torch.float64)
        try:
            found = capture(llama, pairs, "resid", read=read, progress=False)
        finally:
            torch.set_default_dtype(torch.float32)
        assert found.desired.dtype == torch.float32
        close(found.desired, expected.desired)


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"kind": "resid_mid"}, "unknown kind 'resid_mid'"),
        ({"layers": []}, "expected a list of layers"),
        ({"layers": [4]}, "layer 4: this model has 4, 0 to 3"),
        ({"layers": [-1]}, "expected a list of layers"),
        ({"read": 500}, "read position 500: an example has only"),
        ({"read": -500}, "read position -500: an example has only"),
    ],
)
def test_capture_says_what_does_not_exist(
    llama: Any, pairs: ContrastivePairs, options: dict[str, Any], reason: str
) -> None:
    with pytest.raises(ValueError, match=reason):
        capture(llama, pairs, **{"kind": "resid", "progress": False, **options})


@pytest.mark.usefixtures("untyped")
@pytest.mark.parametrize("read", ["first", "", None, 1.0])
def test_capture_refuses_an_unknown_position(
    llama: Any, pairs: ContrastivePairs, read: Any
) -> None:
    with pytest.raises(ValueError, match="'last', 'mean', 'prompt_last' or a whole number"):
        capture(llama, pairs, "resid", read=read, progress=False)


def test_capture_cannot_read_the_end_of_a_prompt_that_is_not_there(load: Loader) -> None:
    pairs = ContrastivePairs.unpaired(["The cat."], ["A dog."])
    with pytest.raises(ValueError, match="an example has no prompt; use 'last' or 'mean'"):
        capture(load("qwen2"), pairs, "resid", read="prompt_last", progress=False)
    found = capture(load("llama"), pairs, "resid", read="prompt_last", progress=False)
    close(found.desired, found.undesired)  # the BOS is the prompt


def test_capture_refuses_a_row_longer_than_the_context(llama: Any) -> None:
    pairs = ContrastivePairs.of([("x" * CONTEXT, " a.", " b.")])
    with pytest.raises(ValueError, match=f"the model's context holds {CONTEXT}"):
        capture(llama, pairs, "resid", progress=False)


def test_capture_refuses_a_model_whose_activations_overflow(
    llama: Any, pairs: ContrastivePairs
) -> None:
    overflow = [("blocks.3.hook_resid_post", lambda x, hook: x * torch.inf)]  # noqa: ARG005
    with llama.hooks(fwd_hooks=overflow), pytest.raises(ValueError, match="are not finite"):
        capture(llama, pairs, "resid", progress=False)


def labelled(end_desired: str, end_undesired: str) -> ContrastivePairs:
    return ContrastivePairs.of(
        [("The cat", f" {i}{end_desired}", f" {i}{end_undesired}") for i in range(4)]
    )


def test_capture_warns_where_the_token_tells_the_label(llama: Any) -> None:
    with pytest.warns(LabelTokenWarning, match="in 100% of the examples.*same token.*read='mean'"):
        capture(llama, labelled("A", "B"), "resid", progress=False)


@pytest.mark.parametrize(
    ("ends", "read"),
    [(("A.", "B."), "last"), (("A", "B"), "mean"), (("A", "B"), "prompt_last"), (("A", "B"), 0)],
)
def test_capture_does_not_warn_where_it_does_not(llama: Any, ends: Any, read: Any) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        capture(llama, labelled(*ends), "resid", read=read, progress=False)


def test_capture_warns_by_the_position_that_is_read(llama: Any) -> None:
    with pytest.warns(LabelTokenWarning):
        capture(llama, labelled("A.", "B."), "resid", read=-2, progress=False)


tokens = st.lists(st.integers(0, 4), min_size=1, max_size=12)


@given(desired=tokens, undesired=tokens)
def test_separability_is_the_leave_one_out_vote(desired: list[int], undesired: list[int]) -> None:
    expected = separability(desired, undesired)
    assert last_token_separability(desired, undesired) == pytest.approx(float(expected))


def test_separability_is_one_for_labels_and_at_most_half_for_one_token() -> None:
    assert last_token_separability([1, 1, 1], [2, 2, 2]) == 1.0
    assert last_token_separability([1, 1, 1], [1, 1, 1]) <= 0.5
    assert last_token_separability([1, 2, 3], [4, 5, 6]) == 0.5
    assert last_token_separability([1], [2]) == 0.5


def test_separability_counts_a_tie_of_unequal_classes_as_a_tie() -> None:
    # 49 of 98 against 1 of 2: the weights 2 / 98 and 49 do not multiply to 1 in floating point.
    desired, undesired = [1, 2], [1] * 50 + [2] * 48
    assert last_token_separability(desired, undesired) == pytest.approx(
        float(separability(desired, undesired))
    )


@given(n=st.integers(1, 9), prompt=st.integers(0, 8), position=st.integers(-12, 12))
def test_span_of_a_number_is_that_position(n: int, prompt: int, position: int) -> None:
    row = Encoded(tuple(range(n)), min(prompt, n - 1))
    if -n <= position < n:
        assert list(span(row, position)) == [row.ids[position]]
    else:
        with pytest.raises(ValueError, match=f"read position {position}: an example has only {n}"):
            span(row, position)


def test_span_names_the_ends_of_prompt_and_continuation() -> None:
    row = Encoded((5, 6, 7, 8, 9), 2)
    assert list(span(row, "last")) == [4]
    assert list(span(row, "prompt_last")) == [1]
    assert list(span(row, "mean")) == [2, 3, 4]


def test_activations_know_their_shape_source_and_direction(
    llama: Any, pairs: ContrastivePairs
) -> None:
    found = capture(llama, pairs, "head", read="mean", progress=False)
    assert found.desired.shape == (len(pairs), LAYERS, 4, 8)
    assert found.layers == (0, 1, 2, 3)
    assert found.paired
    assert found.provenance is not None
    assert found.provenance.fingerprint == attach(llama).fingerprint
    assert (found.provenance.data, found.provenance.read) == ("tiny", "mean")
    assert set(found.provenance.versions) >= {"lens-steer", "torch", "transformer-lens"}
    torch.testing.assert_close(
        found.direction, (found.desired - found.undesired).mean(dim=0), atol=1e-6, rtol=1e-5
    )
    assert "head" in repr(found)
    assert f"layers 0-{len(found.layers) - 1}, " in repr(found)
    assert "tensor" not in repr(found)


def test_provenance_refuses_another_model(
    llama: Any, gpt2: Any, pairs: ContrastivePairs, fresh_model: Loader
) -> None:
    source = capture(llama, pairs, "resid", progress=False).provenance
    assert source is not None
    source.check(llama)
    with pytest.raises(ValueError, match="made on another model .*architecture"):
        source.check(gpt2)
    folded = fresh_model("llama")
    folded.enable_compatibility_mode()
    with pytest.raises(ValueError, match="processed False against True"):
        source.check(folded)


def test_at_gives_one_layer_by_its_block_index(llama: Any, pairs: ContrastivePairs) -> None:
    found = capture(llama, pairs, "resid", layers=[1, 3], progress=False)
    one = found.at(layer=3)
    assert torch.equal(one.desired, found.desired[:, 1])
    assert torch.equal(one.direction, found.direction[1])
    assert (one.layer, one.kind, one.provenance) == (3, Kind.RESID, found.provenance)
    assert torch.equal(found[3].desired, one.desired)
    for missing in (2, -1, 4):
        expected = rf"layer {missing} was not captured: expected one of|got layer={missing}"
        with pytest.raises(ValueError, match=expected):
            found.at(layer=missing)
        with pytest.raises(ValueError, match=expected):
            found[missing]
    with pytest.raises(TypeError, match="not iterable"):
        list(found)  # type: ignore[call-overload]


def test_one_layer_of_activations_is_named_by_layer(llama: Any, pairs: ContrastivePairs) -> None:
    found = capture(llama, pairs, "resid", layers=[1, 3], progress=False)
    one = LayerActivations.of(found, layer=3)
    assert (one.layer, torch.equal(one.desired, found[3].desired)) == (3, True)
    assert LayerActivations.of(one) is LayerActivations.of(one, layer=3) is one
    with pytest.raises(
        ValueError, match=r"expected one layer; write activations\[layer\], or pass"
    ):
        LayerActivations.of(found)
    with pytest.raises(ValueError, match=r"layer 2 was not captured: expected one of \[1, 3\]"):
        LayerActivations.of(found, layer=2)
    with pytest.raises(ValueError, match="got layer=1 and the activations of layer 3"):
        LayerActivations.of(one, layer=1)


def test_capture_takes_rows_as_pairs_do(llama: Any) -> None:
    rows = [("The cat", " sat.", " ran."), ("A dog", " ran.", " sat.")]
    pairs = ContrastivePairs.of(rows)
    found = capture(llama, rows, "resid", progress=False)
    expected = capture(llama, pairs, "resid", progress=False)
    assert torch.equal(found.desired, expected.desired)
    assert torch.equal(found.undesired, expected.undesired)
    stats = ContrastStats.fit(llama, rows, "resid", progress=False)
    assert torch.equal(stats.direction, ContrastStats.fit(llama, pairs, "resid").direction)
    with pytest.raises(ValueError, match=r"row 0: got 'The cat', expected \(prompt, desired"):
        capture(llama, ["The cat"], progress=False)


def test_read_positions_are_shown_of_examples_pairs_and_rows(llama: Any) -> None:
    rows = [("The cat", " sat.", " ran!")]
    pairs = ContrastivePairs.of(rows)
    found = show_read_positions(llama, pairs)
    assert found == show_read_positions(llama, rows)
    assert found == show_read_positions(llama, [*pairs.desired, *pairs.undesired])
    assert [str(each)[-3:] for each in found] == ["[.]", "[!]"]
    with pytest.raises(ValueError, match="got examples='The cat', expected"):
        show_read_positions(llama, "The cat")


def test_layer_activations_are_made_from_tensors_of_any_float_dtype() -> None:
    x = torch.randn(5, 3, dtype=torch.float64, requires_grad=True)
    kind: str = "z"
    found = LayerActivations.from_tensors(x, x[:2].detach().half(), layer=2, kind="resid")
    assert found.desired.dtype == found.undesired.dtype == torch.float32
    assert not found.desired.requires_grad
    assert (found.layer, found.kind, found.provenance) == (2, Kind.RESID, None)
    heads = LayerActivations.from_tensors(torch.ones(2, 4, 8), torch.zeros(1, 4, 8), kind=kind)
    assert heads.kind is Kind.HEAD
    assert torch.equal(heads.direction, torch.ones(4, 8))


def test_centred_length_is_the_spread_within_the_classes_whatever_they_share() -> None:
    draw = torch.Generator().manual_seed(0)
    up, down = torch.randn(2, 4000, 6, generator=draw) * torch.tensor([3, 2, 1, 0, 0, 0])
    common = torch.tensor([0, 0, 0, 0, 25000.0, 0])
    found = LayerActivations.from_tensors(up + common + 7, down + common, layer=1)
    assert found.centred_length == pytest.approx(14**0.5, rel=0.02)
    assert found.median_length > 24000
    with pytest.raises(ValueError, match="layer 1 do not vary within the classes"):
        _ = LayerActivations.from_tensors(up[:1], down[:1], layer=1).centred_length


def test_relative_length_is_the_directions_share_of_an_undesired_activation() -> None:
    undesired = torch.tensor([[3.0, 4.0], [0.0, 1.0], [6.0, 8.0]])  # 5, 1 and 10 long
    found = LayerActivations.from_tensors(undesired + torch.tensor([0.0, 2.0]), undesired)
    assert found.relative_length == pytest.approx(2 / 5)
    heads = LayerActivations.from_tensors(torch.ones(1, 4, 9), torch.full((1, 4, 9), 2.0))
    assert heads.relative_length == pytest.approx(6 / 12)


@pytest.mark.parametrize("bad", [torch.nan, torch.inf])
def test_activations_refuse_what_is_not_finite_or_not_there(bad: float) -> None:
    x = torch.ones(2, 3)
    with pytest.raises(ValueError, match="the undesired activations are not finite"):
        LayerActivations.from_tensors(x, x * bad)
    with pytest.raises(ValueError, match="no desired activations"):
        LayerActivations.from_tensors(x[:0], x)
    with pytest.raises(ValueError, match="no undesired activations"):
        Activations(x[:, None], x[:0, None], Kind.RESID, (0,))


def test_activations_refuse_another_number_of_layers() -> None:
    x = torch.ones(2, 3, 4)
    with pytest.raises(ValueError, match=r"got 3 layers of activations for layers \(0, 1\)"):
        Activations(x, x, Kind.RESID, (0, 1))


def test_capture_reads_the_token_that_encode_says_is_last(stories: Any) -> None:
    prompt, continuation = "Once upon a time,", " Lily was very"
    row = encode(stories, prompt, continuation)
    pairs = ContrastivePairs.of([(prompt, continuation, " Tom was very")])
    found = capture(stories, pairs, "resid", progress=False)
    with torch.no_grad():
        _, cache = stories.run_with_cache(torch.tensor([row.ids]))
    expected = torch.stack([cache[f"blocks.{i}.hook_resid_post"][0, -1] for i in range(5)])
    close(found.desired[0], expected)
