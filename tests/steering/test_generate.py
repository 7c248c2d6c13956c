"""Generation: the same text cached, uncached, batched, alone, and by the model's own generate."""

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from typing import Any

import pytest
import torch
from torch import Tensor

import lens_steer as ls
from lens_steer.models import bos_id, context_length, eos_ids, is_bridge
from lens_steer.sites import Site
from lens_steer.steering import Additive, Decoding, continuations
from tests.conftest import BACKENDS, Loader
from tests.interventions import (
    PROMPTS,
    STEERED_LAYER,
    Broken,
    Prepared,
    Recorder,
    brute_force,
    drawn,
    manual_hook,
    padded,
    push,
    rows_of,
    traces,
)

NEW = 6
SITE = Site(STEERED_LAYER)
LILY = "Once upon a time, there was a little girl named Lily."
# Of the model's own card: a fact about its weights, not about this package.
LILY_GOES_ON = " She loved to play outside in the park. One day, she saw a big, red ball."
GREEDY: dict[str, Any] = {"temperature": 0.0, "max_new_tokens": NEW}
SAMPLED: dict[str, Any] = {"seed": 0, "max_new_tokens": NEW}
CHAT_TEMPLATE = (
    "<s>{% for message in messages %}{{ message['role'] }}: {{ message['content'] }}\n{% endfor %}"
    "{% if add_generation_prompt %}assistant:{% endif %}"
)


@pytest.fixture(params=BACKENDS)
def either(request: pytest.FixtureRequest, load: Loader) -> Any:
    """One architecture on each backend: for what is the same code on all of them."""
    return load("llama", request.param)


def strong(model: Any) -> Additive:
    """A push that changes what is generated."""
    return push(model, size=2.0)


def greedy_tokens(model: Any, rows: Any, *methods: Any, scope: Any = "last") -> list[list[int]]:
    decoding = Decoding(temperature=0.0, max_new_tokens=NEW, scope=scope)
    return continuations(model, rows, *methods, decoding=decoding)


def assert_continues(found: Sequence[int], new: Sequence[int], eos: int | None) -> None:
    """`found` begins as `new`, and where `new` ended early it goes on with the end token."""
    assert list(found[: len(new)]) == list(new)
    assert len(new) == NEW or found[len(new)] == eos


def without_specials(model: Any) -> Any:
    """A block in which no special token is generated.

    TransformerLens' own loops take a generated padding token for padding.
    """

    def suppress(x: Tensor, hook: Any) -> Tensor:
        special = torch.zeros(x.shape[-1])
        special[[i for i in model.tokenizer.all_special_ids if i < len(special)]] = -1e4
        return x + special

    return model.hooks(fwd_hooks=[("unembed.hook_out", suppress)])


def own(model: Any, tokens: Tensor, name: str = "generate", **options: Any) -> list[list[int]]:
    """What the model's own greedy generate adds to each row."""
    whole = getattr(model, name)(
        tokens, max_new_tokens=NEW, do_sample=False, stop_at_eos=False, **options
    )
    return whole[:, tokens.shape[1] :].tolist()


# ---- the same text, however it is computed ----


@pytest.mark.parametrize("how", [GREEDY, SAMPLED], ids=["greedy", "sampled"])
def test_the_text_is_the_same_with_and_without_a_cache_batched_and_alone(
    model: Any, how: dict[str, Any]
) -> None:
    prompts, method = list(PROMPTS[:3]), strong(model)
    steered = ls.generate(model, prompts, method, **how)
    assert steered != ls.generate(model, prompts, **how)
    assert ls.generate(model, prompts, method, use_cache=False, **how) == steered
    alone = [
        ls.generate(model, [prompt], method, first_row=i, **how)[0]
        for i, prompt in enumerate(prompts)
    ]
    assert alone == steered


@pytest.mark.parametrize("scope", ["prompt", "generated"])
def test_every_scope_generates_the_same_with_and_without_a_cache(model: Any, scope: Any) -> None:
    texts = [
        ls.generate(model, PROMPTS, strong(model), scope=scope, use_cache=use_cache, **SAMPLED)
        for use_cache in (True, False)
    ]
    assert texts[0] == texts[1]


