"""Attention sinks: which tokens they are, against the definition, and planted ones in a model."""

from contextlib import ExitStack
from typing import Any, cast

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

import lens_steer as ls
from lens_steer.models import clean_sinks, pad, sink_positions, sinks
from lens_steer.sites import Kind, Site
from lens_steer.steering import Additive, WithSinks
from tests.conftest import BACKENDS, Loader
from tests.interventions import STEERED_LAYER, Recorder, drawn, run, watched

PLANTED = 20  # the token whose activation is made large
LAYERS = range(4)


def by_hand(norms: np.ndarray) -> list[bool]:
    """The definition, for one row `[pos layer]` without padding, in float64."""
    medians = np.sort(norms, axis=0)[(len(norms) - 1) // 2]
    return [i == 0 or bool((row > 10 * medians).any()) for i, row in enumerate(norms)]


@st.composite
def rows(draw: st.DrawFn) -> list[np.ndarray]:
    """Norms of texts of different lengths, about one token in five of them a hundred times."""
    draws = np.random.default_rng(draw(st.integers(0, 10**6)))
    lengths = draw(st.lists(st.integers(1, 9), min_size=1, max_size=4))
    return [
        draws.uniform(0.5, 2, (n, 3)) * np.where(draws.uniform(size=(n, 3)) < 0.2, 100, 1)
        for n in lengths
    ]


def padded(norms: list[np.ndarray], side: str, filler: float) -> tuple[Tensor, Tensor]:
    width = max(map(len, norms)) + 2
    values = torch.full((len(norms), width, norms[0].shape[1]), filler).double()
    mask = torch.zeros(len(norms), width, dtype=torch.bool)
    for i, row in enumerate(norms):
        start = {"left": width - len(row), "right": 0, "both": 1}[side]
        values[i, start : start + len(row)] = torch.from_numpy(row)
        mask[i, start : start + len(row)] = True
    return values, mask


@given(rows(), st.sampled_from(["left", "right", "both"]), st.sampled_from([0.0, 1e9, np.nan]))
def test_sinks_are_those_of_the_definition_wherever_the_padding_is(
    norms: list[np.ndarray], side: str, filler: float
) -> None:
    values, mask = padded(norms, side, filler)
    found = sink_positions(values, mask)
    assert not bool((found & ~mask).any())
    for row, real, wanted in zip(found, mask, norms, strict=True):
        assert row[real].tolist() == by_hand(wanted)


@given(rows(), st.integers(-20, 20))
def test_sinks_do_not_depend_on_the_scale_or_the_batch(norms: list[np.ndarray], power: int) -> None:
    values, mask = padded(norms, "left", 0.0)
    found = sink_positions(values, mask)
    layers = torch.tensor([2.0**power, 1.0, 2.0**-power])  # powers of two round nothing
    assert torch.equal(sink_positions(values * layers, mask), found)
    for i in range(len(norms)):
        assert torch.equal(sink_positions(values[[i]], mask[[i]])[0], found[i])


def test_texts_of_no_token_one_and_two() -> None:
    norms = torch.tensor([[7.0, 900.0], [3.0, 31.0], [31.0, 3.0], [3.0, 30.0]])[..., None]
    mask = torch.tensor([[True, False], [True, True], [True, True], [True, True]])
    wanted = [[True, False], [True, True], [True, False], [True, False]]
    assert sink_positions(norms, mask).tolist() == wanted
    assert not bool(sink_positions(norms, torch.zeros(4, 2, dtype=torch.bool)).any())


# ---- in a model ----


@pytest.fixture(scope="module", params=BACKENDS)
def planted(request: pytest.FixtureRequest, model_dirs: Any) -> Any:
    """A model with one token whose embedding, and with it the stream, is a thousand times as long.

    The first tokens of its texts are as the others, and it writes no BOS.
    """
    model: Any = ls.load_model(model_dirs["qwen2"], backend=request.param, device="cpu")
    with torch.no_grad():
        next(p for n, p in model.named_parameters() if "embed" in n)[PLANTED] *= 1000.0
    return model


ROWS = ([30, 31, PLANTED, 33, 34, 35, PLANTED], [40, 41, 42], [50, PLANTED, 52, 53])
SINKS = ((0, 2, 6), (0,), (0, 1))
SITE = Site(STEERED_LAYER)


def test_planted_sinks_are_found_and_listed(planted: Any) -> None:
    text = "The sun" + planted.tokenizer.decode([PLANTED]) + " was a dog."
    found = sinks(planted, ["The sun was a dog.", text])
    assert [(s.text, s.position) for s in found.found] == [
        (0, 0),
        (1, 0),
        (1, planted.tokenizer(text)["input_ids"].index(PLANTED)),
    ]
    plain, first, large = found.found
    assert (plain.layer, first.layer) == (None, None)
    assert large.layer == 0
    assert large.ratio > 10 > first.ratio
    assert large.token == planted.tokenizer.decode([PLANTED])
    tokens = torch.tensor([planted.tokenizer(text)["input_ids"]])
    by_layer = torch.stack(
        [watched(planted, Site(k), lambda: run(planted, tokens, None))[0] for k in LAYERS]
    ).double()
    norms = by_layer.norm(dim=2)
    ratios = norms / norms.sort(dim=1).values[:, [(norms.shape[1] - 1) // 2]]
    most = int(ratios[:, large.position].argmax())
    squares = by_layer[most, large.position] ** 2
    assert large.ratio == pytest.approx(float(ratios[most, large.position]), rel=1e-4)
    assert large.dimension == int(squares.argmax())
    assert large.share == pytest.approx(float(squares.max() / squares.sum()), rel=1e-4)
    assert "1 of them over 10 times" in str(found)
    assert f"position {large.position}" in str(found)
    assert len(found.table()) == 3


@pytest.mark.parametrize("side", ["left", "right"])
def test_scopes_leave_planted_sinks_out_on_either_side_alone_and_over_a_cache(
    planted: Any, side: str
) -> None:
    tokens, mask = pad(planted, ROWS, left=side == "left")
    steered = [
        [i for i in range(len(row)) if i not in out] for row, out in zip(ROWS, SINKS, strict=True)
    ]
    for scope in ("prompt", "all"):
        recorder = Recorder()
        with torch.no_grad(), ls.steered(planted, recorder, scope=scope):
            clean = watched(planted, SITE, lambda: run(planted, tokens, mask))
        real = [x[m] for x, m in zip(clean, mask, strict=True)]
        wanted = torch.cat([x[where] for x, where in zip(real, steered, strict=True)])
        assert torch.equal(torch.cat(recorder.seen), wanted)
    found = [
        tuple(flags[real].nonzero().flatten().tolist())
        for flags, real in zip(clean_sinks(planted, tokens, mask), mask, strict=True)
    ]
    assert tuple(found) == SINKS
    method = Additive((SITE,), (drawn((planted.cfg.d_model,), size=3.0),))
    new = {
        use_cache: ls.steering.continuations(
            planted,
            ROWS,
            method,
            decoding=ls.Decoding(0.0, max_new_tokens=4, scope="all"),
            use_cache=use_cache,
        )
        for use_cache in (True, False)
    }
    assert new[True] == new[False]
    with torch.no_grad(), ls.steered(planted, method, scope="all"):
        for row, continued in zip(ROWS, new[True], strict=True):
            own = planted.generate(
                torch.tensor([row]), max_new_tokens=4, do_sample=False, verbose=False
            )
            assert own[0, len(row) : len(row) + len(continued)].tolist() == continued


def test_what_is_generated_is_no_sink_whatever_it_is(planted: Any) -> None:
    """With lengths, the same row: the planted token of the continuation is steered."""
    row = torch.tensor([ROWS[0]])
    recorder = Recorder()
    with torch.no_grad(), ls.steered(planted, recorder, scope="all", prompt_lengths=[4]):
        clean = watched(planted, SITE, lambda: run(planted, row, None))
    assert torch.equal(torch.cat(recorder.seen), clean[0, [1, 3, 4, 5, 6]])


def test_scopes_that_name_tokens_steer_sinks_and_read_no_prompt(planted: Any) -> None:
    row, method = torch.tensor([ROWS[0]]), Recorder()
    passes: list[int] = []
    block = planted.original_model if hasattr(planted, "original_model") else planted.blocks[0]
    handle = block.register_forward_pre_hook(lambda *_: passes.append(1))
    try:
        for scope, steered in (("last", [6]), ("generated", []), ((0, 2), [0, 2])):
            for options in cast(Any, ({"scope": scope, "sink": True}, {"scope": scope})):
                with torch.no_grad(), ls.steered(planted, method, **options):
                    clean = watched(planted, SITE, lambda: run(planted, row, None))
                seen = torch.cat(method.seen) if method.seen else clean[0, []]
                assert torch.equal(seen, clean[0, steered])
                method.seen.clear()
        assert len(passes) == 6
        with torch.no_grad(), ls.steered(planted, method.with_strength(0), scope="all"):
            run(planted, row, None)
        assert len(passes) == 7
    finally:
        handle.remove()


def test_with_sinks_and_the_argument_say_the_same(planted: Any) -> None:
    method = Additive((SITE,), (drawn((planted.cfg.d_model,), size=3.0),))
    row = torch.tensor([ROWS[0]])
    found = []
    for how in ({"scope": "all", "sink": True}, {"scope": WithSinks("all")}, {"scope": "all"}):
        with torch.no_grad(), ls.steered(planted, method, **how):  # type: ignore[arg-type]
            found.append(run(planted, row, None))
    assert torch.equal(found[0], found[1])
    assert not torch.allclose(found[0], found[2], atol=1e-3)
    both = ls.Decoding(scope=WithSinks("all"))
    assert both == ls.Decoding(scope="all", sink=True)
    assert both.steered_scope == WithSinks("all")
    assert ls.Decoding(scope=(1, 2), sink=True).steered_scope == (1, 2)


def test_sinks_are_those_of_the_clean_model_inside_another_block(planted: Any) -> None:
    """The outer block makes every other token large: the inner one does not take it for a sink."""
    row = torch.tensor([ROWS[1]])
    large = Additive((Site(0),), (drawn((planted.cfg.d_model,), size=1e4),))
    recorder = Recorder()
    outer: Any = (large, (2,))
    inner: Any = (recorder, "all")
    with torch.no_grad(), ExitStack() as stack:
        for method, scope in (outer, inner):
            stack.enter_context(ls.steered(planted, method, scope=scope))
        held = watched(planted, SITE, lambda: run(planted, row, None))
    assert torch.equal(torch.cat(recorder.seen), held[0, 1:])


def test_what_is_remembered_is_forgotten_when_the_weights_change(
    fresh_model: Loader,
) -> None:
    model = fresh_model("qwen2")
    tokens, mask = pad(model, [ROWS[0]])
    assert clean_sinks(model, tokens, mask)[0].nonzero().flatten().tolist() == [0]
    with torch.no_grad():
        next(p for n, p in model.named_parameters() if "embed" in n)[PLANTED] *= 1000.0
    assert clean_sinks(model, tokens, mask)[0].nonzero().flatten().tolist() == [0, 2, 6]


def test_a_mean_leaves_sinks_out_unless_asked(planted: Any) -> None:
    sink = planted.tokenizer.decode([PLANTED])
    pairs = [("The sun", f" was{sink} a dog", " was a dog"), ("A cat", " was", f" the{sink}sun")]
    for kind in ("resid", "neuron"):
        for asked in (False, True):
            found = ls.capture(planted, pairs, kind, read="mean", sink=asked, progress=False)
            stats = ls.activations.ContrastStats.fit(
                planted, pairs, kind, read="mean", sink=asked, progress=False
            )
            torch.testing.assert_close(stats.desired.mean, found.desired.mean(dim=0))
            for values, side in ((found.desired, 1), (found.undesired, 2)):
                for i, pair in enumerate(pairs):
                    row = ls.models.encode(planted, pair[0], pair[side])
                    tokens = torch.tensor([row.ids])
                    site = Site(2, Kind.parse(kind))
                    held = watched(planted, site, lambda t=tokens: run(planted, t, None))[0]
                    read = [
                        at
                        for at in range(row.prompt_length, len(row.ids))
                        if asked or row.ids[at] != PLANTED
                    ]
                    wanted = held[read].double().mean(dim=0).float()
                    torch.testing.assert_close(values[i, 2], wanted, rtol=1e-4, atol=1e-4)
    shown = ls.activations.show_read_positions(planted, pairs, "mean")
    row = ls.models.encode(planted, *pairs[0][:2])
    assert row.ids.index(PLANTED) not in shown[0].read


def test_a_mean_over_nothing_but_sinks_is_refused(planted: Any) -> None:
    pairs = [("", "a", "b"), ("", "c", "d")]
    with pytest.raises(ValueError, match="no token but attention sinks"):
        ls.capture(planted, pairs, "resid", read="mean", progress=False)
    ls.capture(planted, pairs, "resid", read="mean", sink=True, progress=False)


def test_a_prompt_that_is_not_shown_whole_is_refused(planted: Any) -> None:
    method = Additive((SITE,), (drawn((planted.cfg.d_model,)),))
    row = torch.tensor([ROWS[0]])
    if hasattr(planted, "original_model"):
        embedded = planted.original_model.get_input_embeddings()(row).detach()
        steering = ls.steered(planted, method, scope="all")
        with steering, pytest.raises(ValueError, match="got embeddings"):
            planted.original_model(inputs_embeds=embedded)
        with ls.steered(planted, method, scope="all", sink=True):
            planted.original_model(inputs_embeds=embedded)


@pytest.mark.parametrize(
    ("texts", "message"), [("one", "expected a list"), ([], "got 0 texts"), ([""], "with a token")]
)
def test_texts_that_cannot_be_read_are_refused(planted: Any, texts: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        sinks(planted, texts)


def test_the_users_hooks_see_one_pass_for_each_that_they_run(planted: Any) -> None:
    """A hook of the user's that counts, and one of ours around the block, as `preview` has."""
    row, counted = torch.tensor([ROWS[0]]), []
    method = Additive((SITE,), (drawn((planted.cfg.d_model,)),))

    def count(x: Tensor, hook: Any) -> None:
        del hook
        counted.append(len(x))

    hooks = [("blocks.1.hook_resid_post", count)]
    before = dict(planted.hook_dict["blocks.1.hook_resid_post"]._forward_hooks)
    with torch.no_grad(), ls.steered(planted, method, scope="all"):
        planted.run_with_hooks(row, fwd_hooks=hooks)
    assert counted == [1]
    assert dict(planted.hook_dict["blocks.1.hook_resid_post"]._forward_hooks) == before


def test_the_clean_pass_may_have_other_rows_than_the_pass_around_it(gpt2: Any) -> None:
    """The bridge of GPT-2 notes the size of the batch of its own forward."""
    draw = torch.Generator().manual_seed(7)
    tokens = torch.randint(3, 100, (4, 6), generator=draw)
    clean_sinks(gpt2, tokens[:2], torch.ones(2, 6).bool())  # two of the four rows are known
    method = Additive((Site(1),), (drawn((gpt2.cfg.d_model,), seed=0, size=1.0),))
    with torch.no_grad(), ls.steered(gpt2, method, scope="prompt"):
        together = gpt2(tokens)
        for i, row in enumerate(tokens):
            torch.testing.assert_close(gpt2(row[None])[0], together[i], atol=1e-4, rtol=1e-4)
