"""What a number type costs: how far two ways of running one model lie apart, in each type.

Texts are the desired examples of a set of pairs. Each is run by itself; in batches padded on the
right and on the left; over a key-value cache, its last tokens one by one; and in float32. All this
unsteered, and steered by CAA with the direction that was fitted in float32, at the strength that
moves a text by the difference of the classes. Differences are of logits, in units of the text's
largest logit; the divergence is of the next-token distributions; and a token counts where the
likeliest one is another. A lost prompt or a wrong mask would be a difference near 1. Writes
precision.csv and precision.png; SmolLM2-135M-Instruct takes some minutes.

    python -m analyses.precision --model smollm2 --out out/precision
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import pandas as pd
import torch
import typer
from jaxtyping import Float
from matplotlib.figure import Figure
from torch import Tensor
from tqdm.auto import tqdm

import lens_steer as ls
from analyses.passes import over_a_cache, padded
from analyses.studies import Model, Out, Seed, drawn, fingerprint, start
from lens_steer.arguments import Count, Text
from lens_steer.benchmark import defaults_of
from lens_steer.cli import Device, check_each_pairs, option
from lens_steer.evaluation import kl_divergence
from lens_steer.figures import canvas, save_figure
from lens_steer.files import writing_in
from lens_steer.models import encode

DTYPES = (torch.float32, torch.bfloat16, torch.float16)
STEPS = 4  # tokens that are run one by one over a cache
BATCH = 8
COLUMNS = {
    "largest": "difference / largest logit",
    "nats": "divergence, nats per token",
    "other_token": "positions of another likeliest token",
}
Logits = list[Float[Tensor, "_ vocab"]]


def difference(ours: Logits, right: Logits) -> dict[str, float]:
    """How far logits of the same texts lie apart: the three `COLUMNS`."""
    texts = list(zip(ours, right, strict=True))
    other = torch.cat([a.argmax(dim=-1) != b.argmax(dim=-1) for a, b in texts])
    return {
        "largest": max(float((a - b).abs().max() / b.abs().max()) for a, b in texts),
        "nats": torch.cat([kl_divergence(a, b) for a, b in texts]).mean().item(),
        "other_token": other.double().mean().item(),
    }


@dataclass(frozen=True, eq=False)
class Passes:
    """A model, steered by a method or by none, and the ways to run the same rows through it."""

    model: ls.SteerableModel
    rows: Sequence[tuple[int, ...]]
    method: Any = None

    def alone(self) -> Logits:
        """The logits of every row, run by itself without a cache."""
        return [self._padded([row], left=False)[0] for row in self.rows]

    def batched(self, *, left: bool) -> Logits:
        """The same in batches, padded on the left or on the right."""
        return [row for batch in self._batches() for row in self._padded(batch, left=left)]

    def cached(self) -> Logits:
        """Logits after all but the last tokens, and after each of them, in batches over a cache."""
        return [row for batch in self._batches() for row in self._over_a_cache(batch)]

    def _batches(self) -> list[Sequence[tuple[int, ...]]]:
        return [self.rows[i : i + BATCH] for i in range(0, len(self.rows), BATCH)]

    def _steered(self, rows: Sequence[tuple[int, ...]]) -> Any:
        methods = [] if self.method is None else [self.method]
        return ls.steered(self.model, *methods, prompt_lengths=[len(row) - STEPS for row in rows])

    def _padded(self, rows: Sequence[tuple[int, ...]], *, left: bool) -> Logits:
        with self._steered(rows):
            return [row.float() for row in padded(self.model, rows, left=left)]

    def _over_a_cache(self, rows: Sequence[tuple[int, ...]]) -> Logits:
        with self._steered(rows):
            return [row.float() for row in over_a_cache(self.model, rows, STEPS)]


def table_of(name: str, pairs: ls.ContrastivePairs, device: str | None) -> tuple[pd.DataFrame, Any]:
    """A row for each number type, comparison and method, and which model it was."""
    table: list[dict[str, Any]] = []
    methods: dict[str, Any] = {}
    reference: dict[str, Logits] = {}
    identity: Any = None
    for dtype in tqdm(DTYPES, desc="number types"):
        model = ls.load_model(name, device=device, dtype=dtype)
        if not methods:  # in float32, the first
            resid = ls.capture(model, pairs, "resid", progress=False)
            methods = {"none": None, "CAA": ls.CAA.fit(resid, layer=len(resid.layers) // 2)}
            identity = fingerprint(model)
        texts = pairs.desired
        rows = [encode(model, each.prompt, each.continuation).ids for each in texts]
        for method in methods:
            passes = Passes(model, rows, methods[method])
            alone = passes.alone()
            ends = [row[-STEPS - 1 :] for row in alone]
            measured = {
                "a key-value cache": difference(passes.cached(), ends),
                "a batch, padded right": difference(passes.batched(left=False), alone),
                "a batch, padded left": difference(passes.batched(left=True), alone),
            }
            if method in reference:
                measured["float32"] = difference(alone, reference[method])
            else:
                reference[method] = alone
            cell = {"dtype": str(dtype).removeprefix("torch."), "method": method}
            table += [cell | {"against": way} | sizes for way, sizes in measured.items()]
    return pd.DataFrame(table), identity


def figure_of(table: pd.DataFrame) -> Figure:
    """Each measure by comparison, a colour for each number type; an open mark is steered."""
    ways = list(dict.fromkeys(table["against"]))
    with canvas(1, len(COLUMNS), width=9.0, height=2.8, sharey=True) as (figure, grid):
        for axes, (column, label) in zip(grid, COLUMNS.items(), strict=True):
            for i, (dtype, part) in enumerate(table.groupby("dtype", sort=False)):
                for method, cells in part.groupby("method", sort=False):
                    rows = [ways.index(way) + 0.2 * (i - 1) for way in cells["against"]]
                    face = "none" if method == "CAA" else f"C{i}"
                    style = {"color": f"C{i}", "markerfacecolor": face}
                    axes.plot(cells[column], rows, "o", label=f"{dtype}, {method}", **style)
            axes.set_yticks(range(len(ways)), ways)
            shares = column == "other_token"
            axes.set(xlabel=label if shares else f"{label} (0: no mark)")
            if not shares:
                axes.set_xscale("log")
        grid[-1].legend(loc="center left", bbox_to_anchor=(1.02, 0.5))
    return figure


def main(
    model: Model = "organism",
    pairs: Annotated[
        str | None,
        option(
            Text,
            "A named set of pairs, or a file. Left out: as for lens-steer demo.",
            check=lambda name: check_each_pairs((name,)),
            metavar="PAIRS",
            show_default=False,
        ),
    ] = None,
    texts: Annotated[int, option(Count, "How many pairs are drawn.", metavar="INTEGER")] = 16,
    device: Device = None,
    out: Out = Path("out/precision"),
    seed: Seed = 0,
) -> None:
    """Measure what bfloat16 and float16 change, of a pass and between two ways of running it."""
    named = pairs or defaults_of(model).pairs
    few = drawn(ls.ContrastivePairs.load(named), texts, seed)
    with writing_in(out):
        table, identity = table_of(model, few, device)
        origin = {"model": model, "pairs": named, "texts": len(few), "fingerprint": identity}
        save_figure(figure_of(table), out / "precision.png", table, origin | {"seed": seed})
        typer.echo(table.to_string(index=False, float_format="{:.1e}".format))


if __name__ == "__main__":
    start(main, __doc__)