@pytest.mark.parametrize("scope", ["last", "prompt", "generated"])
def test_greedy_tokens_equal_those_of_a_loop_written_by_hand(model: Any, scope: Any) -> None:
    vector, eos = drawn((model.cfg.d_model,), size=2.0), eos_ids(model)[0]
    for row in rows_of(model, PROMPTS[:1]):
        tokens = list(row)
        has_bos = model.tokenizer.bos_token_id == row[0] and model.cfg.default_prepend_bos
        with torch.no_grad():
            for _ in range(NEW):
                where = brute_force(
                    scope, [True] * len(tokens), len(tokens), len(row), has_bos, [0]
                )
                hook = manual_hook(vector, torch.tensor([where]))
                logits = model.run_with_hooks(
                    torch.tensor([tokens]), fwd_hooks=[(SITE.hook_name, hook)]
                )
                tokens.append(int(logits[0, -1].argmax()))
        (new,) = greedy_tokens(model, [row], Additive((SITE,), (vector,)), scope=scope)
        assert_continues(tokens[len(row) :], new, eos)


@pytest.mark.parametrize("use_cache", [True, False], ids=["cached", "uncached"])
@pytest.mark.parametrize("scope", ["last", "prompt"])
def test_the_models_own_generate_in_the_block_continues_as_ours(
    model: Any, scope: Any, use_cache: bool
) -> None:
    method, (row,) = strong(model), rows_of(model, PROMPTS[1:2])
    with without_specials(model):
        ours = greedy_tokens(model, [row], method, scope=scope)
        with ls.steered(model, method, scope=scope):
            theirs = own(model, torch.tensor([row]), use_past_kv_cache=use_cache, verbose=False)
    assert theirs == ours


@pytest.mark.parametrize("use_cache", [True, False], ids=["cached", "uncached"])
def test_the_models_own_generate_of_a_left_padded_batch_continues_as_ours(
    model: Any, use_cache: bool
) -> None:
    rows, method = rows_of(model), strong(model)
    with without_specials(model):
        ours = greedy_tokens(model, rows, method)
        with ls.steered(model, method):
            theirs = own(
                model,
                padded(model, rows, "left").tokens,
                use_past_kv_cache=use_cache,
                prepend_bos=bos_id(model) is not None,  # what the padding is told by, for GPT-2
                padding_side="left",
                return_type="tokens",
                verbose=False,
            )
    assert theirs == ours


@pytest.mark.parametrize("use_cache", [True, False], ids=["cached", "uncached"])
def test_hugging_faces_generate_in_the_block_continues_as_ours(
    bridge: Any, use_cache: bool
) -> None:
    method, (row,) = strong(bridge), rows_of(bridge, PROMPTS[1:2])
    tokens = torch.tensor([row])
    options: dict[str, Any] = {"use_past_kv_cache": use_cache, "return_type": "tokens"}
    # Without a mask Hugging Face takes GPT-2's BOS, which is also its padding token, for padding.
    options["attention_mask"] = torch.ones_like(tokens)
    with without_specials(bridge):
        ours = greedy_tokens(bridge, [row], method)
        with ls.steered(bridge, method):
            theirs = own(bridge, tokens, "hf_generate", **options)
    assert theirs == ours


def test_generate_stream_in_the_block_continues_as_ours(model: Any) -> None:
    method, (row,) = strong(model), rows_of(model, PROMPTS[1:2])
    with without_specials(model):
        ours = greedy_tokens(model, [row], method)
        with ls.steered(model, method):
            parts = model.generate_stream(
                torch.tensor([row]),
                max_new_tokens=NEW,
                do_sample=False,
                stop_at_eos=False,
                verbose=False,
                max_tokens_per_yield=3,
            )
            streamed = torch.cat([part.reshape(-1) for part in parts]).tolist()
    assert [streamed[len(row) :]] == ours


