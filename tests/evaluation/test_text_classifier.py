import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from lens_steer.artifacts import load, save
from lens_steer.data import ContrastivePairs
from lens_steer.evaluation import ErrorRates, TextClassifier

GOOD, BAD = ("lovely", "charming", "bright", "warm"), ("dull", "dreary", "bleak", "stale")


def reviews(words: tuple[str, ...], n: int, *, seed: int, noise: float = 0.0) -> list[str]:
    """Texts with a planted word of one side; with probability `noise` of the other side."""
    source = np.random.default_rng(seed)
    other = BAD if words is GOOD else GOOD
    texts = []
    for i in range(n):
        side = other if source.random() < noise else words
        texts.append(f"film {i} of {source.integers(10**6)} is a {side[source.integers(4)]} one")
    return texts


@pytest.fixture(scope="module")
def judge() -> TextClassifier:
    return TextClassifier.fit(reviews(GOOD, 60, seed=0), reviews(BAD, 60, seed=1), seed=0)


def test_planted_words_are_found(judge: TextClassifier) -> None:
    assert (judge.errors.desired, judge.errors.undesired) == (12, 12)
    assert judge.errors.accuracy == 1
    texts = ["a lovely film", "such a DREARY\nfilm", "Warm!", "bleak"]
    assert judge(["p"] * 4, texts).tolist() == [1, 0, 1, 0]
    weights = dict(zip(judge.terms, judge.weights.tolist(), strict=True))
    assert min(weights[word] for word in GOOD) > 0 > max(weights[word] for word in BAD)
    assert judge([], []).shape == (0,)


def test_the_log_odds_are_those_of_the_formula(judge: TextClassifier) -> None:
    """TF-IDF by its definition: (1 + log count) times the idf, divided by the length."""
    weights = dict(zip(judge.terms, judge.weights.double().tolist(), strict=True))
    idf = dict(zip(judge.terms, judge.idf.double().tolist(), strict=True))
    words = ["lovely", "lovely", "dull", "film"]
    terms = [*words, *(f"{a} {b}" for a, b in zip(words, words[1:], strict=False))]
    known = {term: (1 + math.log(terms.count(term))) * idf[term] for term in terms if term in idf}
    length = math.sqrt(sum(x * x for x in known.values()))
    expected = judge.bias + sum(x / length * weights[term] for term, x in known.items())
    assert judge.log_odds(["Lovely lovely dull film"]).item() == pytest.approx(expected, rel=1e-5)
    assert judge.log_odds(["unheard"]).item() == pytest.approx(judge.bias, rel=1e-6)


def test_errors_are_counted_on_other_texts(judge: TextClassifier) -> None:
    """A tenth of the texts carry a word of the other side: so many are taken for the other."""
    tested = judge.tested(
        reviews(GOOD, 400, seed=5, noise=0.1), reviews(BAD, 400, seed=6, noise=0.1)
    )
    # Five standard errors of a share of .9 among 400.
    assert tested.errors.sensitivity == pytest.approx(0.9, abs=5 * math.sqrt(0.09 / 400))
    assert tested.errors.specificity == pytest.approx(0.9, abs=5 * math.sqrt(0.09 / 400))
    assert judge.errors.accuracy == 1  # as it was
    share = judge(["p"] * 800, reviews(GOOD, 600, seed=7, noise=0.1) + reviews(BAD, 200, seed=8))
    corrected = tested.corrected_rate(share, seed=0)
    assert corrected.low < corrected.mean < corrected.high


def test_the_same_seed_gives_the_same_classifier_and_it_is_saved(
    judge: TextClassifier, tmp_path: Path
) -> None:
    again = TextClassifier.fit(reviews(GOOD, 60, seed=0), reviews(BAD, 60, seed=1), seed=0)
    save(judge, tmp_path / "judge.safetensors")
    loaded = load(tmp_path / "judge.safetensors")
    for other in (again, loaded):
        assert isinstance(other, TextClassifier)
        assert other.terms == judge.terms
        assert torch.equal(other.weights, judge.weights)
        assert other.errors == judge.errors
    texts = reviews(GOOD, 20, seed=9)
    assert torch.equal(loaded.log_odds(texts), judge.log_odds(texts))
    assert "12 of 12 desired" in repr(loaded)


def test_alike_texts_are_held_out_together() -> None:
    """With every text there twice, none that is held out was fitted to: noise stays noise."""
    source = np.random.default_rng(0)
    noise = [" ".join(map(str, source.integers(10**6, size=6))) for _ in range(400)]
    twice = [
        [t for text in half for t in (text, text.upper())] for half in (noise[::2], noise[1::2])
    ]
    found = TextClassifier.fit(twice[0], twice[1], seed=0)
    assert found.errors.desired == 80
    assert found.errors.accuracy == pytest.approx(0.5, abs=5 * math.sqrt(0.25 / 80))


def test_a_text_on_both_sides_is_left_out_and_counted(judge: TextClassifier) -> None:
    both = "a lovely dull film"
    good, bad = reviews(GOOD, 60, seed=0), reviews(BAD, 60, seed=1)
    found = TextClassifier.fit([*good, both], [*bad, both.upper()], seed=0)
    assert found.left_out == 1
    assert found.terms == judge.terms
    assert "1 texts of both sides left out" in repr(found)


