"""The model's own `forward` and `generate` inside a block: of texts, in parts, left half-way."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from torch import Tensor

import lens_steer as ls
from tests.conftest import BACKENDS, Loader
from tests.interventions import PROMPTS, push, traces

SHORT, LONG = PROMPTS[0], PROMPTS[2]
ROUNDING: dict[str, Any] = {"rtol": 1e-4, "atol": 1e-4}
SCOPES = ("last", "prompt", "all", (1, 2))


@pytest.fixture(params=BACKENDS)
def either(request: pytest.FixtureRequest, load: Loader) -> Any:
    return load("llama", request.param)


ROUTES: dict[str, Callable[[Any, Any], Tensor]] = {
    "call": lambda model, texts: model(texts),
    "named": lambda model, texts: model(input=texts, return_type="logits"),
    "run_with_cache": lambda model, texts: model.run_with_cache(texts)[0],
    "run_with_hooks": lambda model, texts: model.run_with_hooks(texts, fwd_hooks=[]),
    "no BOS": lambda model, texts: model(texts, prepend_bos=False),
    "left": lambda model, texts: model(texts, padding_side="left"),
}


@pytest.mark.parametrize("route", ROUTES)
@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("architecture", ["llama", "gpt2"])
def test_texts_of_different_lengths_are_each_steered_as_alone(
    load: Loader, architecture: str, backend: str, route: str
) -> None:
    model = load(architecture, backend)
    method, logits = push(model, size=3.0), ROUTES[route]
    before = traces(model)
    for scope in SCOPES:
        with torch.no_grad(), ls.steered(model, method, scope=scope):
            together = logits(model, [SHORT, LONG])
            alone = [logits(model, [text]) for text in (SHORT, LONG)]
        for row, own in zip(together, alone, strict=True):
            real = row[-own.shape[1] :] if route == "left" else row[: own.shape[1]]
            torch.testing.assert_close(real, own[0], **ROUNDING)
        with torch.no_grad():
            assert not torch.allclose(logits(model, [LONG]), alone[1], atol=1e-2)
    assert traces(model) == before


def test_the_loss_of_texts_of_different_lengths_is_that_of_their_tokens_and_mask(
    either: Any,
) -> None:
    tokens = either.to_tokens([SHORT, LONG])
    mask = torch.ones_like(tokens)
    mask[0, either.to_tokens(SHORT).shape[1] :] = 0
    with torch.no_grad(), ls.steered(either, push(either, size=3.0)):
        texts = either([SHORT, LONG], return_type="loss")
        by_hand = either(tokens, return_type="loss", attention_mask=mask)
    torch.testing.assert_close(texts, by_hand, **ROUNDING)


# ---- generate ----


def test_a_stream_left_open_is_no_part_of_what_runs_between_its_tokens(either: Any) -> None:
    if not hasattr(either, "generate_stream"):
        pytest.skip("this model has no generate_stream")
    method, settings = push(either, size=3.0), {"max_new_tokens": 6, "max_tokens_per_yield": 1}
    settings |= {"do_sample": False, "stop_at_eos": False}
    short, long = either.to_tokens(SHORT), either.to_tokens(LONG)
    with torch.no_grad(), ls.steered(either, method, scope="prompt"):
        undisturbed = list(either.generate_stream(short, verbose=False, **settings))
        alone = either(long)
        stream = either.generate_stream(short, verbose=False, **settings)
        disturbed = [next(stream)]
        for token in stream:
            assert torch.equal(either(long), alone)
            disturbed.append(token)
        left_open = either.generate_stream(short, verbose=False, **settings)
        next(left_open)
        assert torch.equal(either(long), alone)
    assert len(disturbed) == len(undisturbed) > 1
    for one, other in zip(disturbed, undisturbed, strict=True):
        assert torch.equal(one, other)
    with pytest.raises(ValueError, match="the block that steers this stream has ended"):
        next(left_open)


OTHERWISE = {
    "in chunks": {"prefill_chunk_size": 4},
    "with a draft": {"prompt_lookup_num_tokens": 3},
}


@pytest.mark.parametrize("way", OTHERWISE)
def test_a_prompt_that_is_not_read_alone_needs_to_be_measured(bridge: Any, way: str) -> None:
    """Parts of the prompt, or several candidates for what follows it, are read in one pass."""
    tokens = bridge.to_tokens("the cat and the cat and the dog and the cat")
    method, settings = push(bridge, size=1.0), {"max_new_tokens": 12, "do_sample": False}
    for generate in (bridge.hf_generate, bridge.original_model.generate):
        with ls.steered(bridge, method), pytest.raises(ValueError, match="prompt_lengths"):
            getattr(generate.__self__, generate.__name__)(tokens, **settings, **OTHERWISE[way])
    lengths = [tokens.shape[1]]
    for scope in ("last", "prompt", "generated"):
        with ls.steered(bridge, method, scope=scope, sink=True, prompt_lengths=lengths):
            plain = bridge.hf_generate(tokens, **settings)
            otherwise = bridge.hf_generate(tokens, **settings, **OTHERWISE[way])
        assert plain.tolist() == otherwise.tolist()
    with ls.steered(bridge, method, scope="prompt", prompt_lengths=lengths):
        if way == "in chunks":  # the sinks of a prompt are found by reading it whole
            with pytest.raises(ValueError, match="got a part of the prompt"):
                bridge.hf_generate(tokens, **settings, **OTHERWISE[way])
        else:
            plain = bridge.hf_generate(tokens, **settings)
            otherwise = bridge.hf_generate(tokens, **settings, **OTHERWISE[way])
            assert plain.tolist() == otherwise.tolist()


# ---- beyond the row ----


def test_lengths_and_positions_beyond_the_row_are_refused(either: Any) -> None:
    method, tokens = push(either), either.to_tokens([SHORT, LONG])
    width = tokens.shape[1]
    with (
        ls.steered(either, method, prompt_lengths=[2, width + 1]),
        pytest.raises(ValueError, match=rf"row 1 has a prompt of {width + 1} tokens, but it has"),
    ):
        either(tokens)
    with (
        ls.steered(either, method, prompt_lengths=[width + 1, 2]),
        pytest.raises(ValueError, match="row 0 has a prompt of"),
    ):
        either.generate(tokens, max_new_tokens=2, do_sample=False, verbose=False)
    with (
        ls.steered(either, method, scope=(width, width + 7)),
        pytest.raises(ValueError, match=rf"steers nothing: the longest row has {width} tokens"),
    ):
        either(tokens)
    with pytest.raises(ValueError, match="steers nothing"):
        ls.generate(either, [SHORT], method, scope=(500,), temperature=0, max_new_tokens=3)
    ls.generate(either, [SHORT], method, scope=(width,), temperature=0, max_new_tokens=width)


@dataclass(frozen=True, eq=False, repr=False)
class Careless(ls.Intervention):
    """A user's method whose edit returns whatever `made` makes of the activations."""

    made: Any = None

    @property
    def sites(self) -> tuple[ls.Site, ...]:
        return (ls.Site(1),)

    def edits(self, model: Any) -> dict[ls.Site, Any]:
        del model
        return {ls.Site(1): self.made}


@pytest.mark.usefixtures("untyped")
@pytest.mark.parametrize("scope", ["last", "all"])
@pytest.mark.parametrize(
    "made", [lambda _: torch.ones(1), lambda x: x[:, :1], lambda x: x[:1], lambda _: None]
)
def test_an_edit_of_another_shape_is_refused(llama: Any, made: Any, scope: Any) -> None:
    """Not spread over positions or dimensions, as PyTorch would."""
    with (
        pytest.raises(ValueError, match="an edit returned .* expected a tensor of that shape"),
        ls.steered(llama, Careless(made=made), scope=scope),
    ):
        llama(["The cat", "A dog sat"])