@pytest.mark.parametrize("use_cache", [True, False], ids=["cached", "uncached"])
def test_the_models_own_generate_is_steered_at_the_positions_of_the_scope_at_every_step(
    either: Any, use_cache: bool
) -> None:
    """Scope prompt: all of the prompt but its BOS, whenever it is computed, nothing after it."""
    (row,), recorder = rows_of(either, PROMPTS[1:2]), Recorder()
    with without_specials(either), ls.steered(either, recorder, scope="prompt"):
        own(either, torch.tensor([row]), use_past_kv_cache=use_cache, verbose=False)
    times = 1 if use_cache else NEW
    assert [len(seen) for seen in recorder.seen] == [len(row) - 1] * times


@pytest.mark.parametrize("use_cache", [True, False], ids=["cached", "uncached"])
def test_the_models_own_generate_makes_methods_ready_for_its_prompt(
    either: Any, use_cache: bool
) -> None:
    (row,), method = rows_of(either, PROMPTS[1:2]), Prepared()
    with without_specials(either), ls.steered(either, method):
        own(either, torch.tensor([row]), use_past_kv_cache=use_cache, verbose=False)
    assert method.calls
    for tokens, mask, _ in method.calls:
        assert tokens[mask].tolist() == row


@pytest.mark.parametrize("use_cache", [True, False], ids=["cached", "uncached"])
@pytest.mark.parametrize("scope", ["last", "prompt", "generated"])
def test_our_generate_in_a_block_steers_as_when_it_is_given_the_method(
    either: Any, scope: Any, use_cache: bool
) -> None:
    method = strong(either)
    given = ls.generate(either, PROMPTS, method, scope=scope, **SAMPLED)
    with ls.steered(either, method, scope=scope):
        within = ls.generate(either, PROMPTS, use_cache=use_cache, **SAMPLED)
    assert within == given


def test_two_prompts_in_one_block_are_two_prompts(either: Any) -> None:
    """The model's own generate starts afresh with every call, whatever came before in the block."""
    method, rows = strong(either), rows_of(either, PROMPTS[:2])
    with without_specials(either):
        ours = [greedy_tokens(either, [row], method) for row in rows]
        with ls.steered(either, method):
            theirs = [
                own(either, torch.tensor([row]), use_past_kv_cache=False, verbose=False)
                for row in rows
            ]
    assert theirs == ours


def test_methods_made_ready_for_a_prompt_generate_the_same_with_and_without_a_cache(
    either: Any,
) -> None:
    cached, uncached = Prepared(strength=2.0), Prepared(strength=2.0)
    texts = [
        ls.generate(either, PROMPTS[:3], method, use_cache=use, **GREEDY)
        for method, use in ((cached, True), (uncached, False))
    ]
    assert texts[0] == texts[1]
    assert texts[0] != ls.generate(either, PROMPTS[:3], **GREEDY)
    assert len(cached.calls) == 1
    ((tokens, mask, _),) = cached.calls
    for other_tokens, other_mask, _ in uncached.calls:
        assert torch.equal(other_tokens[other_mask], tokens[mask])


# ---- text and seeds ----


def test_a_real_model_continues_its_story(stories: Any) -> None:
    (text,) = ls.generate(stories, [LILY], temperature=0.0, max_new_tokens=40)
    assert text.startswith(LILY_GOES_ON)


def test_a_real_model_is_steered_towards_its_pairs_and_the_text_depends_on_the_strength(
    stories: Any,
) -> None:
    method = push(stories, layer=2, size=1.0)
    texts = {
        ls.generate(stories, [LILY], method.with_strength(s), **GREEDY)[0] for s in (0.0, 1.0, -1.0)
    }
    assert ls.generate(stories, [LILY], **GREEDY)[0] in texts
    assert len(texts) == 3


