"""A judge fitted to texts of either kind, whose errors are measured and corrected for."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from lens_steer.arguments import CountFromZero, Seed, Texts
from lens_steer.artifacts import savable
from lens_steer.evaluation.error_rates import ErrorRates
from lens_steer.evaluation.words import comparable
from lens_steer.intervals import Interval

_HELD_OUT = 5  # one text in five is held out


@savable
@dataclass(frozen=True, eq=False, repr=False)
class TextClassifier:
    """Scores 1 where a text is more like the desired than like the undesired ones, else 0.

    It is a logistic regression on TF-IDF weights of words and word pairs (scikit-learn), made by
    `fit`. It knows words, not what they mean in a sentence, and it errs: `errors` says how often on
    texts it was not fitted to, and `corrected_rate` allows for it. On texts of another kind than
    those it errs more often than that; test it on some with `tested`.

    Attributes:
        terms: The words and pairs of words that count, in the order of the weights.
        idf: The inverse document frequency of each, as scikit-learn smooths it.
        weights: The coefficient of each; positive speaks for desired.
        bias: The intercept, in nats of log-odds.
        errors: How it fares on texts that were held out, or those given to `tested`.
        left_out: How many texts were on both sides, which distinguish nothing: they were left out.

    Example:
        >>> judge = TextClassifier.fit(positive_reviews, negative_reviews, seed=0)
        >>> judge.errors.accuracy, judge.errors.sensitivity, judge.errors.specificity
        >>> trial = ls.evaluate(model, test, method, judge=judge, seed=0)
        >>> judge.corrected_rate(trial.behaviour, trial.groups, seed=0)
    """

    terms: tuple[str, ...]
    idf: Float[Tensor, " term"]
    weights: Float[Tensor, " term"]
    bias: float
    errors: ErrorRates
    left_out: CountFromZero = 0

    @classmethod
    def fit(cls, desired_texts: Texts, undesired_texts: Texts, *, seed: Seed) -> "TextClassifier":
        """Fit to texts of either kind; one in five is held out to count the errors on.

        Texts that are alike but for case and white space are held out together. Texts that share
        long phrases are not: where yours do, count the errors on others with `tested`. Both kinds
        weigh the same however many texts there are of each.

        Args:
            desired_texts: At least 10 different ones.
            undesired_texts: At least 10 different ones.
            seed: Of which texts are held out.

        Raises:
            ValueError: If there are fewer texts.

        Example:
            >>> TextClassifier.fit(positive_reviews, negative_reviews, seed=0)
        """
        from sklearn.linear_model import LogisticRegression

        every = [_alike(desired_texts), _alike(undesired_texts)]
        shared = every[0].keys() & every[1].keys()
        sides = [{k: texts for k, texts in side.items() if k not in shared} for side in every]
        _check_sides(sides)
        source = np.random.default_rng(seed)
        parts = [_parted(texts, source) for texts in sides]
        kept, held_out = ([part[k] for part in parts] for k in (0, 1))
        vectorizer = _vectorizer(None)
        x = vectorizer.fit_transform([*kept[0], *kept[1]])
        y = [True] * len(kept[0]) + [False] * len(kept[1])
        fitted = LogisticRegression(C=10.0, class_weight="balanced", max_iter=1000).fit(x, y)
        made = cls(
            tuple(map(str, vectorizer.get_feature_names_out())),
            torch.from_numpy(np.array(vectorizer.idf_)).float(),
            torch.from_numpy(fitted.coef_[0].copy()).float(),
            float(fitted.intercept_[0]),
            ErrorRates(0, 1, 0, 1),  # of no text yet
            len(shared),
        )
        return made.tested(held_out[0], held_out[1])

    def tested(self, desired_texts: Texts, undesired_texts: Texts) -> "TextClassifier":
        """The same classifier, with its errors counted on these texts.

        They should not be among those it was fitted to: it would seem better than it is.
        """
        sides = [self.log_odds(texts) > 0 for texts in (desired_texts, undesired_texts)]
        hits = int(sides[0].sum()), int((~sides[1]).sum())
        return replace(self, errors=ErrorRates(hits[0], len(sides[0]), hits[1], len(sides[1])))

    def log_odds(self, texts: Sequence[str]) -> Float[Tensor, " text"]:
        """Log-odds of desired against undesired for each text, in nats; float32.

        A text without a word that is known has the log-odds `bias`.
        """
        if not texts:
            return torch.zeros(0)
        x = self._vectorizer.transform(texts)
        return torch.from_numpy(x @ self.weights.double().numpy() + self.bias).float()

    def __call__(self, prompts: Sequence[str], texts: Sequence[str]) -> Float[Tensor, " text"]:
        """1 for each text that is more like the desired ones, else 0; prompts are not looked at."""
        del prompts
        return (self.log_odds(texts) > 0).float()

    def corrected_rate(
        self, scores: Float[Tensor, " text"], groups: Sequence[Any] | None = None, *, seed: Seed
    ) -> Interval:
        """The share of desired texts, corrected for the errors; see `ErrorRates.corrected_rate`."""
        return self.errors.corrected_rate(scores, groups, seed=seed)

    def __repr__(self) -> str:
        left_out = f", {self.left_out} texts of both sides left out" if self.left_out else ""
        return f"TextClassifier({len(self.terms)} terms, {self.errors}{left_out})"

    @cached_property
    def _vectorizer(self) -> Any:
        made = _vectorizer(list(self.terms))
        made.idf_ = self.idf.double().numpy()
        return made


def _vectorizer(terms: list[str] | None) -> Any:
    from sklearn.feature_extraction.text import TfidfVectorizer

    return TfidfVectorizer(
        preprocessor=comparable,
        token_pattern=r"(?u)\b\w+\b|[^\w\s]",
        ngram_range=(1, 2),
        sublinear_tf=True,
        vocabulary=terms,
        dtype=np.float64,
    )


def _alike(texts: Sequence[str]) -> dict[str, list[str]]:
    """The texts by what they are alike in, in their order."""
    alike: dict[str, list[str]] = {}
    for text in texts:
        alike.setdefault(comparable(text), []).append(text)
    return alike


def _check_sides(sides: Sequence[dict[str, list[str]]]) -> None:
    for name, side in zip(("desired_texts", "undesired_texts"), sides, strict=True):
        if len(side) < 2 * _HELD_OUT:
            raise ValueError(f"got {len(side)} different {name}, expected at least {2 * _HELD_OUT}")


def _parted(
    texts: dict[str, list[str]], source: np.random.Generator
) -> tuple[list[str], list[str]]:
    """The texts to fit to, and those that are held out."""
    keys = list(texts)
    order = source.permutation(len(keys))
    cut = len(keys) // _HELD_OUT
    held_out, kept = set(order[:cut].tolist()), order[cut:]
    return (
        [text for i in sorted(kept.tolist()) for text in texts[keys[i]]],
        [text for i in sorted(held_out) for text in texts[keys[i]]],
    )
