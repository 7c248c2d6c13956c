"""The command: `python -m analyses.method_comparison`."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import pandas as pd
import typer
from tqdm.auto import tqdm

import analyses.method_comparison as study
import lens_steer as ls
from analyses.method_comparison.reporting import UnitComparisons
from analyses.method_comparison.specificity import specificity
from analyses.method_comparison.units import Plan, Unit
from analyses.studies import Out, Pairs, Seed, Tokens, names_of, show, start
from lens_steer import organism
from lens_steer.arguments import Count, CountFromZero, Expected, Text, Texts
from lens_steer.benchmark import ComparisonConfig, families
from lens_steer.cli import check_each_pairs, option
from lens_steer.files import writing_in
from lens_steer.models import model_directory


def check_models(models: Sequence[str]) -> None:
    """Raise a ValueError unless each is the name of a model, or MODEL=SET."""
    for model, _, pairs in (each.partition("=") for each in models):
        model_directory(model)
        if pairs:
            check_each_pairs((pairs,))


def units_of(models: Sequence[str], pairs: Sequence[str] | None) -> list[Unit]:
    """Every behaviour of every model, in the order of the options.

    Raises:
        ValueError: If there is one twice.
    """
    units = []
    for each in models:
        model, _, pairs_of_model = each.partition("=")
        units += [
            Unit(model, name) for name in names_of([pairs_of_model] if pairs_of_model else pairs)
        ]
    if len(set(units)) < len(units):
        raise ValueError(f"--models {','.join(models)!r}: expected none twice")
    return units


def main(  # noqa: PLR0913 - a command's options
    models: Annotated[
        Any,
        option(
            Texts,
            "The models, separated by commas; MODEL=SET runs a model on a set of its own.",
            check=check_models,
        ),
    ] = ("organism",),
    pairs: Pairs = None,
    methods: Annotated[
        str,
        option(
            Text, "The methods: names separated by commas, or all.", check=families, metavar="LIST"
        ),
    ] = "all",
    settings: Annotated[
        int,
        option(
            Count,
            "The largest number of settings of each method that are tried on dev.",
            metavar="INTEGER",
        ),
    ] = 4,
    fits: Annotated[
        int,
        option(
            Count,
            "How often each method is made: from train, then from resampled groups of it.",
            metavar="INTEGER",
        ),
    ] = 1,
    budget: Annotated[
        int,
        option(
            CountFromZero,
            "The number of random-search trials of each method; 0 leaves the search out.",
            metavar="INTEGER",
        ),
    ] = 0,
    dev_prompts: Annotated[
        int,
        option(
            Annotated[int, Expected("a whole number of at least 2", lambda n: n >= 2)],
            "The largest number of prompts that methods are chosen on.",
            metavar="INTEGER",
        ),
    ] = 24,
    tokens: Tokens = organism.LONGEST,
    specific: Annotated[
        str | None,
        option(
            Text,
            "The methods whose specificity is measured, separated by commas. Left out: none.",
            check=families,
            metavar="LIST",
        ),
    ] = None,
    out: Out = Path("out/methods"),
    seed: Seed = 0,
) -> None:
    """Compare methods over models and behaviours, at equal search and equal cost."""
    names = tuple(each.name for each in families(methods))
    crossed = [each.name for each in families(specific)] if specific else []
    if not set(crossed) <= set(names):
        raise ValueError(f"--specific {specific!r}: expected some of --methods {','.join(names)!r}")
    units = units_of(models, pairs)
    variation: dict[str, Any] = {"multiples": (0.5, 1.0, 1.4, 2.0), "randoms": 1, "best_of": 2}
    config = ComparisonConfig(seed=seed, temperature=0.7, max_new_tokens=tokens, **variation)
    plan = Plan(out, names, settings, fits, budget, dev_prompts, config)
    with writing_in(out):
        comparisons = UnitComparisons()
        for name in dict.fromkeys(unit.model for unit in units):
            model, here = ls.load_model(name), [unit for unit in units if unit.model == name]
            for unit in tqdm(here, desc=f"units of {name}"):
                was_done = unit.about(plan) is not None
                comparisons.add(unit, unit.measure(model, plan, typer.echo))
                if not was_done:
                    comparisons.report(units, plan)
            for method in crossed:
                specificity(model, here, method, plan, typer.echo)
        comparisons.report(units, plan)
        columns = ["behaviour_name", "method", "models", "behaviour", "kl", "at_0.1", "p_holm"]
        show(pd.read_csv(out / "table.csv"), columns)


if __name__ == "__main__":
    start(main, study.__doc__)