def test_only_the_continuation_comes_back_with_its_leading_space(model: Any) -> None:
    rows = rows_of(model)
    texts = ls.generate(model, PROMPTS, strong(model), **GREEDY)
    space = model.tokenizer.encode(" the", add_special_tokens=False)
    assert len(space) == 1
    for row, new, text in zip(rows, greedy_tokens(model, rows, strong(model)), texts, strict=True):
        whole = model.tokenizer.decode([*row, *new], skip_special_tokens=True)
        assert whole == model.tokenizer.decode(row, skip_special_tokens=True) + text

    def only_the(x: Tensor, hook: Any) -> Tensor:
        return x + 1e4 * torch.nn.functional.one_hot(torch.tensor(space[0]), x.shape[-1])

    with model.hooks(fwd_hooks=[("unembed.hook_out", only_the)]):
        # Gemma 2 caps its logits after the hook, at 8: still the largest.
        assert ls.generate(model, ["The cat"], temperature=0.0, max_new_tokens=2) == [" the the"]


def test_the_same_seed_gives_the_same_text_and_another_seed_another(model: Any) -> None:
    def texts(seed: int) -> list[str]:
        return ls.generate(model, PROMPTS, strong(model), seed=seed, max_new_tokens=NEW)

    first = texts(0)
    assert texts(0) == first
    assert texts(1) != first


def test_rows_of_the_same_prompt_differ_and_greedy_ones_do_not(either: Any) -> None:
    assert len(set(ls.generate(either, ["The cat"] * 4, **SAMPLED))) == 4
    assert len(set(ls.generate(either, ["The cat"] * 4, **GREEDY))) == 1


def test_a_list_continued_in_parts_equals_the_whole_list(either: Any) -> None:
    whole = ls.generate(either, PROMPTS, **SAMPLED)
    parts = [ls.generate(either, PROMPTS[:1], **SAMPLED)]
    parts.append(ls.generate(either, PROMPTS[1:], first_row=1, **SAMPLED))
    assert [text for part in parts for text in part] == whole


def test_texts_come_in_the_order_of_their_prompts_whatever_their_lengths(either: Any) -> None:
    turned = list(reversed(PROMPTS))
    texts = dict(zip(PROMPTS, ls.generate(either, PROMPTS, **GREEDY), strict=True))
    assert ls.generate(either, turned, token_budget=40, **GREEDY) == [texts[p] for p in turned]


def test_strength_zero_generates_what_no_method_generates(model: Any) -> None:
    off = strong(model).with_strength(0.0)
    assert ls.generate(model, PROMPTS, off, **SAMPLED) == ls.generate(model, PROMPTS, **SAMPLED)


def test_the_global_generator_is_not_touched_and_does_not_matter(either: Any) -> None:
    before = ls.generate(either, PROMPTS, **SAMPLED)
    torch.manual_seed(123)
    state = torch.get_rng_state()
    assert ls.generate(either, PROMPTS, **SAMPLED) == before
    assert torch.equal(torch.get_rng_state(), state)


def test_a_nucleus_that_holds_one_token_is_greedy(either: Any) -> None:
    greedy = ls.generate(either, PROMPTS, strong(either), **GREEDY)
    assert ls.generate(either, PROMPTS, strong(either), top_p=1e-6, **SAMPLED) == greedy


def test_the_prompts_are_not_changed(either: Any) -> None:
    prompts = list(PROMPTS)
    ls.generate(either, prompts, **GREEDY)
    assert prompts == list(PROMPTS)


# ---- the end ----


def ending(model: Any, rows: dict[int, int]) -> Callable[..., Tensor]:
    """A hook on the logits: row i of the batch ends at step `rows[i]`, and may then have left."""
    eos, steps, there = eos_ids(model)[0], [0], list[int]()
    assert eos is not None

    def end(x: Tensor, hook: Any) -> Tensor:
        marks = torch.zeros_like(x)
        if steps[0] == 0:
            there[:] = range(len(x))
        if len(x) < len(there):
            there[:] = [row for row in there if rows.get(row, NEW) >= steps[0]]
        for i, row in enumerate(there):
            marks[i, :, eos] = 1e4 if rows.get(row, NEW) == steps[0] else -1e4
        steps[0] += 1
        return x + marks

    return end


def test_a_row_ends_at_the_end_token_which_is_not_shown_and_the_others_go_on(either: Any) -> None:
    rows = [row[:4] for row in rows_of(either)]
    with either.hooks(fwd_hooks=[("unembed.hook_out", ending(either, {}))]):
        whole = greedy_tokens(either, rows)
    with either.hooks(fwd_hooks=[("unembed.hook_out", ending(either, {0: 0, 2: 3}))]):
        ended = greedy_tokens(either, rows)
    assert [len(new) for new in whole] == [NEW] * 4
    assert ended == [[], whole[1], whole[2][:3], whole[3]]


