"""All methods on several models and behaviours, at equal search and equal cost.

Every method may try as many settings (`--settings`), each calibrated to 0.1 nats per token on dev;
the one that does most there is taken, and shown on test at four strengths: behaviour at 0.03, 0.1
and 0.3 nats realised, beside random directions, a persona in the prompt (embedded models), best of
n and a learned vector. Each method less CAA, paired; p after Holm over all. Where a behaviour is
measured on several models, intervals draw models, then groups of prompts. With `--budget`, each
method also tries as many settings and strengths, drawn from its prior; the best on dev is shown on
test, less CAA's, and chosen again in every resample.

Models are separated by commas; one that has pairs of its own is MODEL=SET. A unit is one behaviour
of one model: it is kept when it is done, and a run that was stopped goes on with the next.

    python -m analyses.method_comparison --models organism,out/seed1/weights --out out/methods
    python -m analyses.method_comparison --models ../shared/models/stories260k=stories:sad
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import pandas as pd
import typer
from tqdm.auto import tqdm

import lens_steer as ls
from analyses.method_comparison import tables
from analyses.method_comparison.figures import (
    cost_figure,
    forest_figure,
    search_figure,
    searched_figure,
    strip_figure,
)
from analyses.method_comparison.specificity import specificity
from analyses.method_comparison.units import Plan, Unit
from analyses.studies import names_of
from lens_steer import organism
from lens_steer.benchmark import AGAINST, Comparison, ComparisonConfig, Frontier, families
from lens_steer.cli import run_command
from lens_steer.figures import save_figure
from lens_steer.files import writing_in

_FIGURES: dict[str, tuple[str, str, Any]] = {  # table, a column without which it is not drawn
    "forest": ("table", "method", forest_figure),
    "costs": ("table", "method", cost_figure),
    "models": ("by_model", "method", strip_figure),
    "search": ("search", "n", search_figure),
    "searched": ("search", f"less_{AGAINST}", searched_figure),
}


class Found:
    """What was measured so far, behaviour by behaviour."""

    def __init__(self) -> None:
        self._parts: dict[str, list[Comparison]] = {}
        self._tables: dict[str, dict[str, Any]] = {}
        self._by_model: list[Any] = []

    def add(self, unit: Unit, found: Comparison) -> None:
        """One unit more; tables of its behaviour are made anew when they are next asked for."""
        self._parts.setdefault(unit.pairs, []).append(found)
        self._tables.pop(unit.pairs, None)
        self._by_model.append(tables.of_unit(found, unit))

    def report(self, units: Sequence[Unit], plan: Plan) -> None:
        """Tables and figures of all that there is."""
        for pairs in self._parts.keys() - self._tables.keys():
            self._tables[pairs] = tables.of_behaviour(self._parts[pairs])
        each = [self._tables[pairs] for pairs in self._parts]
        whole = {
            name: pd.concat([own[name] for own in each], ignore_index=True)
            for name in ("table", "differences")
        }
        whole = tables.corrected(whole) | tables.of_choices(units, plan)
        whole["by_model"] = pd.concat(self._by_model, ignore_index=True)
        whole["search"] = tables.of_search(units, plan)
        tables.write(whole, plan.out)
        about: dict[str, Any] = {"methods": plan.methods, "settings": plan.tried, "fits": plan.fits}
        about |= {"budget": plan.budget, "units": whole["units"].to_dict("records")}
        for name, (of, needed, draw) in _FIGURES.items():
            if needed in whole[of]:
                save_figure(draw(whole[of]), plan.out / f"{name}.png", whole[of], about)
        for parts in self._parts.values():
            found = tables.shared(parts)
            frontier = Frontier.of(found, found.behaviours[0])
            place = plan.out / f"frontier-{found.behaviours[0].replace(':', '-')}.png"
            save_figure(frontier.figure(), place, frontier.table(), about)


def units_of(models: str, pairs: str) -> list[Unit]:
    """Every behaviour of every model, in the order given.

    Raises:
        ValueError: If there is no model, or one is named twice.
    """
    behaviours = names_of(pairs)
    found = []
    for each in filter(None, (part.strip() for part in models.split(","))):
        model, _, own = each.partition("=")
        found += [Unit(model, name) for name in ([own] if own else behaviours)]
    if not found or len(set(found)) < len(found):
        raise ValueError(f"models {models!r}: expected one or more, none twice")
    return found


def main(  # noqa: PLR0913 - a command's options
    models: Annotated[str, typer.Option(help="With commas; MODEL=SET has its own pairs.")] = (
        "organism"
    ),
    pairs: Annotated[str, typer.Option(help="Sets, with commas; empty: all organism:*.")] = "",
    methods: Annotated[str, typer.Option(help="Names, with commas, or all.")] = "all",
    settings: Annotated[int, typer.Option(min=1, help="Tried on dev, of each method.")] = 4,
    fits: Annotated[int, typer.Option(min=1, help="From resampled training data.")] = 1,
    budget: Annotated[int, typer.Option(min=0, help="Trials of random search; 0: none.")] = 0,
    dev_prompts: Annotated[int, typer.Option(min=2, help="To choose on, at most.")] = 24,
    tokens: Annotated[int, typer.Option(min=1, help="Longest text.")] = organism.LONGEST,
    specific: Annotated[str, typer.Option(help="Methods, each run on all behaviours.")] = "",
    out: Annotated[Path, typer.Option(help="Folder for all of it.")] = Path("out/methods"),
    seed: Annotated[int, typer.Option(min=0, help="Of splits, draws and texts.")] = 0,
) -> None:
    """Compare methods over models and behaviours, at equal search and equal cost."""
    chosen = tuple(each.name for each in families(methods))
    units = units_of(models, pairs)
    multiples = {"multiples": (0.5, 1.0, 1.4, 2.0), "randoms": 1, "best_of": 2}
    terms = ComparisonConfig(seed=seed, temperature=0.7, max_new_tokens=tokens, **multiples)
    plan = Plan(out, chosen, settings, fits, budget, dev_prompts, terms)
    with writing_in(out):
        found = Found()
        kinds = [each.name for each in families(specific)] if specific else []
        for name in dict.fromkeys(unit.model for unit in units):
            model, own = ls.load_model(name), [unit for unit in units if unit.model == name]
            for unit in tqdm(own, desc=f"units of {name}"):
                known = unit.about(plan) is not None
                found.add(unit, unit.measure(model, plan, typer.echo))
                if not known:
                    found.report(units, plan)
            for kind in kinds:
                specificity(model, own, kind, plan, typer.echo)
        found.report(units, plan)
        shown: Any = pd.read_csv(out / "table.csv")
        columns = ["behaviour_name", "method", "models", "behaviour", "kl", "at_0.1", "p_holm"]
        typer.echo(shown[columns].to_string(index=False, float_format="{:.3f}".format))


if __name__ == "__main__":
    app = typer.Typer(add_completion=False, rich_markup_mode=None)
    app.command()(main)
    run_command(lambda: app(standalone_mode=False))
