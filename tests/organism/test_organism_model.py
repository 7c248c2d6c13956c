"""The embedded weights: loaded on both backends, checked by hash, and what they do."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

import lens_steer as ls
from lens_steer import organism
from lens_steer.evaluation import evaluate
from lens_steer.models import attach
from lens_steer.organism import stored_weights as _weights
from tests.conftest import BACKENDS

SENTIMENT = "organism:sentiment"


@pytest.fixture(scope="module")
def parts() -> tuple[ls.ContrastivePairs, ...]:
    return ls.ContrastivePairs.load(SENTIMENT).split(0.4, 0.25, 0.35, seed=0)


@pytest.mark.parametrize("backend", BACKENDS)
def test_both_model_classes_hold_it(backend: Any, embedded: Any) -> None:
    other = ls.load_model("organism", backend=backend, device="cpu")
    tokens = embedded.to_tokens("a review of the film. what a good one.")
    torch.testing.assert_close(other(tokens), embedded(tokens), rtol=1e-4, atol=1e-4)
    found = attach(other).fingerprint
    assert (found.n_layers, found.d_model, found.processed) == (6, 128, False)


def test_its_size_is_what_was_promised() -> None:
    assert sum(path.stat().st_size for path in _weights.FOLDER.iterdir()) < 8e6


def test_the_log_says_how_far_the_loss_is_from_the_floor() -> None:
    last = json.loads((_weights.FOLDER / "training.json").read_text())["log"][-1]
    assert 0 < last["loss"] - last["floor"] < 0.02


def test_it_predicts_words_nearly_as_the_grammar_does(embedded: Any) -> None:
    rows = organism.rows("sentiment")[::12]
    gaps = []
    for prompt, desired, *_ in rows:
        exact = organism.next_words(prompt + desired)
        logits = embedded(embedded.to_tokens(prompt + desired))[0, -1]
        chances = logits.double().softmax(dim=-1)
        ids = {word: token_of(embedded, word) for word in exact}
        gaps.append(
            sum(p * (torch.tensor(p).log() - chances[ids[w]].log()) for w, p in exact.items())
        )
    assert 0 <= sum(gaps) / len(gaps) < 0.1  # nats, KL(grammar || model)


def token_of(model: Any, word: str) -> int:
    token = word if word in ("</s>", ".", ",") else "\u2581" + word
    return model.tokenizer.convert_tokens_to_ids(token)


def test_its_own_texts_are_well_formed(embedded: Any, parts: Any) -> None:
    found = evaluate(
        embedded,
        parts[2],
        judge=organism.judge("sentiment"),
        seed=1,
        max_new_tokens=organism.LONGEST,
    )
    assert found.well_formed is not None
    assert found.well_formed.float().mean() > 0.9
    assert 0.3 < found.behaviour.mean() < 0.7


def test_adding_the_sentiment_vector_makes_reviews_positive(embedded: Any, parts: Any) -> None:
    train, _, test = parts
    method = ls.CAA.fit(ls.capture(embedded, train, read="mean", progress=False).at(layer=3))
    few = ls.ContrastivePairs(test.desired[:24], test.undesired[:24], name=test.name)
    length = ls.capture(embedded, few, read="mean", progress=False).at(3).undesired.norm(dim=-1)
    size = float(length.median() / method.vectors[0].norm())
    judge = organism.judge("sentiment")
    shares = [
        evaluate(
            embedded,
            few,
            method.with_strength(k * size),
            judge=judge,
            seed=0,
            max_new_tokens=organism.LONGEST,
        )
        for k in (-1.2, 0.0, 1.2)
    ]
    down, none, up = (found.behaviour.mean().item() for found in shares)
    assert down < none - 0.2
    assert up > none + 0.2


def test_altered_cut_and_missing_weights_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "weights"
    shutil.copytree(_weights.FOLDER, folder)
    monkeypatch.setattr(_weights, "FOLDER", folder)
    assert organism.weights() == folder
    path = folder / "model.safetensors"
    whole = path.read_bytes()
    for broken in (whole[:-100], whole[:-1] + bytes([whole[-1] ^ 1]), None):
        path.unlink() if broken is None else path.write_bytes(broken)
        with pytest.raises(ValueError, match="install lens-steer again"):
            ls.load_model("organism")


def test_without_its_hashes_it_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_weights, "HASHES", _weights.FOLDER / "nowhere.json")
    with pytest.raises(ValueError, match="install lens-steer again"):
        ls.load_model("organism")


def test_every_file_of_the_model_is_covered_by_a_hash() -> None:
    hashes = json.loads(_weights.HASHES.read_text())
    assert set(hashes) == {path.name for path in _weights.FOLDER.iterdir()}