def test_generation_stops_when_every_row_has_ended(either: Any) -> None:
    calls: list[int] = []
    end = ending(either, {0: 1, 1: 2})

    def counted(x: Tensor, hook: Any) -> Tensor:
        calls.append(1)
        return end(x, hook)

    with either.hooks(fwd_hooks=[("unembed.hook_out", counted)]):
        texts = ls.generate(either, ["The cat", "The dog"], **GREEDY)
    assert len(calls) == 3
    assert all(texts)


@pytest.mark.parametrize("use_cache", [True, False], ids=["cached", "uncached"])
def test_rows_that_have_ended_leave_the_batch_and_the_others_do_not_notice(
    model: Any, use_cache: bool
) -> None:
    sizes, rows = [], sorted((row[: 3 + i] for i, row in enumerate(rows_of(model)[:4])), key=len)
    ends, end = {0: 0, 1: 2, 3: 2}, ending(model, {0: 0, 1: 2, 3: 2})
    methods = [strong(model), None, strong(model), strong(model)]

    def counted(x: Tensor, hook: Any) -> Tensor:
        sizes.append(len(x))
        return end(x, hook)

    with ExitStack() as stack:
        for i, method in enumerate(methods):
            if method is not None:
                own = [i == k for k in range(4)]
                stack.enter_context(ls.steered(model, method, scope="last", rows=own))
        stack.enter_context(model.hooks(fwd_hooks=[("unembed.hook_out", counted)]))
        found = continuations(
            model, rows, decoding=Decoding(0.0, max_new_tokens=NEW), use_cache=use_cache
        )
    assert sizes == [4, 4, 4, 1, 1, 1]
    for i, (row, method) in enumerate(zip(rows, methods, strict=True)):
        with model.hooks(fwd_hooks=[("unembed.hook_out", ending(model, {0: ends.get(i, NEW)}))]):
            alone = greedy_tokens(model, [row], *([] if method is None else [method]))
        assert [found[i]] == alone


def test_a_row_that_ends_at_once_is_an_empty_text(model: Any) -> None:
    with model.hooks(fwd_hooks=[("unembed.hook_out", ending(model, {0: 0}))]):
        assert ls.generate(model, ["The cat"], **GREEDY) == [""]


# ---- other ends than the tokenizer's ----


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_text_ends_at_every_end_token_that_the_generation_config_names(
    fresh_model: Loader, backend: str
) -> None:
    model = fresh_model("llama", backend)
    rows = rows_of(model, PROMPTS[:2])
    whole = greedy_tokens(model, rows)
    turn = whole[0][2]
    model.generation_config.eos_token_id = [turn, 2]
    assert set(eos_ids(model)) == {2, turn}
    expected = [new[: new.index(turn)] if turn in new else new for new in whole]
    assert greedy_tokens(model, rows) == expected
    model.generation_config.eos_token_id = turn
    assert greedy_tokens(model, rows) == expected


@pytest.mark.parametrize("use_cache", [True, False], ids=["cached", "uncached"])
def test_a_text_ends_before_the_first_stop_string_wherever_it_begins(
    either: Any, use_cache: bool
) -> None:
    how: dict[str, Any] = GREEDY | {"use_cache": use_cache}
    whole = ls.generate(either, PROMPTS, **how)
    stop = [whole[0][2:4], whole[1][1:], "\nnever"]  # over tokens, and one that ends with the text
    ends = [min([t.find(s) for s in stop if s in t], default=len(t)) for t in whole]
    expected = [text[:end] for text, end in zip(whole, ends, strict=True)]
    assert 0 < len(expected[0]) < len(whole[0])
    assert ls.generate(either, PROMPTS, stop=stop, **how) == expected
    alone = [ls.generate(either, [p], stop=stop, **how)[0] for p in PROMPTS]
    assert alone == expected


