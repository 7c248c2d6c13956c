"""Costs along fixed unsteered texts: every strength sees the same tokens, nothing is sampled."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial

import torch
from jaxtyping import Float
from torch import Tensor
from tqdm.auto import tqdm
from typing_extensions import Unpack

from lens_steer.artifacts import savable
from lens_steer.data import ContrastivePairs
from lens_steer.evaluation.clean_runs import keepable, remembered
from lens_steer.evaluation.divergence import kl_divergence
from lens_steer.evaluation.edits import CleanStream, EditSizes, edit_sizes
from lens_steer.evaluation.sampled_texts import (
    SampledText,
    as_sampled_texts,
    draw_logits,
    even_batches,
    penalised_draws,
)
from lens_steer.evaluation.text_costs import check_comparable
from lens_steer.models import SteerableModel
from lens_steer.reports import short_repr
from lens_steer.steering import (
    Decoding,
    DecodingOptions,
    Ending,
    Methods,
    Scope,
    continuations,
    decoding_of_call,
    prompt_rows,
)


@savable
@dataclass(frozen=True, eq=False)
class FixedTexts:
    """Texts of the unsteered model, and how they were sampled.

    Attributes:
        texts: One per prompt.
        decoding: What the compared distributions are sampled with, and where methods steer.
    """

    texts: tuple[SampledText, ...]
    decoding: Decoding = Decoding()

    __repr__ = short_repr

    @classmethod
    def sample(
        cls,
        model: SteerableModel,
        pairs: ContrastivePairs,
        *,
        decoding: Decoding | None = None,
        **options: Unpack[DecodingOptions],
    ) -> "FixedTexts":
        """One unsteered continuation of every prompt, the one `evaluate` has for this seed.

        Args:
            decoding: How texts are written, and where methods are to steer; or as keywords.
            options: As `generate`.

        Raises:
            ValueError: As `generate`; for greedy texts, and where `top_p` or `top_k` rule tokens
                out, as then no divergence is finite.
            TypeError: If a keyword is unknown.

        Example:
            >>> texts = FixedTexts.sample(model, pairs, seed=0, max_new_tokens=20)
            >>> nats_per_token = texts.kl(model, [(method,), (method.with_strength(0.5),)])
        """
        decoding = decoding_of_call(cls.sample, decoding, options)
        if decoding.temperature <= 0:
            raise ValueError(
                f"temperature {decoding.temperature}: greedy texts have no finite divergence, "
                "expected a positive temperature"
            )
        check_comparable(decoding)
        rows = prompt_rows(model, pairs.prompts, decoding.max_new_tokens)
        ending = Ending.of(model, decoding.stop)
        unsteered = replace(decoding, scope="last")  # explicit positions may lie behind the end
        new_tokens = continuations(model, rows, decoding=unsteered)
        return cls(
            tuple(as_sampled_texts(rows, new_tokens, decoding.max_new_tokens, ending)), decoding
        )

    @property
    def temperature(self) -> float | int:
        """What the compared distributions are sampled at."""
        return self.decoding.temperature

    @property
    def scope(self) -> Scope:
        """Where methods steer."""
        return self.decoding.steered_scope

    @property
    def draws(self) -> Float[Tensor, " text"]:
        """How many tokens were drawn for each text, the end included."""
        return torch.tensor([text.draws for text in self.texts]).double()

    def nats(
        self, model: SteerableModel, methods: Sequence[Methods], *, progress: bool = False
    ) -> Float[Tensor, "method text"]:
        """KL(steered || unsteered) summed over each text's draws, many methods to a batch; float64.

        Divided by `draws` it is `kl_fixed`, nats per token. It is NaN where a method makes the
        logits NaN or infinite.

        Raises:
            ValueError: If a method does not fit the model.
            NotFinite: If the unsteered logits are NaN or infinite.
        """
        nats = torch.zeros(len(methods), len(self.texts)).double()
        rows = [(i, k) for i in range(len(self.texts)) for k in range(len(methods))]
        lengths = [len(self.texts[i].ids) for i, _ in rows]
        with tqdm(total=len(rows), desc="kl", disable=not progress) as bar:
            for batch in even_batches(model, lengths):
                part = [rows[number] for number in batch]
                nats = nats + self._batch(model, part, methods)
                bar.update(len(part))
        return nats

    def kl(
        self, model: SteerableModel, methods: Sequence[Methods], *, progress: bool = False
    ) -> list[float]:
        """`kl_fixed` of every method: nats per token, over all texts; NaN as `nats`.

        Raises:
            ValueError: If a method does not fit the model.
        """
        nats = self.nats(model, methods, progress=progress).sum(dim=1)
        return (nats / self.draws.sum()).tolist()

    def sizes(self, model: SteerableModel, methods: Sequence[Methods]) -> list[EditSizes]:
        """How large every method's edits are along the texts.

        Raises:
            ValueError: As `edit_sizes`.
        """
        return edit_sizes(
            model,
            self.texts,
            methods,
            scope=self.scope,
            clean_stream=partial(self.clean_stream, model),
        )

    def clean_stream(self, model: SteerableModel, layers: tuple[int, ...]) -> CleanStream:
        """The unsteered residual stream at the steered positions, kept for the next call.

        Raises:
            ValueError: As `CleanStream.read`.
        """
        tokens, width = sum(len(text.ids) for text in self.texts), int(model.cfg.d_model)
        read = partial(CleanStream.read, model, self.texts, layers, self.scope)
        if not keepable(model, len(layers) * width * (tokens + width)):
            return read()
        return remembered(self, model, ("stream", layers), read)

    def _batch(
        self, model: SteerableModel, part: Sequence[tuple[int, int]], methods: Sequence[Methods]
    ) -> Float[Tensor, "method text"]:
        once = sorted({i for i, _ in part})  # the clean model sees a text once for all methods
        clean = self._clean(model, once)
        counts = [self.texts[i].draws for i in once]
        of = torch.arange(len(once)).repeat_interleave(torch.tensor(counts))
        texts, by_row = [self.texts[i] for i, _ in part], [methods[k] for _, k in part]
        steered, rows = draw_logits(model, texts, by_row, self.scope, strict=False)
        steered = penalised_draws(self.decoding, steered, texts)
        again = torch.cat([(of == once.index(i)).nonzero()[:, 0] for i, _ in part])
        nats = kl_divergence(steered, clean[again.to(clean.device)], temperature=self.temperature)
        places = torch.tensor([[k, i] for i, k in part])[rows]
        zeros = torch.zeros(len(methods), len(self.texts)).double()
        return zeros.index_put((places[:, 0], places[:, 1]), nats.cpu(), accumulate=True)

    def _clean(self, model: SteerableModel, once: Sequence[int]) -> Float[Tensor, "draw vocab"]:
        """The unsteered logits of some texts, one after another."""
        if not keepable(model, int(self.draws.sum()) * int(model.cfg.d_vocab)):
            return torch.cat(list(self._logits(model, once).values()))
        every = range(len(self.texts))
        parts = remembered(self, model, "logits", lambda: self._logits(model, every))
        return torch.cat([parts[i] for i in once])

    def _logits(self, model: SteerableModel, numbers: Sequence[int]) -> dict[int, Tensor]:
        """The unsteered logits of some texts by their numbers, in that order."""
        found: dict[int, Tensor] = {}
        for batch in even_batches(model, [len(self.texts[i].ids) for i in numbers]):
            chosen = [numbers[k] for k in batch]
            texts = [self.texts[i] for i in chosen]
            logits, _ = draw_logits(model, texts, [()] * len(texts), self.scope)
            logits = penalised_draws(self.decoding, logits, texts)
            found |= dict(zip(chosen, logits.split([t.draws for t in texts]), strict=True))
        return {i: found[i] for i in numbers}
