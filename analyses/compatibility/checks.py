"""What is checked of a model that was loaded: each check gives the size of an error.

A check compares what lens_steer says with what Hugging Face's own model says (`plain_models`), or
two ways of running one model with each other. What a check raises is its result as well.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

import lens_steer as ls
from analyses import passes
from analyses.compatibility.architectures import EOS, VOCABULARY
from analyses.compatibility.plain_models import PlainModel
from lens_steer.models import forward

# The largest error that passes, by dtype: bfloat16 rounds eight times as coarsely as float16.
TOLERANCE = {torch.float32: 1e-4, torch.float16: 1e-2, torch.bfloat16: 8e-2}
_LENGTHS, _STEPS, _LAYER, _STRENGTH = (24, 17), 4, 0, 3.0
_TEXT = "A dog in the sun"
_PAIRS = ls.ContrastivePairs.of(
    [
        ("The cat", " was sad. It", " was glad. It"),
        ("A dog in the sun", " lost it. He", " has it. He"),
        ("Hi!", " No, it", " Yes, it"),
    ],
    name="tiny",
)


class WrongError(Exception):
    """Something is wrong that no size of an error says."""


class NoStandardError(Exception):
    """Hugging Face's own model does not run, so that there is nothing to compare with."""


@dataclass(frozen=True, eq=False)
class Loaded:
    """A model of lens_steer's beside Hugging Face's own, with the same weights.

    Attributes:
        model: As `ls.load_model` made it.
        plain: As transformers loads it.
        tokenizer: As transformers loads it.
        rows: Token ids of two rows of different lengths.
    """

    model: ls.SteerableModel
    plain: PlainModel
    tokenizer: Any
    rows: tuple[Int[Tensor, " _"], ...]

    @classmethod
    def of(cls, model: ls.SteerableModel, plain: PlainModel, tokenizer: Any, seed: int) -> "Loaded":
        """Draw the rows of tokens, without special ones."""
        draw = torch.Generator().manual_seed(seed)
        rows = tuple(torch.randint(EOS + 1, VOCABULARY, (n,), generator=draw) for n in _LENGTHS)
        return cls(model, plain, tokenizer, rows)

    def tokens_of(self, text: str) -> Int[Tensor, "1 pos"]:
        """The tokens of a text as transformers' own tokenizer writes them."""
        return torch.tensor([self.tokenizer(text)["input_ids"]])

    def read_rows(self) -> list[Int[Tensor, "1 _"]]:
        """The rows of the desired examples of the pairs."""
        return [self.tokens_of(f"{each.prompt}{each.continuation}") for each in _PAIRS.desired]

    def alone(self) -> list[Float[Tensor, "_ vocab"]]:
        """The model's logits of every row, run by itself without a cache."""
        with torch.no_grad():
            return [forward(self.model, row[None])[0] for row in self.rows]


def relative(ours: Tensor, right: Tensor) -> float:
    """The largest difference, in units of the largest number that is right."""
    if ours.shape != right.shape:
        raise WrongError(f"shape {tuple(ours.shape)} where {tuple(right.shape)} is right")
    difference = (ours.float() - right.float()).abs().max()
    return float(difference / right.float().abs().max().clamp(min=1e-30))


def logits(loaded: Loaded) -> float:
    """Logits of both rows, each by itself, against Hugging Face's."""
    right = [standard(lambda row=row: loaded.plain.logits(row[None])[0]) for row in loaded.rows]
    return _worst(loaded.alone(), right)


def cached(loaded: Loaded) -> float:
    """Both rows in one left-padded batch, the last tokens over a cache, against no cache."""
    right = [row[-_STEPS - 1 :] for row in loaded.alone()]
    return _worst(_over_a_cache(loaded), right)


def batched(loaded: Loaded) -> float:
    """Both rows in one right-padded batch, against each by itself."""
    return _worst(_padded(loaded, left=False), loaded.alone())


def padded(loaded: Loaded) -> float:
    """Both rows in one left-padded batch, against right-padded."""
    return _worst(_padded(loaded, left=True), _padded(loaded, left=False))


def reads(loaded: Loaded) -> float:
    """The residual stream behind every block, against the outputs of Hugging Face's blocks."""
    ours = ls.capture(loaded.model, _PAIRS, "resid", progress=False).desired
    right = [standard(lambda row=row: loaded.plain.residuals(row)) for row in loaded.read_rows()]
    return relative(ours, torch.stack(right))