def test_a_stop_string_may_begin_within_a_token_and_its_row_leaves_the_batch(either: Any) -> None:
    (space,) = either.tokenizer.encode(" the", add_special_tokens=False)
    sizes: list[int] = []

    def only_the(x: Tensor, hook: Any) -> Tensor:
        sizes.append(len(x))
        return x + 1e4 * torch.nn.functional.one_hot(torch.tensor(space), x.shape[-1])

    with either.hooks(fwd_hooks=[("unembed.hook_out", only_the)]):
        texts = ls.generate(either, ["The cat", "Hi!"], stop=["e th"], **GREEDY)
    assert texts == [" th", " th"]
    assert sizes == [2, 2]


def test_a_special_token_among_the_stop_strings_ends_a_text(either: Any) -> None:
    (row,) = rows_of(either, PROMPTS[:1])
    pad = either.tokenizer.pad_token_id

    def padding(x: Tensor, hook: Any) -> Tensor:
        return x + 1e4 * torch.nn.functional.one_hot(torch.tensor(pad), x.shape[-1])

    decoding = Decoding(0.0, max_new_tokens=3, stop=["<pad>"])
    with either.hooks(fwd_hooks=[("unembed.hook_out", padding)]):
        assert continuations(either, [row], decoding=decoding) == [[]]
    with pytest.raises(ValueError, match=r"'\\n<pad>' has the special token '<pad>' in it"):
        ls.generate(either, PROMPTS[:1], stop=["\n<pad>"], **GREEDY)


@pytest.mark.usefixtures("untyped")
@pytest.mark.parametrize("stop", ["\n", [""], ["a", 3], [None]])
def test_stop_strings_that_are_none_are_refused(llama: Any, stop: Any) -> None:
    with pytest.raises(ValueError, match="stop=.*expected a list of texts, none empty"):
        ls.generate(llama, ["The cat"], stop=stop, **GREEDY)


# ---- logits that are no numbers ----


@pytest.mark.parametrize("use_cache", [True, False], ids=["cached", "uncached"])
def test_a_push_that_breaks_the_logits_is_an_error_that_names_layer_dtype_and_method(
    model: Any, use_cache: bool
) -> None:
    broken = strong(model).with_strength(1e39)  # beyond float32
    before = traces(model)
    with pytest.raises(ValueError, match="NaN or infinite") as caught:
        ls.generate(model, PROMPTS, broken, use_cache=use_cache, **GREEDY)
    text = str(caught.value)
    assert f"from {SITE.hook_name} on" in text
    assert "float32, steered by Additive(strength=1e+39" in text
    assert text.endswith("use a smaller strength")
    assert traces(model) == before


def test_what_breaks_the_logits_later_or_in_a_block_around_is_found_too(either: Any) -> None:
    broken = strong(either).with_strength(1e39)
    with (
        ls.steered(either, broken, scope="generated"),
        pytest.raises(ValueError, match=rf"1 tokens after it.*{SITE.hook_name} on.*Additive"),
    ):
        ls.generate(either, PROMPTS[:2], **GREEDY)


def test_logits_that_break_without_steering_blame_no_method(either: Any) -> None:
    last = either.cfg.n_layers - 1

    def overflow(x: Tensor, hook: Any) -> Tensor:
        return x * torch.inf

    with (
        either.hooks(fwd_hooks=[(f"blocks.{last}.hook_resid_post", overflow)]),
        pytest.raises(ValueError, match=rf"from blocks.{last}.hook_resid_post on.*not steered"),
    ):
        ls.generate(either, PROMPTS[:2], **GREEDY)


def test_minus_infinity_rules_a_token_out_and_is_no_failure_unless_nothing_is_left(
    either: Any,
) -> None:
    def mask(upto: int) -> Any:
        def ruled_out(x: Tensor, hook: Any) -> Tensor:
            return x.masked_fill(torch.arange(x.shape[-1]) < upto, -torch.inf)

        return either.hooks(fwd_hooks=[("unembed.hook_out", ruled_out)])

    with mask(50):
        new = greedy_tokens(either, rows_of(either, PROMPTS[:2]))
    assert min(token for row in new for token in row) >= 50
    with (
        mask(10**6),
        pytest.raises(ValueError, match="stream is finite; the final norm or the unembedding"),
    ):
        ls.generate(either, PROMPTS[:2], **GREEDY)


