from typing import Any

import pytest
import torch

from lens_steer.activations import show_read_positions
from lens_steer.data import ContrastivePairs
from lens_steer.models import bos_id, encode, encode_prompt, token_texts
from lens_steer.sites import Kind, Site
from lens_steer.steering import Additive, preview
from tests.interventions import Scale, drawn, manual_hook, push, run, traces, watched

# Float32 against float32: the difference of two activations of order 10 has their rounding.
SIZE = 1e-4
PROMPT, CONTINUATION = "A dog sat in the sun and", " the cat was very old."
SCOPES = ("last", "prompt", "generated", "all", (2, 5))


def places(scope: Any, prompt_length: int, length: int) -> list[int]:
    """The definition of each scope, for one row without padding: its first token is a sink."""
    named: dict[Any, Any] = {
        "last": range(prompt_length - 1, length),
        "prompt": range(1, prompt_length),
        "generated": range(prompt_length, length),
        "all": range(1, length),
    }
    return list(named.get(scope, scope))


@pytest.mark.parametrize("scope", SCOPES)
@pytest.mark.parametrize("continuation", ["", CONTINUATION])
def test_relative_sizes_are_those_of_the_edit_and_zero_elsewhere(
    bridge: Any, scope: Any, continuation: str
) -> None:
    model = bridge
    method = push(model, size=0.7).with_strength(-1.5)
    ids, prompt_length = encode_prompt(model, PROMPT), len(encode_prompt(model, PROMPT))
    if continuation:
        row = encode(model, PROMPT, continuation)
        ids, prompt_length = list(row.ids), row.prompt_length
    found = preview(model, PROMPT, method, continuation=continuation, scope=scope)
    site = method.sites[0]
    with torch.no_grad():
        clean = watched(model, site, lambda: run(model, torch.tensor([ids]), None))[0]
    steered = places(scope, prompt_length, len(ids))
    expected = torch.zeros(len(ids))
    expected[steered] = 1.5 * method.vectors[0].norm() / clean[steered].norm(dim=-1)
    assert found.sites == (site,)
    assert found.relative.shape == (1, len(ids))
    torch.testing.assert_close(found.relative[0], expected, atol=SIZE, rtol=SIZE)
    assert (found.relative[0] != 0).nonzero().flatten().tolist() == steered


def test_what_is_upstream_is_steered_when_a_later_site_is_measured(model: Any) -> None:
    early, late = push(model, layer=0, size=2.0), push(model, layer=2, seed=1)
    ids = encode_prompt(model, PROMPT)
    found = preview(model, PROMPT, early, late, scope="all", sink=True)
    hook = manual_hook(early.vectors[0], torch.ones(1, len(ids)))
    with torch.no_grad(), model.hooks(fwd_hooks=[(early.sites[0].hook_name, hook)]):
        before = watched(model, Site(2), lambda: run(model, torch.tensor([ids]), None))[0]
    expected = late.vectors[0].norm() / before.norm(dim=-1)
    torch.testing.assert_close(found.relative[1], expected, atol=SIZE, rtol=SIZE)


def test_two_methods_at_one_site_are_measured_together(llama: Any) -> None:
    method = push(llama)
    twice = preview(llama, PROMPT, method, method, scope="all", sink=True)
    double = preview(llama, PROMPT, 2.0 * method, scope="all", sink=True)
    assert twice.sites == double.sites
    torch.testing.assert_close(twice.relative, double.relative, atol=SIZE, rtol=SIZE)


def test_a_factor_is_measured_as_its_distance_from_one(model: Any) -> None:
    found = preview(model, PROMPT, Scale(factor=1.25), scope="all", sink=True)
    expected = torch.full_like(found.relative, 0.25)
    torch.testing.assert_close(found.relative, expected, atol=SIZE, rtol=SIZE)


def test_heads_are_measured_over_all_of_them(model: Any) -> None:
    site = Site(1, Kind.HEAD)
    vector = drawn((model.cfg.n_heads, model.cfg.d_head))
    ids = torch.tensor([encode_prompt(model, PROMPT)])
    with torch.no_grad():
        clean = watched(model, site, lambda: run(model, ids, None))[0]
    found = preview(model, PROMPT, Additive((site,), (vector,)), scope="all", sink=True)
    expected = vector.norm() / clean.flatten(1).norm(dim=-1)
    torch.testing.assert_close(found.relative[0], expected, atol=SIZE, rtol=SIZE)


def test_sites_come_in_the_order_of_the_forward_pass(llama: Any) -> None:
    methods = [push(llama, layer=layer) for layer in (3, 0, 2)]
    found = preview(llama, PROMPT, *methods, scope="all", sink=True)
    assert found.sites == (Site(0), Site(2), Site(3))


