"""What came out of a model, steered or not: texts with numbers for every token."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from jaxtyping import Float, Int
from torch import Tensor
from typing_extensions import override

from lens_steer.arguments import CountFromZero
from lens_steer.artifacts import savable
from lens_steer.evaluation.coloured_texts import (
    BY_CHANGE,
    BY_NATS,
    closing,
    html_texts,
    terminal_texts,
)
from lens_steer.evaluation.generated_text import GeneratedText, StopReason
from lens_steer.reports import Report
from lens_steer.sites import Site
from lens_steer.steering import Decoding

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

_SHOWN = 8  # texts on one screen


@savable
@dataclass(frozen=True, eq=False, repr=False)
class Generation(Report):
    """Texts that a model wrote, with numbers for every token; `generation` makes it.

    Each text is a `GeneratedText`, `run[i]`, which says what the numbers are. The same name on the
    whole (`run.nats`) gives a tuple with a value for each text.

    Attributes:
        rows: The texts, one for each prompt.
        sites: Where methods edit: the columns of `edit_sizes`, in the order of the forward pass.
        layers: Of the directions: the columns of `projections`.
        method_names: What steered, each with its strength; empty if nothing did.
        decoding: How the texts were written, and where methods steered.

    Example:
        >>> run = ls.generation(model, prompts, method, max_new_tokens=40, seed=0)
        >>> run.texts[0], run.nats_per_token
        >>> run.table().groupby("text")["nats"].sum()
        >>> ls.save(run, "run.safetensors")
    """

    rows: tuple[GeneratedText, ...]
    sites: tuple[Site, ...]
    layers: tuple[int, ...]
    method_names: tuple[str, ...]
    decoding: Decoding

    def __post_init__(self) -> None:
        if not self.rows:
            raise ValueError("got rows=(), expected at least one GeneratedText")
        for row in self.rows:
            found = row.edit_sizes.shape[1], row.projections.shape[1]
            if found != (len(self.sites), len(self.layers)):
                raise ValueError(
                    f"got rows with edit_sizes of {found[0]} sites and projections on {found[1]} "
                    f"directions, expected {len(self.sites)} and {len(self.layers)}"
                )

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, number: int) -> GeneratedText:
        """One text."""
        return self.rows[number]

    @property
    def prompts(self) -> tuple[str, ...]:
        """As the model read them."""
        return tuple(row.prompt for row in self.rows)

    @property
    def texts(self) -> tuple[str, ...]:
        """What `generate` returns."""
        return tuple(row.text for row in self.rows)

    @property
    def token_ids(self) -> tuple[Int[Tensor, " _"], ...]:
        """The tokens drawn for each text, an end token included."""
        return tuple(row.token_ids for row in self.rows)

    @property
    def tokens(self) -> tuple[tuple[str, ...], ...]:
        """The text of each token."""
        return tuple(row.tokens for row in self.rows)

    @property
    def log_probs(self) -> tuple[Float[Tensor, " _"], ...]:
        """ln of each token's probability under the steered model."""
        return tuple(row.log_probs for row in self.rows)

    @property
    def clean_log_probs(self) -> tuple[Float[Tensor, " _"], ...]:
        """The same under the unsteered model."""
        return tuple(row.clean_log_probs for row in self.rows)

    @property
    def nats(self) -> tuple[Float[Tensor, " _"], ...]:
        """KL(steered || unsteered) at each token."""
        return tuple(row.nats for row in self.rows)

    @property
    def edit_sizes(self) -> tuple[Float[Tensor, "_ site"], ...]:
        """|edit| / |clean resid_post| at each token and site."""
        return tuple(row.edit_sizes for row in self.rows)

    @property
    def projections(self) -> tuple[Float[Tensor, "_ direction"], ...]:
        """Of the steered residual stream on each direction."""
        return tuple(row.projections for row in self.rows)

    @property
    def clean_projections(self) -> tuple[Float[Tensor, "_ direction"], ...]:
        """Of the unsteered residual stream on each direction."""
        return tuple(row.clean_projections for row in self.rows)

    @property
    def stop_reasons(self) -> tuple[StopReason, ...]:
        """Why each text ended."""
        return tuple(row.stop_reason for row in self.rows)

    @property
    def nats_per_token(self) -> float:
        """Over all tokens of all texts; at temperature 1, without penalties, `Evaluation.kl`."""
        return torch.cat(self.nats).mean().item()

    @override
    def table(self) -> "pd.DataFrame":
        """A row for each token: `text` counts prompts, `position` tokens after the prompt."""
        import pandas as pd

        parts = []
        for i, row in enumerate(self.rows):
            columns = {
                "text": i,
                "position": range(len(row.tokens)),
                "token": row.tokens,
                "token_id": row.token_ids.tolist(),
                "log_prob": row.log_probs.tolist(),
                "clean_log_prob": row.clean_log_probs.tolist(),
                "nats": row.nats.tolist(),
            }
            for k, site in enumerate(self.sites):
                columns[f"edit_size {site.hook_name}"] = row.edit_sizes[:, k].tolist()
            for k, layer in enumerate(self.layers):
                columns[f"projection {layer}"] = row.projections[:, k].tolist()
                columns[f"clean_projection {layer}"] = row.clean_projections[:, k].tolist()
            parts.append(pd.DataFrame(columns))
        return pd.concat(parts, ignore_index=True)

    def brief(self) -> "pd.DataFrame":
        """A row for each text; log-probabilities and nats are means over its tokens."""
        import pandas as pd

        return pd.DataFrame(
            {
                "prompt": row.prompt,
                "text": row.text,
                "tokens": len(row.tokens),
                "log_prob": row.log_probs.mean().item(),
                "clean_log_prob": row.clean_log_probs.mean().item(),
                "nats_per_token": row.nats_per_token,
                "edit_size": row.edit_size.mean().item(),
                "stop_reason": row.stop_reason,
            }
            for row in self.rows
        )

    @override
    def figure(self) -> "Figure":
        """Nats of each token along the texts, and their mean over the texts that go so far.

        `run[0].figure()` shows one text with its tokens.
        """
        from lens_steer.figures import canvas, legend_outside

        longest = max(len(nats) for nats in self.nats)
        going = [[nats[k].item() for nats in self.nats if k < len(nats)] for k in range(longest)]
        with canvas(width=5.5) as (figure, axes):
            for nats in self.nats:
                weak = {"alpha": 0.25, "lw": 0.8} if len(self) > 1 else {"lw": 1.2}
                axes.plot(range(1, len(nats) + 1), nats, color="C3", **weak)
            if len(self) > 1:
                means = [sum(values) / len(values) for values in going]
                label = f"mean of {len(self)} texts, as long as they last"
                axes.plot(range(1, longest + 1), means, color="C3", lw=1.8, label=label)
                legend_outside(figure)
            axes.set(xlabel="token after the prompt", ylabel="KL(steered || unsteered), nats")
            axes.set_ylim(bottom=0)
        return figure

    def html(self, most: CountFromZero = 20) -> str:
        """Texts with each token coloured by its nats; 1 nat has two thirds of the full colour.

        Args:
            most: How many texts to show.
        """
        return html_texts(self.rows, BY_NATS, self._heading, most)

    def html_by_change(self, most: CountFromZero = 20) -> str:
        """Texts with each token coloured by how steering changed its log-probability.

        Args:
            most: How many texts to show.
        """
        return html_texts(self.rows, BY_CHANGE, self._heading, most)

    def colored(self) -> str:
        """The texts for a terminal of 256 colours, tokens coloured by nats: `print` it."""
        return terminal_texts(self.rows, BY_NATS, self._heading)

    def colored_by_change(self) -> str:
        """The same, tokens coloured by how steering changed their log-probability."""
        return terminal_texts(self.rows, BY_CHANGE, self._heading)

    @property
    def _heading(self) -> str:
        steering = ", ".join(self.method_names) or "unsteered"
        texts = "1 text" if len(self) == 1 else f"{len(self)} texts"
        return f"Generation: {texts}, {steering}, {self.nats_per_token:.3g} nats per token"

    @override
    def __repr__(self) -> str:
        """The first texts on one screen, with what they cost."""
        lines = [self._heading]
        for i, row in enumerate(self.rows[:_SHOWN]):
            prompt = row.prompt if len(row.prompt) <= 60 else "\u2026" + row.prompt[-59:]
            text = row.text if len(row.text) <= 120 else row.text[:119] + "\u2026"
            lines.append(f"[{i}] {prompt!r} -> {text!r}")
            lines.append(f"    {closing(row)}")
        more = len(self) - _SHOWN
        return "\n".join([*lines, f"... {more} more texts"] if more > 0 else lines)

    @override
    def _repr_html_(self) -> str:
        return self.html()
