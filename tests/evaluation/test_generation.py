"""What came out: the texts of `generate`, and the numbers of every token."""

from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

import lens_steer as ls
from lens_steer.evaluation import Generation, SampledText, evaluate, generation
from lens_steer.evaluation.edits import edit_sizes
from lens_steer.models import encode_prompt
from lens_steer.sites import Kind, Site
from lens_steer.steering import Additive, DecodeStep, Decoding, continuations_of_each
from tests.interventions import PROMPTS, Prepared, Scale, drawn, manual_hook, push, watched
from tests.oracles_evaluation import divergence, log_softmax, raw_logits

NEW = 6
GREEDY: dict[str, Any] = {"temperature": 0.0, "max_new_tokens": NEW}
SAMPLED: dict[str, Any] = {"seed": 0, "max_new_tokens": NEW}
# Float32 logits of order 10 from batches of other shapes: of log-probabilities, absolute.
ROUNDING = 1e-4
NATS = 2e-5
# Float32 activations of order 1 to 10, in norms and ratios.
RELATIVE = 1e-4


def sampled_texts(run: Generation, model: Any) -> list[SampledText]:
    """The texts of a run, with their prompts tokenised anew."""
    found = []
    for row, prompt in zip(run.rows, run.prompts, strict=True):
        start, ended = encode_prompt(model, prompt), row.stop_reason == "end of text"
        ids = row.token_ids.tolist()
        found.append(SampledText((*start, *(ids[:-1] if ended else ids)), len(start), ended=ended))
    return found


def by_hand(model: Any, text: SampledText, vector: Tensor | None = None) -> np.ndarray[Any, Any]:
    """Float64 logits at every draw; a vector is added by a hook written without lens_steer."""
    where = torch.zeros(1, len(text.ids), dtype=torch.bool)
    where[0, text.prompt_length - 1 :] = True
    hooks = [] if vector is None else [(Site(1).hook_name, manual_hook(vector, where))]
    first = text.prompt_length - 1
    return raw_logits(model, text.ids, fwd_hooks=hooks)[first : first + text.draws]


def test_texts_are_those_of_generate_and_numbers_those_of_a_loop_by_hand(model: Any) -> None:
    method = push(model, size=1.5)
    for how in (GREEDY, SAMPLED):
        run = generation(model, PROMPTS, method, **how)
        assert list(run.texts) == ls.generate(model, PROMPTS, method, **how)
        assert run.prompts == PROMPTS
        for row, text in zip(run.rows, sampled_texts(run, model), strict=True):
            steered, clean = by_hand(model, text, method.vectors[0]), by_hand(model, text)
            at = np.arange(len(row.token_ids)), row.token_ids.numpy()
            np.testing.assert_allclose(row.log_probs, log_softmax(steered)[at], atol=ROUNDING)
            np.testing.assert_allclose(row.clean_log_probs, log_softmax(clean)[at], atol=ROUNDING)
            nats = divergence(steered, clean)
            np.testing.assert_allclose(row.nats, nats, atol=NATS, rtol=1e-5)
        assert min(nats.min() for nats in run.nats) > 1e-3


@pytest.mark.parametrize("scope", ["last", "prompt", "generated", "all", (1, 5)])
def test_numbers_are_of_the_distribution_that_tokens_were_drawn_from(
    llama: Any, scope: Any
) -> None:
    methods = push(llama, size=1.5), Scale(site=Site(2))
    decoding = Decoding(seed=0, max_new_tokens=NEW, scope=scope)
    steps: list[DecodeStep] = []
    rows = [encode_prompt(llama, prompt) for prompt in PROMPTS]
    continuations_of_each(llama, rows, [methods], decoding, on_step=steps.append)
    run = generation(llama, PROMPTS, *methods, decoding=decoding)
    for k, step in enumerate(steps):
        for i, ours, theirs, token in zip(
            step.text_index.tolist(), step.steered, step.clean, step.tokens, strict=True
        ):
            assert run[i].token_ids[k] == token
            ours, theirs = ours.double().log_softmax(0), theirs.double().log_softmax(0)
            assert run[i].log_probs[k].item() == pytest.approx(ours[token].item(), abs=ROUNDING)
            assert run[i].clean_log_probs[k].item() == pytest.approx(
                theirs[token].item(), abs=ROUNDING
            )
            nats = torch.nn.functional.kl_div(theirs, ours, log_target=True, reduction="sum")
            assert run[i].nats[k].item() == pytest.approx(nats.item(), abs=NATS, rel=1e-4)


