"""What follows an activation: the model itself, norm and cap by hand, a planted row."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

import lens_steer as ls
from lens_steer.diagnostics import activation_vocabulary
from lens_steer.models import encode_prompt, reading
from lens_steer.models import forward as run
from lens_steer.sites import Site
from tests.conftest import BACKENDS, Loader
from tests.diagnostics.test_vocabulary import by_hand
from tests.interventions import push

TEXT = "The cat sat in the sun and looked at the old house."
EXACT = 1e-4  # nats; logits are float32


def streams(model: Any, layer: int) -> tuple[Tensor, Tensor]:
    """The tokens of a text, and what leaves a block at each."""
    tokens = torch.tensor([encode_prompt(model, TEXT)])
    with torch.no_grad(), reading(model, {Site(layer): lambda x: x[0]}) as kept:
        run(model, tokens)
    return tokens, kept[Site(layer)]


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("architecture", ["gpt2", "llama", "gemma2", "neox"])
def test_behind_the_last_block_it_is_what_the_model_predicts(
    architecture: str, backend: str, load: Loader
) -> None:
    model = load(architecture, backend)
    tokens, last = streams(model, model.cfg.n_layers - 1)
    found = activation_vocabulary(model, last)
    with torch.no_grad():
        wanted = model(tokens)[0].double().log_softmax(dim=-1)
    assert torch.allclose(found.log_probs.double(), wanted, atol=EXACT, rtol=0)
    alone = activation_vocabulary(model, last[3])
    assert alone.log_probs.shape == (1, len(found.tokens))
    assert torch.allclose(alone.log_probs[0], found.log_probs[3], atol=EXACT)


@pytest.mark.parametrize("architecture", ["gpt2", "llama", "gemma2"])
def test_between_blocks_it_is_the_final_norm_unembedding_and_cap(
    architecture: str, load: Loader
) -> None:
    model = load(architecture)
    _, stream = streams(model, 1)
    with torch.no_grad():
        wanted = by_hand(architecture, model, stream)
    found = activation_vocabulary(model, stream)
    assert torch.allclose(found.log_probs.double(), wanted, atol=EXACT, rtol=0)
    entropies = -(wanted.exp() * wanted).sum(dim=1)
    assert torch.allclose(found.entropy.double(), entropies, atol=1e-4)
    assert found.top(3) == [
        [model.tokenizer.decode([i]) for i in row] for row in wanted.topk(3).indices.tolist()
    ]


def test_a_row_of_the_unembedding_is_followed_by_its_token(llama: Any) -> None:
    rows = llama.W_U.detach().float().T
    token = int(rows.norm(dim=-1).argmax())
    gain = llama.original_model.model.norm.weight.detach()
    said = activation_vocabulary(llama, rows[token] / gain)
    assert said.top(1) == [[llama.tokenizer.decode([token])]]
    longer = activation_vocabulary(llama, 50 * rows[token] / gain)  # the norm takes lengths away
    assert torch.allclose(longer.log_probs, said.log_probs, atol=EXACT)


def test_it_prints_draws_and_is_saved(llama: Any, tmp_path: Path) -> None:
    _, stream = streams(llama, 2)
    names = [f"${i}" for i in range(len(stream))]
    found = activation_vocabulary(llama, stream, names)
    lines = repr(found).splitlines()
    assert lines[0].startswith("next tokens of activations")
    assert lines[1].startswith(" $0  ")
    assert len(lines) == 18
    assert lines[9] == f"... {len(stream) - 16} more activations"
    assert lines[-1].startswith(names[-1] + "  ")
    assert repr(activation_vocabulary(llama, stream[0])).splitlines()[1].startswith("0  ")
    table = found.table()
    assert len(table) == 10 * len(stream)
    first = table[table["activation"] == "$0"]
    assert first["token"].tolist() == found.top(10)[0]
    assert first["log_prob_nats"].tolist() == sorted(first["log_prob_nats"], reverse=True)
    axes = found.figure(3).axes[0]
    assert [label.get_text() for label in axes.get_yticklabels()][:2] == [r"\$0", r"\$1"]
    assert len(axes.texts) == 3 * min(60, len(stream))
    ls.save(found, tmp_path / "said.safetensors")
    assert ls.load(tmp_path / "said.safetensors").table().equals(table)


def test_what_is_no_activation_is_refused(llama: Any, untyped: None) -> None:
    d = llama.cfg.d_model
    wrong: list[tuple[Any, Any, str]] = [
        (torch.ones(d + 1), None, rf"got activations of shape \[{d + 1}\], expected \[{d}\]"),
        (torch.ones(0, d), None, "one at least"),
        (torch.full((2, d), torch.nan), None, "a NaN or an infinity in row 0 of the activations"),
        (torch.ones(2, d), ["a"], "got 1 names for 2 activations"),
        (torch.ones(1, 2, d), None, "expected"),
        ([1.0] * d, None, "expected"),
        (torch.ones(d), "name", "expected"),
    ]
    for activations, names, said in wrong:
        with pytest.raises(ValueError, match=said):
            activation_vocabulary(llama, activations, names)
    with ls.steered(llama, push(llama)), pytest.raises(ValueError, match="is being steered"):
        activation_vocabulary(llama, torch.ones(d))
