"""Costs along fixed unsteered texts: nothing is sampled, so every strength sees the same tokens."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor
from tqdm.auto import tqdm

from lens_steer.data import ContrastivePairs
from lens_steer.evaluation.divergence import kl_divergence
from lens_steer.evaluation.edits import EditSizes, edit_sizes
from lens_steer.evaluation.text_costs import SampledText, draw_logits, even_batches, written
from lens_steer.models import SteerableModel
from lens_steer.steering import Ending, Methods, Sampling, Scope, continuations, prompt_rows


@dataclass(frozen=True, eq=False)
class FixedTexts:
    """Texts of the unsteered model, and how they were sampled.

    Attributes:
        texts: One per prompt.
        temperature: Of the distributions that are compared.
        scope: Where methods steer.
    """

    texts: tuple[SampledText, ...]
    temperature: float | int = 1.0
    scope: Scope = "last"

    @classmethod
    def sample(  # noqa: PLR0913 - as evaluate
        cls,
        model: SteerableModel,
        pairs: ContrastivePairs,
        *,
        seed: int,
        temperature: float | int = 1.0,
        max_new_tokens: int = 40,
        scope: Scope = "last",
        stop: Sequence[str] = (),
    ) -> "FixedTexts":
        """One unsteered continuation of every prompt, the one `evaluate` has for this seed.

        Raises:
            ValueError: As `generate`, or for greedy texts.
        """
        if temperature <= 0:
            raise ValueError(
                f"temperature {temperature}: greedy texts have no finite divergence, expected a "
                "positive temperature"
            )
        rows = prompt_rows(model, pairs.prompts, max_new_tokens)
        sampling, ending = Sampling(temperature, seed=seed, stop=stop), Ending.of(model, stop)
        found = continuations(model, rows, sampling=sampling, max_new_tokens=max_new_tokens)
        return cls(tuple(written(rows, found, max_new_tokens, ending)), temperature, scope)

    @property
    def draws(self) -> Float[Tensor, " text"]:
        """Tokens drawn for each text, the end included."""
        return torch.tensor([text.draws for text in self.texts]).double()

    def nats(
        self, model: SteerableModel, each: Sequence[Methods], *, progress: bool = False
    ) -> Float[Tensor, "method text"]:
        """KL(steered || unsteered) summed over each text's draws, many methods to a batch; float64.

        Divided by `draws` it is `kl_fixed`, nats per token. NaN where a method makes the logits NaN
        or infinite.

        Raises:
            ValueError: If a method does not fit the model.
            NotFinite: If the unsteered logits are NaN or infinite.
        """
        found = torch.zeros(len(each), len(self.texts)).double()
        rows = [(i, k) for i in range(len(self.texts)) for k in range(len(each))]
        lengths = [len(self.texts[i].ids) for i, _ in rows]
        with tqdm(total=len(rows), desc="kl", disable=not progress) as bar:
            for batch in even_batches(model, lengths):
                part = [rows[number] for number in batch]
                found = found + self._batch(model, part, each)
                bar.update(len(part))
        return found

    def kl(
        self, model: SteerableModel, each: Sequence[Methods], *, progress: bool = False
    ) -> list[float]:
        """`kl_fixed` of every method: nats per token, over all texts; NaN as `nats`.

        Raises:
            ValueError: If a method does not fit the model.
        """
        nats = self.nats(model, each, progress=progress).sum(dim=1)
        return (nats / self.draws.sum()).tolist()

    def sizes(self, model: SteerableModel, each: Sequence[Methods]) -> list[EditSizes]:
        """How large every method's edits are along the texts.

        Raises:
            ValueError: As `edit_sizes`.
        """
        return edit_sizes(model, self.texts, each, scope=self.scope)

    def _batch(
        self, model: SteerableModel, part: Sequence[tuple[int, int]], each: Sequence[Methods]
    ) -> Float[Tensor, "method text"]:
        once = sorted({i for i, _ in part})  # the clean model sees a text once for all methods
        clean, of = draw_logits(model, [self.texts[i] for i in once], [()] * len(once), self.scope)
        texts, own = [self.texts[i] for i, _ in part], [each[k] for _, k in part]
        steered, rows = draw_logits(model, texts, own, self.scope, strict=False)
        again = torch.cat([(of == once.index(i)).nonzero()[:, 0] for i, _ in part])
        nats = kl_divergence(steered, clean[again.to(clean.device)], temperature=self.temperature)
        places = torch.tensor([[k, i] for i, k in part])[rows]
        found = torch.zeros(len(each), len(self.texts)).double()
        return found.index_put((places[:, 0], places[:, 1]), nats.cpu(), accumulate=True)
