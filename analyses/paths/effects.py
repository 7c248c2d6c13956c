"""What steering some positions of fixed texts does to the next token, position by position."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor
from tqdm.auto import tqdm

from lens_steer.evaluation import (
    FixedTexts,
    SampledText,
    draw_logits,
    draws_of,
    even_batches,
    kl_divergence,
)
from lens_steer.models import SteerableModel
from lens_steer.steering import Intervention, Methods

PATHS = ("residual", "cache", "both", "stopped")  # the path axis
_PATH = {name: i for i, name in enumerate(PATHS)}


@dataclass(frozen=True)
class Run:
    """A forward of whole texts; offsets are counted from the last prompt token.

    Attributes:
        path: The path whose effect is read off.
        steered: The offsets that are steered.
        seen: The offsets at which the effect is read.
    """

    path: str
    steered: range
    seen: range


def runs(offsets: int, stop_after: int) -> list[Run]:
    """All forwards that split so many offsets.

    What comes after a position has no part in its logits, so that one run gives `both` at every
    offset. The cache's run at offset 0 is left out: its effect is 0.
    """
    whole = range(offsets)
    together = [Run("both", whole, whole), Run("stopped", range(stop_after), whole)]
    alone = [Run("residual", range(j, j + 1), range(j, j + 1)) for j in whole]
    before = [Run("cache", range(j), range(j, j + 1)) for j in whole[1:]]
    return [*together, *alone, *before]


def path_effects(
    model: SteerableModel,
    texts: FixedTexts,
    methods: Sequence[Intervention],
    stop_after: int,
    *,
    progress: bool = False,
) -> Float[Tensor, "measure method path text offset"]:
    """KL(steered || clean) in nats, and the projection on the change that both paths make.

    The projection is <change, change by both> of the logits, centred over the vocabulary. Values
    are float64, and NaN after a text's end.

    Raises:
        ValueError: If a method does not fit the model.
    """
    size = len(PATHS), len(texts.texts), int(texts.draws.max())
    effects = torch.full((2, len(methods), *size), torch.nan).double()
    batches = list(_of_one_length(model, texts.texts))
    longest = [max(texts.texts[i].draws for i in rows) for rows in batches]
    total = len(methods) * sum(len(runs(n, stop_after)) for n in longest)
    with tqdm(total=total, desc="path split", disable=not progress) as bar:
        for rows, n in zip(batches, longest, strict=True):
            batch = Batch.of(model, [texts.texts[i] for i in rows], texts.temperature)
            for k, method in enumerate(methods):
                both = batch.change(method, range(n))
                for run in runs(n, stop_after):
                    effect, text, offset = batch.effect(method, run, both)
                    text_index = torch.tensor(rows)[text]
                    effects[:, k, _PATH[run.path], text_index, offset] = effect.cpu()
                    bar.update()
                effects[:, k, _PATH["cache"], rows, 0] = 0.0  # nothing before is steered
    return effects


@dataclass(frozen=True, eq=False)
class Batch:
    """Texts whose prompts have one length, so that an offset is one position in all texts.

    Attributes:
        model: The model that is steered.
        texts: The whole texts.
        clean: The logits of the unsteered model.
        text: The text of each row of `clean`.
        offset: The offset of each row, counted from the last prompt token.
        temperature: The temperature of the distributions that are compared.
    """

    model: SteerableModel
    texts: tuple[SampledText, ...]
    clean: Float[Tensor, "draw vocab"]
    text: Int[Tensor, " draw"]
    offset: Int[Tensor, " draw"]
    temperature: float | int

    @classmethod
    def of(
        cls, model: SteerableModel, texts: Sequence[SampledText], temperature: float | int
    ) -> "Batch":
        """Run the clean model."""
        clean, text = draw_logits(model, texts, [()] * len(texts), "last")
        offset = draws_of(texts)[1] - (texts[0].prompt_length - 1)
        return cls(model, tuple(texts), clean, text, offset, temperature)

    def change(self, method: Intervention, steered: range) -> Float[Tensor, "draw vocab"]:
        """The change of the logits by steering at these offsets, centred over the vocabulary."""
        return _centred(self._logits((method,), steered) - self.clean)

    def effect(
        self, method: Intervention, run: Run, both: Float[Tensor, "draw vocab"]
    ) -> tuple[Float[Tensor, "2 seen"], Int[Tensor, " seen"], Int[Tensor, " seen"]]:
        """Nats and projection on `both`, with their texts and offsets."""
        seen = torch.isin(self.offset, torch.tensor(run.seen))
        rows = seen.to(self.clean.device)
        steered, clean = self._logits((method,), run.steered)[rows], self.clean[rows]
        nats = kl_divergence(steered, clean, temperature=self.temperature)
        projected = (_centred(steered - clean) * both[rows]).sum(dim=-1)
        return torch.stack([nats, projected]), self.text[seen], self.offset[seen]

    def _logits(self, methods: Methods, steered: range) -> Float[Tensor, "draw vocab"]:
        first = self.texts[0].prompt_length - 1
        scope = [first + offset for offset in steered]
        return draw_logits(self.model, self.texts, [methods] * len(self.texts), scope)[0]


def _centred(x: Float[Tensor, "draw vocab"]) -> Float[Tensor, "draw vocab"]:
    return x.double() - x.double().mean(dim=-1, keepdim=True)


def _of_one_length(model: SteerableModel, texts: Sequence[SampledText]) -> Iterator[list[int]]:
    """Indices of texts whose prompts have equally many tokens, in batches."""
    for length in sorted({text.prompt_length for text in texts}):
        alike = [i for i, text in enumerate(texts) if text.prompt_length == length]
        for batch in even_batches(model, [len(texts[i].ids) for i in alike]):
            yield [alike[i] for i in batch]
