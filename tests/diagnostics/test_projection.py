"""Projections of every token on a direction: against activations read by hand, and as shown."""

import re
from pathlib import Path
from typing import Any

import pytest
import torch

import lens_steer as ls
from lens_steer.models import encode_prompt, token_texts
from lens_steer.sites import Site
from tests.interventions import push

TEXTS = ("The cat <sat> in the sun & slept.", "A dog ran to the park.")


def test_values_are_projections_of_the_cached_stream(gpt2: Any) -> None:
    direction = torch.randn(gpt2.cfg.d_model, generator=torch.Generator().manual_seed(0))
    found = ls.project(gpt2, TEXTS, {2: direction, 0: 3 * direction})
    assert found.layers == (0, 2)
    for text, tokens, values in zip(TEXTS, found.tokens, found.values, strict=True):
        ids = encode_prompt(gpt2, text)
        assert list(tokens) == token_texts(gpt2, ids)
        _, cache = gpt2.run_with_cache(torch.tensor([ids]))
        for k, layer in enumerate(found.layers):
            x = cache[Site(layer).hook_name][0].double()
            wanted = x @ direction.double() / direction.double().norm()
            known = ~values[k].isnan()
            assert torch.allclose(values[k][known].double(), wanted[known], atol=1e-4)
            assert bool(known[1:].any())
            assert not bool(known[0])  # the first token is a sink


def test_what_is_shown_is_in_standard_deviations_and_escaped(gpt2: Any, tmp_path: Path) -> None:
    direction = torch.ones(gpt2.cfg.d_model)
    found = ls.project(gpt2, TEXTS, {1: direction})
    every = torch.cat(found.standardised, dim=1)
    known = every[~every.isnan()]
    assert float(known.mean()) == pytest.approx(0, abs=1e-5)
    assert float(known.square().mean()) == pytest.approx(1, abs=1e-4)
    table = found.table()
    assert len(table) == sum(map(len, found.tokens))
    assert set(table.columns) >= {"text", "token", "layer", "projection", "standardised"}
    shown = found.html()
    assert "<sat>" not in shown
    assert "&lt;" in shown
    assert re.sub(r"\x1b\[[0-9;]*m", "", found.colored()).splitlines() == [
        f"layer 1  {''.join(tokens)}" for tokens in found.tokens
    ]
    assert found.figure().axes[0].get_ylabel() == "layer (output of the block)"
    ls.save(found, tmp_path / "found.safetensors")
    assert ls.load(tmp_path / "found.safetensors").table().equals(table)
    page = ls.report({"Where it is": found}, tmp_path / "page.html").read_text(encoding="utf-8")
    assert "layer 1" in page


def test_wrong_directions_and_texts_are_refused(gpt2: Any, untyped: None) -> None:
    d = gpt2.cfg.d_model
    for directions, said in (
        ({}, "expected both"),
        ({1: torch.ones(d + 1)}, rf"expected \[{d}\], finite and above 0"),
        ({1: torch.zeros(d)}, "above 0"),
        ({1: torch.full((d,), torch.inf)}, "finite and above 0"),
        ({9: torch.ones(d)}, "at a layer from 0 to 3"),
    ):
        with pytest.raises(ValueError, match=said):
            ls.project(gpt2, TEXTS, directions)
    with pytest.raises(ValueError, match="expected"):
        ls.project(gpt2, [], {1: torch.ones(d)})
    with pytest.raises(ValueError, match="has no token"):
        ls.project(gpt2, [""], {1: torch.ones(d)})
    with pytest.raises(ValueError, match="got text 2, expected 0 to 1"):
        ls.project(gpt2, TEXTS, {1: torch.ones(d)}).figure(2)
    with ls.steered(gpt2, push(gpt2)), pytest.raises(ValueError, match="is being steered"):
        ls.project(gpt2, TEXTS, {1: torch.ones(d)})
