"""The `lens-steer` command."""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer

from lens_steer.cli.options import (
    Backend,
    Device,
    DevPrompts,
    Length,
    Model,
    Out,
    Pairs,
    Read,
    Seed,
    Temperature,
    Where,
    Words,
    judged_words_of,
    numbers_of,
    words_of,
)
from lens_steer.models import version_of

# Typer 0.29 brings its own click, earlier ones import it: either way this is what misuse raises.
_UsageError: Any = typer.BadParameter.__base__

app = typer.Typer(
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    help="Read language models and steer them, on TransformerLens.",
)


def _version(shown: bool) -> bool:
    if shown:
        found = (
            f"{name} {version_of(name)}" for name in ("lens-steer", "transformer-lens", "torch")
        )
        typer.echo(", ".join(found))
        raise typer.Exit
    return shown


@app.callback(invoke_without_command=True)
def options(
    context: typer.Context,
    shown: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print versions.")
    ] = False,
) -> None:
    """Read language models and steer them, on TransformerLens."""
    del shown
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())


@app.command()
def demo(  # noqa: PLR0913 - options of a command
    model: Model = "organism",
    pairs: Pairs = None,
    out: Out = Path("out/demo"),
    seed: Seed = 0,
    words: Words = "",
    read: Read = None,
    scope: Where = "last",
    backend: Backend = "bridge",
    device: Device = None,
    max_new_tokens: Length = None,
    temperature: Temperature = 0.7,
    dev_prompts: DevPrompts = 48,
) -> None:
    """Read a model, choose CAA's layer and strength on dev, steer, report on test.

    Shows which tokens are read, which are steered and by how much, unsteered beside steered texts,
    and a table of all methods at one cost, beside what they have to beat (see compare).

    Without options: the sentiment of the small model in the package, judged by its grammar.

    Writes to OUT: separability.png (how far apart the classes are, by layer), sweep.png (behaviour
    and perplexity against the size of the push, beside a random direction) and frontier.png
    (behaviour against nats paid, all methods), each with its numbers as .csv and their origin as
    .json; choice.csv, texts.csv, table.csv, method.safetensors (for lens_steer.load).
    """
    from lens_steer.cli.demo_run import DemoSettings, run, usual

    given = {"pairs": pairs, "read": read, "max_new_tokens": max_new_tokens}
    settings = DemoSettings(
        **usual(model) | {name: value for name, value in given.items() if value is not None},
        model=model,
        out=out,
        seed=seed,
        words=judged_words_of(words),
        scope=scope,
        backend=backend,
        device=device,
        temperature=temperature,
        dev_prompts=dev_prompts,
    )
    run(settings, typer.echo)


@app.command()
def compare(  # noqa: PLR0913 - options of a command
    model: Model = "organism",
    pairs: Pairs = None,
    out: Out = Path("out/compare"),
    seed: Seed = 0,
    methods: Annotated[
        str | None,
        typer.Option(
            help="Names, separated by commas, or all. Left out: CAA, SADI, LQR, LQRTracker, "
            "ODESteer.",
            show_default=False,
        ),
    ] = None,
    kl: Annotated[
        float, typer.Option(help="Nats per token on dev to which every method is calibrated.")
    ] = 0.1,
    multiples: Annotated[
        str, typer.Option(help="Of the calibrated strength, at which texts are written on test.")
    ] = "0.25,0.5,0.75,1,1.4,2",
    budgets: Annotated[
        str, typer.Option(help="Nats per token at which behaviour is read off.")
    ] = "0.03,0.1,0.3",
    seeds: Annotated[int, typer.Option(min=1, help="Texts of every prompt.")] = 1,
    fits: Annotated[
        int,
        typer.Option(
            min=1,
            help="How often each method is made: from train, and from train with its groups drawn "
            "again; intervals then cover the fit as well.",
        ),
    ] = 1,
    best_of: Annotated[int, typer.Option(min=2, help="Texts of which the best is taken.")] = 4,
    budget: Annotated[
        int,
        typer.Option(
            min=0,
            help="Trials of random search for each method, drawn from its own prior: what the best "
            "on dev of n is worth on test, against n. 0 leaves it out.",
        ),
    ] = 0,
    instruction: Annotated[
        str, typer.Option(help="Put before the prompts, for the row 'prompting'.")
    ] = "",
    words: Words = "",
    scope: Where = "last",
    backend: Backend = "bridge",
    device: Device = None,
    max_new_tokens: Length = None,
    temperature: Temperature = 1.0,
    dev_prompts: DevPrompts = 48,
) -> None:
    """Compare methods with each other and with what they have to beat, at matched cost.

    Pairs are split by group into train, dev and test. Every method is fitted on train, calibrated
    to the same cost on dev at each of its settings, and the setting that does most on dev is taken.
    On test it writes texts at several multiples of that strength, beside the unsteered model,
    random directions of its size, the best of several texts, a vector learned by gradient descent
    and, with --instruction, another prompt. --pairs takes several sets, separated by commas;
    p-values are corrected over all of them.

    Writes to OUT: trials.jsonl (a row for each trial, with texts, seed, settings and versions),
    table.csv, differences.csv (every pair of methods), points.csv (every strength), for each set
    the figures frontier, doses, energy and tails with their numbers, the methods (for
    lens_steer.load), and with --budget search.jsonl and its figure. A run that was stopped goes on
    where it was when it is started again, and ends with the same bytes; only seconds.csv differs
    from run to run. It goes on only with the same settings, pairs, weights and versions: anything
    else, a damaged file, or a second process that writes to OUT is refused.
    """
    from lens_steer.benchmark import CompareSettings, ComparisonConfig, run
    from lens_steer.cli.demo_run import usual

    known = usual(model)
    terms = ComparisonConfig(
        seed=seed,
        seeds=seeds,
        temperature=temperature,
        max_new_tokens=max_new_tokens or known["max_new_tokens"],
        scope=scope,
        multiples=numbers_of("multiples", multiples),
        budgets=numbers_of("budgets", budgets),
        best_of=best_of,
    )
    settings = CompareSettings(
        model=model,
        pairs=words_of(pairs or known["pairs"]),
        out=out,
        terms=terms,
        methods=methods,
        kl=kl,
        fits=fits,
        budget=budget,
        words=judged_words_of(words),
        instruction=instruction,
        backend=backend,
        device=device,
        dev_prompts=dev_prompts,
    )
    run(settings, typer.echo)


def run_command(command: Callable[[], int | None]) -> None:
    """Run a command; misuse ends with one line and exit code 2."""
    try:
        sys.exit(command() or 0)
    except _UsageError as error:
        message = error.format_message()
    except typer.Abort:
        sys.exit(130)
    except ValueError as error:
        message = str(error)
    typer.echo("lens-steer: " + " ".join(message.split()), err=True)
    sys.exit(2)


def main() -> None:
    """The `lens-steer` command."""
    run_command(lambda: app(standalone_mode=False))