@pytest.mark.parametrize("architecture", ["gpt2", "gemma3"])
def test_without_steering_nothing_is_paid_and_nothing_added(load: Any, architecture: str) -> None:
    model = load(architecture)
    for methods in ((), (push(model).with_strength(0.0),)):
        run = generation(model, PROMPTS, *methods, **SAMPLED)
        assert list(run.texts) == ls.generate(model, PROMPTS, **SAMPLED)
        for row in run.rows:
            assert row.nats.tolist() == [0] * len(row.tokens)
            assert torch.equal(row.log_probs, row.clean_log_probs)
            assert not row.edit_sizes.any()
        assert run.nats_per_token == 0


def test_nats_per_token_are_those_of_an_evaluation(llama: Any, pairs: Any) -> None:
    method, judge = push(llama, size=1.5), ls.WordList(("a",))
    run = generation(llama, pairs.prompts, method, **SAMPLED)
    trial = evaluate(llama, pairs, method, judge=judge, **SAMPLED)
    assert trial.texts == run.texts
    assert run.nats_per_token == pytest.approx(trial.kl, rel=1e-4)
    assert trial.text_costs is not None
    for nats, kl in zip(run.nats, trial.text_costs.kl, strict=True):
        assert nats.sum().item() == pytest.approx(kl.item(), rel=1e-4, abs=NATS)


def test_edits_are_counted_as_in_relative_norm(bridge: Any) -> None:
    heads = drawn((bridge.cfg.n_heads, bridge.cfg.d_head), seed=4)
    method = Additive((Site(1), Site(3, Kind.HEAD)), (drawn((bridge.cfg.d_model,)), heads))
    run = generation(bridge, PROMPTS, method, **SAMPLED)
    texts = sampled_texts(run, bridge)
    [sizes] = edit_sizes(bridge, texts, [(method,)])
    for i, (row, text) in enumerate(zip(run.rows, texts, strict=True)):
        of_text = sizes.relative[sizes.text_index == i]  # from the last token of the prompt on
        assert torch.allclose(row.edit_sizes, of_text[: text.draws], rtol=RELATIVE)
        resid = watched(bridge, Site(1), partial(raw_logits, bridge, text.ids))[0]
        at = slice(text.prompt_length - 1, text.prompt_length - 1 + text.draws)
        expected = method.vectors[0].norm() / resid[at].norm(dim=1)
        assert torch.allclose(row.edit_sizes[:, 0], expected, rtol=RELATIVE)
    assert run.sites == (Site(1), Site(3, Kind.HEAD))


def test_a_method_made_ready_by_a_clean_pass_is_measured_in_the_steered_one(llama: Any) -> None:
    row = generation(llama, PROMPTS[:1], Prepared(), **GREEDY)[0]
    ids = encode_prompt(llama, PROMPTS[0])
    last = Site(llama.cfg.n_layers - 1)
    mean = watched(llama, last, lambda: raw_logits(llama, ids))[0].mean(dim=0)
    whole = [*ids, *row.token_ids.tolist()]
    resid = watched(llama, Site(1), lambda: raw_logits(llama, whole))[0]
    expected = mean.norm() / resid[len(ids) - 1 : -1].norm(dim=1)
    assert torch.allclose(row.edit_sizes[:, 0], expected, rtol=RELATIVE)


