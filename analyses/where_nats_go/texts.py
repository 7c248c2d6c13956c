"""Several texts of every prompt, and what each of them costs between two models."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from analyses.where_nats_go.estimates import Measured, Texts
from lens_steer.evaluation import (
    SampledText,
    as_sampled_texts,
    draw_logits,
    even_batches,
    kl_divergence,
)
from lens_steer.models import SteerableModel, decode_continuation, eos_ids
from lens_steer.organism import ExactJudge
from lens_steer.steering import Decoding, Methods, continuations_of_each, prompt_rows

Array = np.ndarray


@dataclass(frozen=True, eq=False)
class Written:
    """Texts that one model wrote, those of one prompt after each other.

    Attributes:
        model: The model.
        prompts: The prompts that they are judged after.
        each: How many texts each prompt has.
        texts: After the prompts that they were written after.
        plain: The same continuations after `prompts`.
        decoding: How they were written, and where methods steer.
    """

    model: SteerableModel
    prompts: tuple[str, ...]
    each: int
    texts: tuple[SampledText, ...]
    plain: tuple[SampledText, ...]
    decoding: Decoding
    _kept: dict[tuple[int, ...], Tensor] = field(default_factory=dict, init=False, repr=False)

    @classmethod
    def of(  # noqa: PLR0913 - what is written, by what, and how
        cls,
        model: SteerableModel,
        prompts: Sequence[str],
        methods: Methods,
        each: int,
        decoding: Decoding,
        *,
        after: Sequence[str] | None = None,
    ) -> "Written":
        """Write texts; text i has the random draws of text i under any other method.

        Args:
            after: Other prompts to write after; None writes after the prompts themselves.

        Raises:
            NotFinite: If the method makes logits NaN or infinite.
            ValueError: If the method does not fit the model.
        """
        longest = decoding.max_new_tokens
        plain, rows = (
            [row for row in prompt_rows(model, list(names), longest) for _ in range(each)]
            for names in (prompts, prompts if after is None else after)
        )
        [new] = continuations_of_each(model, rows, [methods], decoding)
        texts, again = (tuple(as_sampled_texts(r, new, longest)) for r in (rows, plain))
        return cls(model, tuple(prompts), each, texts, again, decoding)

    def shows(self, judge: ExactJudge) -> Array:
        """Whether each text shows the behaviour, `[prompt text]`."""
        return self._shaped(judge(self._asked, self._words) > 0)

    def measured(self, judge: ExactJudge, methods: Methods) -> Measured:
        """The texts as the judge and the grammar see them, and what they cost.

        Args:
            judge: Of the behaviour.
            methods: What they were written under.
        """
        nats, first, ratio = self.costs(methods)
        well_formed = self._shaped(judge.well_formed(self._asked, self._words))
        draws = self._shaped(torch.tensor([float(text.draws) for text in self.texts]).double())
        return Measured(self.shows(judge), well_formed, nats, first, ratio, draws)

    def costs(self, methods: Methods) -> tuple[Texts, Texts, Texts]:
        """Nats along each text, those of its first token, and log q / p of the text itself.

        q is the model under `methods` after the prompts that were written after, p the model as it
        is after the plain ones.
        """
        columns = torch.zeros(3, len(self.texts)).double()
        for batch in even_batches(self.model, [len(text.ids) for text in self.texts]):
            columns[:, batch] = self._costs_of(batch, methods)
        nats, first, ratio = (self._shaped(column) for column in columns)
        return nats, first, ratio

    def _costs_of(self, batch: Sequence[int], methods: Methods) -> Float[Tensor, "3 batch"]:
        texts, plain = ([of[i] for i in batch] for of in (self.texts, self.plain))
        scope, temperature = self.decoding.steered_scope, self.decoding.temperature
        q, row = draw_logits(self.model, texts, [methods] * len(texts), scope)
        p = self._clean(tuple(batch), plain)
        nats = kl_divergence(q, p, temperature=temperature)
        ids = self.drawn(batch)[:, None]
        of_drawn = [
            (x.double() / temperature).log_softmax(dim=-1).gather(-1, ids)[:, 0] for x in (q, p)
        ]
        first = torch.ones(len(row), dtype=torch.bool)
        first[1:] = row[1:] != row[:-1]
        parts = torch.stack([nats, nats * first, of_drawn[0] - of_drawn[1]])
        return torch.zeros(3, len(batch)).double().index_add(1, row, parts)

    def _clean(
        self, batch: tuple[int, ...], plain: Sequence[SampledText]
    ) -> Float[Tensor, "draw vocab"]:
        """The unsteered logits of a batch, kept for the next method that reads the same texts."""
        if batch not in self._kept:
            scope = self.decoding.steered_scope
            self._kept[batch], _ = draw_logits(self.model, plain, [()] * len(plain), scope)
        return self._kept[batch]

    def drawn(self, batch: Sequence[int]) -> Int[Tensor, " draw"]:
        """The tokens that were drawn for some texts, the end included, one text after another."""
        [end] = eos_ids(self.model)
        texts = [self.texts[i] for i in batch]
        return torch.tensor(
            [x for t in texts for x in (*t.ids[t.prompt_length :], *[end] * t.ended)]
        )

    @property
    def _asked(self) -> list[str]:
        return [prompt for prompt in self.prompts for _ in range(self.each)]

    @property
    def _words(self) -> list[str]:
        return [
            decode_continuation(self.model, t.ids[: t.prompt_length], t.ids[t.prompt_length :])
            for t in self.plain
        ]

    def _shaped(self, column: Tensor) -> Any:
        return column.numpy().reshape(len(self.prompts), self.each)
