"""Training the embedded model: a few steps of it, its texts, its tokenizer, its command."""

import json
import random
from collections.abc import Iterator
from math import isclose, log
from pathlib import Path

import pytest
import torch

from lens_steer.organism import log_probability
from lens_steer.organism.genres import language
from lens_steer.organism.machine import END, draw, words_of
from lens_steer.organism.patterns import text_of, words_in
from lens_steer.organism.recipe import POOL, Recipe, batches, new_model, token_rows
from lens_steer.organism.tokenizer import BOS, PAD, UNKNOWN, make_tokenizer, vocabulary
from lens_steer.organism.train import main
from lens_steer.organism.training import HeldOut, loss_of, train

SMALL = {"d_model": 32, "n_layers": 2, "d_mlp": 48, "texts": 8, "warmup": 4}


def texts(n: int) -> list[list[str]]:
    source = random.Random(7)
    return [draw(language(), source) for _ in range(n)]


def test_each_word_is_one_token_and_text_comes_back() -> None:
    tokenizer = make_tokenizer(words_of(language()), 160)
    for words in texts(20):
        ids = tokenizer(text_of(words)).input_ids
        assert len(ids) == len(words) + 1
        assert ids[0] == tokenizer.bos_token_id
        assert tokenizer.decode(ids, skip_special_tokens=True) == text_of(words)
        assert tokenizer.unk_token_id not in ids
    assert tokenizer("a zebra", add_special_tokens=False).input_ids[1] == tokenizer.unk_token_id


def test_training_rows_are_what_the_tokenizer_gives() -> None:
    tokenizer, drawn = make_tokenizer(words_of(language()), 160), texts(20)
    for row, words in zip(token_rows(drawn), drawn, strict=True):
        assert row == [*tokenizer(text_of(words)).input_ids, tokenizer.eos_token_id]


def test_the_first_numbers_are_those_of_the_special_tokens() -> None:
    numbers = vocabulary({"b", "a", ","})
    assert [numbers[token] for token in (PAD, BOS, END, UNKNOWN)] == [0, 1, 2, 3]
    assert sorted(numbers.values()) == list(range(len(numbers)))


def test_batches_do_not_depend_on_where_one_starts() -> None:
    recipe = Recipe(3, steps=2 * POOL, texts=4)
    whole = list(batches(recipe, 0))
    assert len(whole) == 2 * POOL
    for first in (1, POOL, POOL + 3):
        for again, batch in zip(batches(recipe, first), whole[first:], strict=True):
            assert torch.equal(again, batch)
    other = next(batches(Recipe(4, steps=1, texts=4), 0))
    assert other.shape != whole[0].shape or not torch.equal(other, whole[0])


def test_the_loss_is_that_of_the_unpadded_rows() -> None:
    recipe = Recipe(0, **SMALL)
    model = new_model(recipe)
    rows = [torch.tensor(row) for row in token_rows(texts(3))]
    batch = torch.nn.utils.rnn.pad_sequence(rows, batch_first=True)
    total, count = 0.0, 0
    with torch.no_grad():
        for row in rows:
            chances = model(row[None, :-1]).logits[0].double().log_softmax(dim=-1)
            total -= chances[torch.arange(len(row) - 1), row[1:]].sum().item()
            count += len(row) - 1
        assert isclose(loss_of(model, batch).item(), total / count, rel_tol=1e-5)


def test_the_floor_is_the_grammars_own_loss_on_the_same_texts() -> None:
    held_out = HeldOut.make(12)
    source = random.Random("held-out texts")
    drawn = [text_of(draw(language(), source)) for _ in range(12)]
    total = -sum(log_probability(text) for text in drawn)
    assert isclose(held_out.floor, total / sum(len(words_in(text)) + 1 for text in drawn))
    uniform = new_model(Recipe(0, **SMALL))
    with torch.no_grad():
        for parameter in uniform.parameters():
            parameter.zero_()
    assert isclose(held_out.loss(uniform), log(len(vocabulary(words_of(language())))), rel_tol=1e-6)


def test_a_few_steps_bring_the_loss_down_and_write_everything(tmp_path: Path) -> None:
    train(Recipe(0, steps=30, peak=1e-2, **SMALL), tmp_path, every=10, held_out=16)
    written = json.loads((tmp_path / "weights" / "training.json").read_text())
    losses = [line["loss"] for line in written["log"]]
    assert [line["step"] for line in written["log"]] == [10, 20, 30]
    assert losses[2] < losses[0] < log(700)
    assert all(line["floor"] < line["loss"] for line in written["log"])
    assert written["recipe"]["seed"] == 0
    for name in ("config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"):
        assert (tmp_path / "weights" / name).is_file()


def test_going_on_after_an_interruption_gives_the_same_weights(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = Recipe(1, steps=8, **SMALL)
    whole = train(recipe, tmp_path / "whole", every=4, held_out=4)
    stopped = tmp_path / "stopped"
    with monkeypatch.context() as patch:
        patch.setattr("lens_steer.organism.training.batches", only_five)
        with pytest.raises(KeyboardInterrupt):
            train(recipe, stopped, every=4, held_out=4)
    resumed = train(recipe, stopped, every=4, held_out=4)
    for a, b in zip(whole.parameters(), resumed.parameters(), strict=True):
        assert torch.equal(a, b)
    assert not (stopped / "checkpoint.new").exists()


def only_five(recipe: Recipe, first: int) -> Iterator[torch.Tensor]:
    for step, batch in enumerate(batches(recipe, first)):
        if step == 5:
            raise KeyboardInterrupt
        yield batch


def test_a_checkpoint_of_another_recipe_is_refused(tmp_path: Path) -> None:
    train(Recipe(0, steps=2, **SMALL), tmp_path, every=2, held_out=4)
    with pytest.raises(ValueError, match="another recipe"):
        train(Recipe(1, steps=2, **SMALL), tmp_path, every=2, held_out=4)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--seed", "-1"], "--seed"),
        (["--seed", "0", "--steps", "0"], "--steps"),
        (["--seed", "0", "--every", "0"], "--every"),
        (["--seed", "x"], "--seed"),
        ([], "--seed"),
    ],
)
def test_misuse_ends_with_exit_code_2_and_nothing_written(
    arguments: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    with pytest.raises(SystemExit) as ended:
        main([*arguments, "--out", str(out)])
    assert ended.value.code == 2
    assert message in capsys.readouterr().err
    assert not out.exists()


def test_the_learning_rate_warms_up_and_falls_to_nothing() -> None:
    recipe = Recipe(0, steps=100, warmup=10, peak=1.0)
    rates = [recipe.rate(step) for step in range(101)]
    assert rates[0] == pytest.approx(0.1)
    assert max(rates) == pytest.approx(1.0) == rates[10]
    assert rates[100] == pytest.approx(0.0)
    assert rates[55] == pytest.approx(0.5)