def test_a_scope_that_does_not_steer_a_position_leaves_its_edit_at_zero(llama: Any) -> None:
    run = generation(llama, PROMPTS, push(llama), scope="generated", **SAMPLED)
    for sizes in run.edit_sizes:
        assert sizes[0].item() == 0
        assert (sizes[1:] > 0).all()


def test_projections_are_on_unit_directions_behind_the_edits(llama: Any) -> None:
    method, direction = push(llama, size=1.5), drawn((llama.cfg.d_model,), seed=9)
    run = generation(llama, PROMPTS, method, directions={2: direction, 1: 3 * direction}, **SAMPLED)
    assert run.layers == (1, 2)
    unit = direction / direction.norm()
    for row, text in zip(run.rows, sampled_texts(run, llama), strict=True):
        where = torch.zeros(1, len(text.ids), dtype=torch.bool)
        where[0, text.prompt_length - 1 :] = True
        hook = [(Site(1).hook_name, manual_hook(method.vectors[0], where))]
        at = slice(text.prompt_length - 1, text.prompt_length - 1 + text.draws)
        for hooks, found in (([], row.clean_projections), (hook, row.projections)):
            resid = watched(llama, Site(2), partial(raw_logits, llama, text.ids, fwd_hooks=hooks))
            assert torch.allclose(found[:, 1], resid[0, at] @ unit, rtol=1e-3, atol=1e-3)
        added = (method.vectors[0] @ unit).expand(text.draws)
        change = row.projections[:, 0] - row.clean_projections[:, 0]
        assert torch.allclose(change, added, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("architecture", ["gpt2", "gemma3"])
def test_numbers_do_not_depend_on_the_batch(load: Any, architecture: str) -> None:
    model = load(architecture)
    method = push(model, size=1.5)
    together = generation(model, PROMPTS, method, **SAMPLED)
    split = generation(model, PROMPTS, method, token_budget=1, **SAMPLED)
    assert split.texts == together.texts
    for i, prompt in enumerate(PROMPTS):
        [alone] = generation(model, [prompt], method, first_row=i, **SAMPLED).rows
        assert torch.equal(alone.token_ids, together[i].token_ids)
        assert torch.allclose(alone.log_probs, together[i].log_probs, atol=ROUNDING)
        assert torch.allclose(alone.nats, together[i].nats, atol=NATS, rtol=1e-4)
        assert torch.allclose(alone.edit_sizes, together[i].edit_sizes, rtol=RELATIVE)


@pytest.mark.parametrize(
    "how",
    [
        {"repetition_penalty": 1.5, "no_repeat_ngram": 2, "temperature": 0.7},
        {"top_k": 3, "temperature": 2.0},
        {"top_p": 0.5},
    ],
)
def test_decoding_changes_what_is_drawn_and_not_the_probabilities(
    llama: Any, how: dict[str, Any]
) -> None:
    method = push(llama, size=1.5)
    run = generation(llama, PROMPTS, method, **SAMPLED, **how)
    assert list(run.texts) == ls.generate(llama, PROMPTS, method, **SAMPLED, **how)
    for row, text in zip(run.rows, sampled_texts(run, llama), strict=True):
        steered = log_softmax(by_hand(llama, text, method.vectors[0]))
        at = np.arange(len(row.token_ids)), row.token_ids.numpy()
        np.testing.assert_allclose(row.log_probs, steered[at], atol=ROUNDING)


def test_saved_and_loaded_it_is_the_same(llama: Any, tmp_path: Path) -> None:
    run = generation(
        llama, PROMPTS, push(llama), directions={0: torch.ones(llama.cfg.d_model)}, **SAMPLED
    )
    ls.save(run, tmp_path / "run.safetensors")
    loaded = ls.load(tmp_path / "run.safetensors")
    assert (loaded.texts, loaded.sites, loaded.decoding) == (run.texts, run.sites, run.decoding)
    assert loaded.table().equals(run.table())
    assert repr(loaded) == repr(run)
    ls.save(loaded, tmp_path / "again.safetensors")
    first, again = ((tmp_path / f"{name}.safetensors").read_bytes() for name in ("run", "again"))
    assert first == again