def caa(loaded: Loaded) -> float:
    """Steering by CAA, over a cache and without one, against a hook on Hugging Face's block.

    Strength 0 has to leave logits equal to the bit, and so has the end of the block.
    """
    model = loaded.model
    resid = ls.capture(model, _PAIRS, "resid", progress=False)
    method, prompts = ls.CAA.fit(resid, layer=_LAYER), [len(row) - _STEPS for row in loaded.rows]
    clean = loaded.alone()
    with ls.steered(model, method.with_strength(0.0)):
        _check_equal("strength 0", loaded.alone(), clean)
    with ls.steered(model, method.with_strength(_STRENGTH), prompt_lengths=prompts):
        over_a_cache, in_a_batch = _over_a_cache(loaded), _padded(loaded, left=False)
    _check_equal("the end of the block", loaded.alone(), clean)
    push = _STRENGTH * (
        resid.desired[:, _LAYER].mean(dim=0) - resid.undesired[:, _LAYER].mean(dim=0)
    )
    right = []
    for row, prompt in zip(loaded.rows, prompts, strict=True):
        edits = {_LAYER: _Push(push, prompt - 1)}
        right.append(
            standard(lambda row=row, edits=edits: loaded.plain.logits(row[None], edits)[0])
        )
    effect = _worst(clean, right)
    if not effect > 2 * TOLERANCE[clean[0].dtype]:
        raise WrongError(
            f"the right effect, {effect:.1e} of the largest logit, is too small to see"
        )
    ends = [row[-_STEPS - 1 :] for row in right]
    return max(_worst(over_a_cache, ends), _worst(in_a_batch, right))


def heads(loaded: Loaded) -> float:
    """The heads' outputs at every layer, against what a matrix of Hugging Face's block is fed."""
    ours = ls.capture(loaded.model, _PAIRS, "head", progress=False).desired.flatten(2)
    worst = 0.0
    for i, row in enumerate(loaded.read_rows()):
        for layer in range(ours.shape[1]):
            inputs = standard(lambda row=row, layer=layer: loaded.plain.linear_inputs(row, layer))
            fitting = [x for x in inputs if x.shape == ours[i, layer].shape]
            if not fitting:
                raise WrongError(f"no matrix of block {layer} takes {ours.shape[2]} numbers")
            worst = max(worst, min(relative(ours[i, layer], x) for x in fitting))
    return worst


def jacobians(loaded: Loaded) -> float:
    """One vector-Jacobian product of every block, against autograd through Hugging Face's block."""
    ours = ls.linearize(loaded.model, [_TEXT], dense=False, progress=False)
    d = ours.nominal.shape[1]
    cotangent = torch.randn(d, generator=torch.Generator().manual_seed(0))
    tokens, worst = loaded.tokens_of(_TEXT), 0.0
    for layer in range(ours.n_layers):
        right = standard(lambda layer=layer: loaded.plain.vjp(tokens, layer, cotangent))
        worst = max(worst, relative(ours.vjp(layer, cotangent[None])[0], right))
    return worst


CHECKS: dict[str, Callable[[Loaded], float]] = {
    "logits": logits,
    "cached": cached,
    "batched": batched,
    "padded": padded,
    "reads": reads,
    "caa": caa,
    "heads": heads,
    "jacobians": jacobians,
}


class _Push:
    """Adds a vector from one position on, with one rounding at the end, as steering does."""

    def __init__(self, vector: Float[Tensor, " d"], first: int) -> None:
        self._vector, self._first = vector, first

    def __call__(self, x: Float[Tensor, "batch pos d"]) -> Float[Tensor, "batch pos d"]:
        before, after = x[:, : self._first], x[:, self._first :]
        return torch.cat([before, (after.float() + self._vector).to(x.dtype)], dim=1)


def standard(run: Callable[[], Any]) -> Any:
    """What Hugging Face's own model gives.

    Raises:
        NoStandardError: If it does not run.
    """
    try:
        return run()
    except Exception as error:
        raise NoStandardError(f"{type(error).__name__}: {error}") from error


def _worst(ours: list[Tensor], right: list[Tensor]) -> float:
    errors = [relative(a, b) for a, b in zip(ours, right, strict=True)]
    return float(torch.tensor(errors).max())  # NaN if one is


def _check_equal(after: str, ours: list[Tensor], clean: list[Tensor]) -> None:
    if not all(torch.equal(a, b) for a, b in zip(ours, clean, strict=True)):
        raise WrongError(
            f"logits differ after {after}, by {_worst(ours, clean):.1e} of the largest"
        )


def _padded(loaded: Loaded, *, left: bool) -> list[Float[Tensor, "_ vocab"]]:
    return passes.padded(loaded.model, [row.tolist() for row in loaded.rows], left=left)


def _over_a_cache(loaded: Loaded) -> list[Float[Tensor, "step vocab"]]:
    return passes.over_a_cache(loaded.model, [row.tolist() for row in loaded.rows], _STEPS)