def test_sites_of_one_layer_come_in_the_order_of_the_forward_pass(llama: Any) -> None:
    vectors = {
        Site(1, kind): drawn((llama.cfg.d_model,))
        for kind in (Kind.RESID, Kind.MLP_OUT, Kind.ATTN_OUT, Kind.RESID_PRE)
    }
    found = preview(
        llama, PROMPT, Additive(tuple(vectors), tuple(vectors.values())), scope="all", sink=True
    )
    expected = (Kind.RESID_PRE, Kind.ATTN_OUT, Kind.MLP_OUT, Kind.RESID)
    assert tuple(site.kind for site in found.sites) == expected


def test_strength_zero_touches_no_token(llama: Any) -> None:
    found = preview(llama, PROMPT, push(llama).with_strength(0.0), scope="all", sink=True)
    assert found.relative.tolist() == [[0.0] * len(found.tokens)]
    assert "[" not in str(found)


def test_without_a_method_there_is_nothing_to_see(llama: Any) -> None:
    found = preview(llama, PROMPT)
    assert found.sites == ()
    assert found.relative.shape == (0, len(found.tokens))
    assert str(found) == ""


def test_a_preview_shows_the_steered_tokens_in_brackets(model: Any) -> None:
    method = push(model)
    found = preview(model, "The cat", method, continuation=" was", scope="generated")
    row = encode(model, "The cat", " was")
    assert found.tokens == tuple(token_texts(model, row.ids))
    shown = str(found)
    assert shown.startswith(f"{method.sites[0].hook_name}: ")
    tokens = shown.removeprefix(f"{method.sites[0].hook_name}: ").split("|")
    marked = [token.startswith("[") for token in tokens]
    assert marked == [i >= row.prompt_length for i in range(len(row.ids))]
    assert tokens[-1] == f"[{found.tokens[-1]} {found.relative[0, -1]:.2f}]"


def test_line_breaks_are_shown_as_such(llama: Any) -> None:
    shown = str(preview(llama, "a\nb", push(llama), scope="all", sink=True))
    assert "\n" not in shown
    assert r"\n" in shown


def test_a_preview_leaves_no_hook_and_no_gradient(model: Any) -> None:
    before = traces(model)
    found = preview(model, PROMPT, push(model), continuation=CONTINUATION)
    assert traces(model) == before
    assert not found.relative.requires_grad


def test_a_method_that_does_not_fit_is_refused_and_leaves_no_hook(llama: Any) -> None:
    before = traces(llama)
    with pytest.raises(ValueError, match="shape"):
        preview(llama, PROMPT, Additive((Site(0),), (drawn((7,)),)))
    assert traces(llama) == before


# What is read.


def marks(text: str) -> tuple[list[int], int]:
    """Positions in brackets, and where the continuation begins, from what a reading prints."""
    prompt, continuation = text.split(" >> ")
    tokens = prompt.split("|") + continuation.split("|")
    marked = [i for i, token in enumerate(tokens) if token.startswith("[")]
    return marked, len(prompt.split("|"))


@pytest.mark.parametrize("read", ["last", "mean", "prompt_last", 2, -2])
def test_a_reading_marks_the_tokens_that_are_read(
    model: Any, pairs: ContrastivePairs, read: Any
) -> None:
    for example, found in zip(
        pairs.desired, show_read_positions(model, pairs.desired, read), strict=True
    ):
        row = encode(model, example.prompt, example.continuation)
        length, prompt = len(row.ids), row.prompt_length
        expected = {
            "last": [length - 1],
            "mean": list(range(prompt, length)),
            "prompt_last": [prompt - 1],
            2: [2],
            -2: [length - 2],
        }[read]
        assert list(found.read) == expected
        assert found.prompt_length == prompt
        assert found.tokens == tuple(token_texts(model, row.ids))
        assert marks(str(found)) == (expected, prompt)


def test_the_tokens_of_a_reading_are_the_text(bridge: Any, pairs: ContrastivePairs) -> None:
    for example, found in zip(
        pairs.undesired, show_read_positions(bridge, pairs.undesired), strict=True
    ):
        start = int(bos_id(bridge) is not None)
        assert "".join(found.tokens[start:]) == f"{example.prompt}{example.continuation}"


def test_a_position_that_is_not_there_is_refused(llama: Any, pairs: ContrastivePairs) -> None:
    with pytest.raises(ValueError, match="read position 500: an example has only"):
        show_read_positions(llama, pairs.desired, 500)
