"""The texts of one method at several strengths, next to each other."""

from dataclasses import dataclass
from textwrap import fill
from typing import TYPE_CHECKING

import torch
from typing_extensions import override

from lens_steer.artifacts import savable
from lens_steer.evaluation.coloured_texts import BY_NATS, closing, html_text
from lens_steer.evaluation.generated_texts import Generation
from lens_steer.reports import ROWS, WIDTH, Report, shortened_in_the_middle
from lens_steer.token_colours import html_block, html_note, html_prompt, visible

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

_PROMPTS = 4  # on one screen


@savable
@dataclass(frozen=True, eq=False, repr=False)
class SideBySide(Report):
    """One method at several strengths, on the same prompts; `side_by_side` makes it.

    Attributes:
        method_name: What steers.
        strengths: Dimensionless; 0 is the model as it is.
        runs: What came out at each.
    """

    method_name: str
    strengths: tuple[float, ...]
    runs: tuple[Generation, ...]

    def __post_init__(self) -> None:
        if not self.runs or len(self.runs) != len(self.strengths):
            raise ValueError(
                f"got {len(self.runs)} runs for {len(self.strengths)} strengths, expected one for "
                "each, at least one"
            )
        if len(set(self.strengths)) < len(self.strengths):
            raise ValueError(f"got strengths={self.strengths}, expected each of them once")
        if len({run.prompts for run in self.runs}) > 1:
            raise ValueError("got runs of different prompts, expected the same in each of them")

    @property
    def prompts(self) -> tuple[str, ...]:
        """As the model read them."""
        return self.runs[0].prompts

    @property
    def texts(self) -> dict[float, tuple[str, ...]]:
        """By strength: one text for each prompt."""
        runs = zip(self.strengths, self.runs, strict=True)
        return {strength: run.texts for strength, run in runs}

    @override
    def table(self) -> "pd.DataFrame":
        """A row for each prompt and strength; other columns as `Generation.brief`."""
        import pandas as pd

        parts = []
        for strength, run in zip(self.strengths, self.runs, strict=True):
            part = run.brief()
            part.insert(0, "strength", strength)
            part.insert(0, "number", range(len(part)))
            parts.append(part)
        table = pd.concat(parts, ignore_index=True)
        # in the order in which strengths were given
        return table.sort_values("number", kind="stable", ignore_index=True)

    def brief(self) -> "pd.DataFrame":
        """A row for each prompt, its text at each strength in a column of that name."""
        import pandas as pd

        columns = {f"{strength:g}": texts for strength, texts in self.texts.items()}
        return pd.DataFrame({"prompt": self.prompts, **columns})

    @override
    def figure(self) -> "Figure":
        """Nats per token against the strength: each prompt, and all tokens together."""
        from lens_steer.figures import canvas, legend_outside

        order = sorted(range(len(self.strengths)), key=lambda k: self.strengths[k])
        strengths, runs = [self.strengths[k] for k in order], [self.runs[k] for k in order]
        with canvas(width=4.5) as (figure, axes):
            for i in range(len(self.prompts)):
                nats = [run[i].nats_per_token for run in runs]
                axes.plot(strengths, nats, color="C3", alpha=0.25, lw=0.8)
            together = [torch.cat(run.nats).mean().item() for run in runs]
            label = f"all tokens of {len(self.prompts)} texts"
            axes.plot(strengths, together, "o-", color="C3", label=label)
            axes.set(xlabel=f"strength of {self.method_name}")
            axes.set(ylabel="nats paid per token,\nKL(steered || unsteered)")
            axes.set_ylim(bottom=0)
            legend_outside(figure)
        return figure

    def html(self) -> str:
        """A row for each prompt, a column for each strength, tokens coloured by nats."""
        cell = "vertical-align:top;text-align:left;padding:.4em .6em;min-width:9em"
        heads = "".join(
            f'<th style="{cell}">strength {strength:g}</th>' for strength in self.strengths
        )
        lines = [f'<tr><th style="{cell}">prompt</th>{heads}</tr>']
        for i, prompt in enumerate(self.prompts):
            cells = [html_block(html_prompt(prompt))]
            for run in self.runs:
                text = html_text(run[i], BY_NATS)
                cells.append(html_block(text, html_note(closing(run[i]))))
            inner = "".join(f'<td style="{cell}">{text}</td>' for text in cells)
            lines.append(f"<tr>{inner}</tr>")
        return (
            html_block(html_note(f"{self.method_name}; {BY_NATS.legend}"))
            + f'<table style="border-collapse:collapse">{"".join(lines)}</table>'
        )

    @override
    def __repr__(self) -> str:
        """The first prompts on one screen, each with its text at every strength."""
        lines = [f"SideBySide: {self.method_name} at strengths {self._named}"]
        shown = max(1, min(_PROMPTS, ROWS // (1 + 2 * len(self.runs))))
        for i, prompt in enumerate(self.prompts[:shown]):
            lines.append(f"[{i}] {visible(prompt)[-90:]!s}")
            for strength, run in zip(self.strengths, self.runs, strict=True):
                row = run[i]
                start = f"  {strength:>5g} ({row.nats_per_token:.3g} nats per token): "
                text = shortened_in_the_middle(visible(row.text), 2 * WIDTH - len(start) - 8)
                lines.append(
                    fill(text, WIDTH, initial_indent=start, subsequent_indent=" " * 8) or start
                )
        more = len(self.prompts) - shown
        return "\n".join([*lines, f"... {more} more prompts"] if more > 0 else lines)

    @property
    def _named(self) -> str:
        return ", ".join(f"{strength:g}" for strength in self.strengths)

    @override
    def _repr_html_(self) -> str:
        return self.html()