# ---- what is refused ----


def test_calls_that_make_no_sense_are_refused_and_say_what_to_do(either: Any) -> None:
    method, room = push(either), context_length(either)
    wrong: list[tuple[str, Any, dict[str, Any]]] = [
        ("prompts='The cat'.*write \\['The cat'\\]", "The cat", GREEDY),
        ("no prompts", [], GREEDY),
        ("no seed.*seed=0", ["The cat"], {}),
        ("temperature=-1", ["The cat"], {"temperature": -1.0, "seed": 0}),
        ("top_p=2", ["The cat"], {"top_p": 2.0, "seed": 0}),
        ("max_new_tokens=0", ["The cat"], {"max_new_tokens": 0, "seed": 0}),
        (f"context holds {room}.*fewer tokens", ["The cat"], {**GREEDY, "max_new_tokens": room}),
        ("context holds", ["the " * room], GREEDY),
        ("no chat template", [[{"role": "user", "content": "Hi!"}]], GREEDY),
        ("expected text or a list", [[1, 2]], GREEDY),
        ("expected positions", ["The cat"], {**GREEDY, "scope": (-1,)}),
    ]
    before = traces(either)
    for message, prompts, options in wrong:
        with pytest.raises(ValueError, match=message):
            ls.generate(either, prompts, method, **options)
        assert traces(either) == before


def test_a_prompt_may_fill_the_context_but_for_what_is_generated(either: Any) -> None:
    room = context_length(either)
    (row,) = rows_of(either, [" the" * (room - 1 - NEW)])
    assert len(row) == room - NEW
    assert len(greedy_tokens(either, [row], push(either))[0]) <= NEW


@pytest.mark.parametrize("backend", BACKENDS)
def test_an_empty_prompt_is_the_bos_where_there_is_one_and_refused_elsewhere(
    load: Loader, backend: str
) -> None:
    assert (
        len(ls.generate(load("llama", backend), [""], push(load("llama", backend)), **GREEDY)) == 1
    )
    with pytest.raises(ValueError, match="empty prompt"):
        ls.generate(load("qwen2", backend), ["The cat", ""], **GREEDY)


@pytest.mark.parametrize("when", ["edit", "prepare"])
def test_a_method_that_raises_leaves_nothing(model: Any, when: str) -> None:
    before = traces(model)
    with pytest.raises(ArithmeticError):
        ls.generate(model, PROMPTS, Broken(when=when), **GREEDY)
    assert traces(model) == before
    ls.generate(model, PROMPTS[:1], strong(model), **GREEDY)
    assert traces(model) == before


# ---- chats ----


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_chat_is_continued_as_its_rendered_text_with_one_bos(
    fresh_model: Loader, backend: str
) -> None:
    model = fresh_model("llama", backend)
    model.tokenizer.chat_template = CHAT_TEMPLATE
    chat = [{"role": "user", "content": "Hi!"}, {"role": "assistant", "content": "Yes"}]
    rendered = "<s>user: Hi!\nassistant: Yes"  # the assistant's own words are continued
    (row,) = rows_of(model, [rendered])
    assert row.count(model.tokenizer.bos_token_id) == 1
    by_chat = ls.generate(model, [chat, "The cat"], strong(model), **SAMPLED)
    assert by_chat == ls.generate(model, [rendered, "The cat"], strong(model), **SAMPLED)


def test_both_classes_of_model_generate_the_same(load: Loader) -> None:
    if len(BACKENDS) < 2:
        pytest.skip("TransformerLens 4 has one class of model")
    for name in ("llama", "gpt2"):
        models = [load(name, backend) for backend in BACKENDS]
        assert is_bridge(models[0]) != is_bridge(models[1])
        texts = [ls.generate(model, PROMPTS, strong(model), **SAMPLED) for model in models]
        assert texts[0] == texts[1]