def test_a_rate_is_corrected_by_the_formula_of_rogan_and_gladen() -> None:
    """True share .3, sensitivity .8, specificity .9: .8 x .3 + .1 x .7 = .31 score 1."""
    errors = ErrorRates(80, 100, 90, 100)
    scores = torch.tensor([1.0] * 31 + [0.0] * 69)
    found = errors.corrected_rate(scores, seed=0)
    assert found.mean == pytest.approx(0.3)
    assert errors.accuracy == 0.85
    none = errors.corrected_rate(torch.zeros(50), seed=0)
    assert none.mean == pytest.approx(-0.1 / 0.7)  # below 0: not cut off
    assert none.low < none.mean < none.high


def test_the_interval_has_the_width_of_theory_and_covers() -> None:
    """First order: var(p) is (var(rate) + p^2 var(se) + (1 - p)^2 var(sp)) / (se + sp - 1)^2."""
    errors = ErrorRates(800, 1000, 900, 1000)
    scores = torch.tensor([1.0] * 310 + [0.0] * 690)
    found = errors.corrected_rate(scores, seed=1)
    parts = (0.31 * 0.69, 0.3**2 * 0.8 * 0.2, 0.7**2 * 0.9 * 0.1)
    width = 2 * 1.96 * math.sqrt(sum(part / 1000 for part in parts)) / 0.7
    assert found.high - found.low == pytest.approx(width, rel=0.05)
    exact = ErrorRates(10**7, 10**7, 10**7, 10**7).corrected_rate(scores, seed=1)
    assert exact.mean == pytest.approx(0.31)
    assert exact.high - exact.low == pytest.approx(2 * 1.96 * math.sqrt(parts[0] / 1000), rel=0.05)


def test_the_interval_covers_the_true_share_nineteen_times_in_twenty() -> None:
    source, covered = np.random.default_rng(0), 0
    for i in range(80):
        right = source.binomial(60, 0.85), source.binomial(60, 0.9)
        errors = ErrorRates(int(right[0]), 60, int(right[1]), 60)
        shows = source.random(80) < 0.4
        hits = np.where(shows, source.random(80) < 0.85, source.random(80) < 0.1)
        found = errors.corrected_rate(torch.tensor(hits).double(), seed=i)
        covered += found.low < 0.4 < found.high
    assert covered >= 80 * 0.95 - 3 * math.sqrt(80 * 0.95 * 0.05)


def test_whole_groups_are_drawn_again() -> None:
    errors, scores = ErrorRates(9, 10, 9, 10), torch.tensor([1.0, 1.0, 0.0, 0.0])
    alone = ErrorRates(10**6, 10**6, 10**6, 10**6).corrected_rate(scores.repeat(9), seed=0)
    grouped = ErrorRates(10**6, 10**6, 10**6, 10**6).corrected_rate(
        scores.repeat(9), [i // 2 for i in range(36)], seed=0
    )
    assert grouped.high - grouped.low > 1.2 * (alone.high - alone.low)
    one = errors.corrected_rate(scores, ["g"] * 4, seed=0)
    assert math.isnan(one.low)  # nothing to draw again


A = [f"good {i}" for i in range(10)]
B = [f"bad {i}" for i in range(10)]
BAD_CALLS: list[tuple[Any, str]] = [
    (lambda: TextClassifier.fit(A[:9], B, seed=0), "got 9 different desired_texts"),
    (lambda: TextClassifier.fit([*A[:9], "GOOD  8"], B, seed=0), "got 9 different desired_texts"),
    (lambda: TextClassifier.fit(A, [*B, "Good 3"], seed=0), "got 9 different desired_texts"),
    (lambda: TextClassifier.fit("good", B, seed=0), "desired_texts"),
    (lambda: ErrorRates(5, 4, 1, 1), "at most as many right"),
    (
        lambda: ErrorRates(5, 10, 5, 10).corrected_rate(torch.ones(3), seed=0),
        "no better than chance",
    ),
    (lambda: ErrorRates(9, 10, 9, 10).corrected_rate(torch.tensor([0.5]), seed=0), "1 or 0"),
    (lambda: ErrorRates(9, 10, 9, 10).corrected_rate(torch.zeros(0), seed=0), "at least one"),
    (lambda: ErrorRates(9, 10, 9, 10).corrected_rate(torch.ones(2), ["a"], seed=0), "1 groups"),
]


@pytest.mark.parametrize(("call", "words"), BAD_CALLS)
def test_what_cannot_be_fitted_or_corrected_is_refused(
    call: Any, words: str, untyped: None
) -> None:
    with pytest.raises(ValueError, match=words):
        call()


def test_pairs_in_place_of_texts_are_refused_with_how_to_get_their_texts() -> None:
    pairs: Any = ContrastivePairs.of([("a", " good", " bad")])
    with pytest.raises(ValueError, match=r"example\.continuation for example in pairs\.desired"):
        TextClassifier.fit(pairs, pairs, seed=0)
