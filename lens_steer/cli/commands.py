"""The `lens-steer` command."""

from pathlib import Path
from typing import Annotated, Any

import typer

from lens_steer.arguments import Count, CountFromZero, Rising, Text
from lens_steer.benchmark import References, SeveralTexts
from lens_steer.cli.demo_command import demo
from lens_steer.cli.model_commands import describe, fetch
from lens_steer.cli.options import (
    Backend,
    Columns,
    Cost,
    Device,
    DevPrompts,
    Length,
    Methods,
    Model,
    Out,
    Reads,
    Seed,
    SeveralPairs,
    Sink,
    TemperatureAbove0,
    TemplateName,
    Where,
    Words,
)
from lens_steer.cli.report_command import report
from lens_steer.cli.typed_options import OnceCommand, check_pairs, option, run_command
from lens_steer.models import version_of

app = typer.Typer(
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    help="Read language models and steer them, on TransformerLens.",
)


def _version(wanted: bool) -> bool:
    if wanted:
        names = ("lens-steer", "transformer-lens", "torch")
        typer.echo(", ".join(f"{name} {version_of(name)}" for name in names))
        raise typer.Exit
    return wanted


@app.callback(invoke_without_command=True)
def options(
    context: typer.Context,
    wanted: Annotated[
        bool,
        typer.Option("--version", callback=_version, is_eager=True, help="Print the versions."),
    ] = False,
) -> None:
    """Read language models and steer them, on TransformerLens."""
    del wanted
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())


app.command(
    cls=OnceCommand, short_help="Read a model, steer it with CAA, and report what that does."
)(demo)


@app.command(cls=OnceCommand, short_help="Compare several methods at one cost on held-out prompts.")
def compare(  # noqa: PLR0913 - options of a command
    model: Model = "organism",
    pairs: SeveralPairs = None,
    columns: Columns = None,
    template: TemplateName = None,
    out: Out = Path("out/compare"),
    seed: Seed = 0,
    methods: Methods = None,
    kl: Cost = 0.1,
    multiples: Annotated[
        Any,
        option(
            Rising,
            "The strengths at which texts are written on test, as multiples of the calibrated one, "
            "separated by commas.",
        ),
    ] = (0.25, 0.5, 0.75, 1, 1.4, 2),
    budgets: Annotated[
        Any,
        option(
            Rising,
            "The costs, in nats per token and separated by commas, at which behaviour is read off.",
        ),
    ] = (0.03, 0.1, 0.3),
    seeds: Annotated[
        int,
        option(Count, "The number of texts that continue every prompt.", metavar="INTEGER"),
    ] = 1,
    fits: Annotated[
        int,
        option(
            Count,
            "How often each method is made: from train, and from train with its groups drawn "
            "again. With several, intervals cover the fit as well.",
            metavar="INTEGER",
        ),
    ] = 1,
    best_of: Annotated[
        int,
        option(
            SeveralTexts,
            "The number of texts of which the best is taken.",
            metavar="INTEGER",
        ),
    ] = 4,
    budget: Annotated[
        int,
        option(
            CountFromZero,
            "The number of random-search trials of each method, with settings drawn from its own "
            "prior: they say what the best of n on dev is worth on test. 0 leaves them out.",
            metavar="INTEGER",
        ),
    ] = 0,
    references: Annotated[
        Any,
        option(
            References,
            "The rows beside the methods, separated by commas, of unsteered (always there), "
            "random, prompting, best of n and learned. Left out: all that can be made.",
            show_default=False,
        ),
    ] = None,
    instruction: Annotated[
        str | None,
        option(
            Text,
            "A text that is put before the prompts, for the row 'prompting'. Left out: no such "
            "row.",
            metavar="TEXT",
            show_default=False,
        ),
    ] = None,
    words: Words = None,
    reads: Reads = ("mean", "last"),
    scope: Where = "last",
    sink: Sink = False,
    backend: Backend = "bridge",
    device: Device = None,
    max_new_tokens: Length = None,
    temperature: TemperatureAbove0 = 1.0,
    dev_prompts: DevPrompts = 48,
    timing: Annotated[
        bool,
        typer.Option(
            help="Time generation with every method at the end, for seconds.csv: three rounds of a "
            "few texts each, as long again as the rest of a small comparison."
        ),
    ] = True,
) -> None:
    """Compare methods with each other and with what they have to beat, at matched cost.

    Pairs are split by group into train, dev and test. Every method is fitted on train, calibrated
    to the same cost on dev at each of its settings, and the setting that does most on dev is taken.
    On test it writes texts at several multiples of that strength, beside the unsteered model,
    random directions of its cost, the best of several texts, a vector learned by gradient descent
    and, with --instruction, another prompt. --pairs takes several sets, separated by commas;
    p-values are corrected over all of them.

    Files in OUT: trials.jsonl (a row for each trial, with texts, seed, settings and versions),
    table.csv, differences.csv (every pair of methods), points.csv (every strength), for each set
    the figures frontier, doses, energy and tails with their numbers, the methods (for
    lens_steer.load), and with --budget search.jsonl and its figure. A run that was stopped goes on
    where it was when it is started again, and ends with the same bytes; only seconds.csv differs
    from run to run. It goes on only with the same settings, pairs, weights and versions: anything
    else, a damaged file, or a second process that writes to OUT is refused.
    """
    from lens_steer.benchmark import CompareSettings, ComparisonConfig, defaults_of, run_comparison

    defaults = defaults_of(model)
    chosen = pairs or (defaults.pairs,)
    check_pairs(chosen, columns, template)
    config = ComparisonConfig(
        seed=seed,
        seeds=seeds,
        temperature=temperature,
        max_new_tokens=max_new_tokens or defaults.max_new_tokens,
        scope=scope,
        sink=sink,
        timed=timing,
        multiples=multiples,
        budgets=budgets,
        best_of=best_of,
        references=references,
    )
    settings = CompareSettings(
        model=model,
        pairs=chosen,
        columns=columns,
        template=template,
        out=out,
        config=config,
        methods=methods,
        kl=kl,
        fits=fits,
        budget=budget,
        words=words or (),
        reads=reads,
        instruction=instruction or "",
        backend=backend,
        device=device,
        dev_prompts=dev_prompts,
    )
    run_comparison(settings, typer.echo)


app.command(cls=OnceCommand, short_help="Say on one screen what a model is.")(describe)
app.command(
    cls=OnceCommand, short_help="Bring SmolLM2-135M-Instruct and Gemma-3-270M onto this machine."
)(fetch)
app.command(cls=OnceCommand, short_help="Write what a command found as one HTML page.")(report)


def main() -> None:
    """The `lens-steer` command."""
    run_command(lambda: app(standalone_mode=False))
