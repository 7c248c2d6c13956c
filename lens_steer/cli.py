"""The `lens-steer` command."""

import sys
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

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
        found = (f"{name} {version(name)}" for name in ("lens-steer", "transformer-lens", "torch"))
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


Model = Annotated[
    str,
    typer.Option(
        help="organism (the small model in the package), a hub name, or a directory in the Hugging "
        "Face format."
    ),
]
Pairs = Annotated[
    str | None,
    typer.Option(
        help="A named set (organism:sentiment, truthfulness, toxicity, refusal, concept or "
        "polarity; stories:sad), or a .jsonl or .csv file. Each line has prompt (or messages), "
        "desired, undesired, and group if lines belong together; or, unpaired, text and label. "
        "Left out: organism:sentiment for the organism, stories:sad for any other model.",
        show_default=False,
    ),
]
Out = Annotated[Path, typer.Option(help="Folder for figures, their data, texts and the method.")]
Seed = Annotated[int, typer.Option(min=0, help="Of the split, the sampling and the intervals.")]
Words = Annotated[
    str,
    typer.Option(
        help="Comma-separated; a text with one of them shows the behaviour. Left out: the named "
        "set's own judge (exact for organism:*); for other pairs, the share whose desired "
        "continuation is the likelier.",
        show_default=False,
    ),
]
Read = Annotated[
    Literal["last", "mean", "prompt_last"] | None,
    typer.Option(
        help="Read the continuation's last token, its mean, or the prompt's last token. Left out: "
        "mean for the organism, last for any other model.",
        show_default=False,
    ),
]
Where = Annotated[
    Literal["last", "prompt", "generated", "all"],
    typer.Option(
        help="Steer the last prompt token and all generated ones (last), the prompt but its first "
        "token if that is the beginning-of-sequence token, the generated tokens, or all."
    ),
]
Backend = Annotated[
    Literal["bridge", "hooked"],
    typer.Option(help="TransformerBridge, or HookedTransformer (TransformerLens 3.9)."),
]
Length = Annotated[
    int | None,
    typer.Option(
        min=1,
        help="At most so many tokens for each text. Left out: 80 for the organism, whose texts are "
        "no longer, 40 for any other model.",
        show_default=False,
    ),
]
Device = Annotated[
    str | None, typer.Option(help="cpu, cuda, cuda:1 or mps. Left out: CUDA where there is one.")
]


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
    temperature: Annotated[float, typer.Option(min=0.0, help="Of the texts; 0 is greedy.")] = 0.7,
    dev_prompts: Annotated[int, typer.Option(min=1, help="At most so many to choose on.")] = 48,
) -> None:
    """Read a model, choose CAA's layer and strength on dev, steer, report on test.

    Shows which tokens are read, which are steered and by how much, and unsteered beside steered
    texts.

    Without options: the sentiment of the small model in the package, judged by its grammar.

    Writes to OUT: separability.png (how far apart the classes are, by layer) and sweep.png
    (behaviour and perplexity against the size of the push, beside a random direction), each with
    its numbers as .csv and their origin as .json; choice.csv, texts.csv, method.safetensors (for
    lens_steer.load).
    """
    from lens_steer.demo import DemoSettings, run, usual

    given = {"pairs": pairs, "read": read, "max_new_tokens": max_new_tokens}
    settings = DemoSettings(
        **usual(model) | {name: value for name, value in given.items() if value is not None},
        model=model,
        out=out,
        seed=seed,
        words=tuple(word.strip() for word in words.split(",") if word.strip()),
        scope=scope,
        backend=backend,
        device=device,
        temperature=temperature,
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
