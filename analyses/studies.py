"""What the studies share: one command, its options, and the loop over behaviours.

A `Study` says what it measures of one behaviour, which of its tables have a figure, and which
columns are printed. Its `command` loads the model, measures one behaviour after the other, and
saves the tables of all behaviours so far after each, so that a run that is stopped loses one.
"""

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import pandas as pd
import typer
from matplotlib.figure import Figure
from tqdm.auto import tqdm

import lens_steer as ls
from lens_steer import arguments, organism
from lens_steer.arguments import Count, Texts
from lens_steer.benchmark import SHARES, Behaviour, ComparisonConfig, FitCache
from lens_steer.cli import Model as Model
from lens_steer.cli import OnceCommand, check_each_pairs, option, run_command
from lens_steer.cli import Out as Out
from lens_steer.cli import Seed as Seed
from lens_steer.evaluation import judge_of
from lens_steer.figures import save_figure, save_table
from lens_steer.files import writing_in
from lens_steer.models import attach

Tables = dict[str, Any]

Pairs = Annotated[
    Any,
    option(
        Texts,
        "Named sets of contrastive pairs, or files, separated by commas. Left out: all six "
        "organism:* sets.",
        check=check_each_pairs,
        show_default=False,
    ),
]
Reads = Annotated[
    Any,
    option(
        Sequence[Literal["last", "mean"]],
        "Where activations are read: at the continuation's last token (last), as the mean over the "
        "continuation (mean), or mean,last: the better one on dev.",
    ),
]
Layers = Annotated[
    Any,
    option(
        arguments.Layers,
        "The blocks, counted from 0 and separated by commas, of which the best on dev is taken.",
    ),
]
Tokens = Annotated[
    int, option(Count, "The largest number of tokens of each text.", metavar="INTEGER")
]


@dataclass(frozen=True, eq=False)
class Run:
    """What is the same for all behaviours of one run.

    Attributes:
        model: The model that is read and steered.
        out: Folder for figures and tables.
        seed: Of the split, all random draws and the texts.
        origin: What is saved beside every figure: the options and which model it was.
    """

    model: ls.SteerableModel
    out: Path
    seed: int
    origin: Mapping[str, Any] = field(default_factory=dict)

    def behaviour(
        self, pairs: str, reads: Sequence[str] = ("mean", "last"), most: int | None = None
    ) -> Behaviour:
        """Split a set of pairs by groups into train, dev and test.

        Args:
            pairs: A named set or a file.
            reads: Read positions to choose from.
            most: At most so many pairs of each part, drawn at random; None keeps all.

        Raises:
            ValueError: If there are no such pairs, or too few.
        """
        parts = ls.ContrastivePairs.load(pairs).split(*SHARES, seed=self.seed)
        if most is not None:
            parts = tuple(drawn(part, most, self.seed) for part in parts)
        train, dev, test = parts
        positions: Any = tuple(reads)
        cache = FitCache(self.model, train, positions)
        return Behaviour(pairs, dev, test, judge_of(pairs), cache, self.origin)

    def config(self, tokens: int, **variation: Any) -> ComparisonConfig:
        """How texts are written and methods are varied: temperature 0.7, best of two."""
        texts = {"temperature": 0.7, "max_new_tokens": tokens}
        return ComparisonConfig(seed=self.seed, best_of=2, timed=False, **texts, **variation)

    def save(self, stem: str, figure: Figure, table: Any, **origin: Any) -> None:
        """Save a figure as `stem`.png with its numbers and their origin beside it."""
        name = stem.replace(":", "-").replace(" ", "-")
        save_figure(figure, self.out / f"{name}.png", table, {**self.origin, **origin})


@dataclass(frozen=True, eq=False)
class Study:
    """A study that measures one behaviour after the other.

    Attributes:
        name: `python -m analyses.NAME` runs the study, which writes to `out/NAME`.
        manual: What `--help` shows.
        measure: Measures one behaviour of a run, given its set of pairs, and returns tables by
            name. Its keyword-only parameters become options of the command.
        figures: Draws a table of that name; the figure is saved with the table.
        columns: The columns that are printed at the end, of each table; an empty list is all.
        complete: Adds to the tables of all behaviours so far, before they are saved.
        prepare: Called once before the first behaviour, with the run, the sets of pairs and the
            options of `measure`; it refuses what `finish` could not use.
        finish: Called once after the last behaviour, with the run, the sets of pairs, the tables
            and the options of `measure`; what it adds to the tables can be printed too.
    """

    name: str
    manual: str
    measure: Callable[..., Tables]
    columns: Mapping[str, Sequence[str]]
    figures: Mapping[str, Callable[[Any], Figure]] = field(default_factory=dict)
    complete: Callable[[Tables], Tables] = dict
    prepare: Callable[..., Any] | None = None
    finish: Callable[..., None] | None = None

    @property
    def signature(self) -> inspect.Signature:
        """The options of the command: those of all studies around those of `measure`."""
        keyword = inspect.Parameter.KEYWORD_ONLY
        parameters = inspect.signature(self.measure).parameters.values()

        def parameter(name: str, default: Any, annotation: Any) -> inspect.Parameter:
            return inspect.Parameter(name, keyword, default=default, annotation=annotation)

        return inspect.Signature(
            [
                parameter("model", "organism", Model),
                parameter("pairs", None, Pairs),
                *(each for each in parameters if each.kind is keyword),
                parameter("out", Path("out") / self.name, Out),
                parameter("seed", 0, Seed),
            ]
        )

    def command(self) -> Callable[..., None]:
        """The function that `python -m` runs, with all options as keyword arguments."""
        signature = self.signature

        def main(**options: Any) -> None:
            bound = signature.bind(**options)
            bound.apply_defaults()
            self.run(**bound.arguments)

        main.__doc__ = self.manual
        main.__annotations__ = {
            name: parameter.annotation for name, parameter in signature.parameters.items()
        }
        setattr(main, "__signature__", signature)  # noqa: B010 - functions declare no such attribute
        return main

    def run(
        self, model: str, pairs: Sequence[str] | None, out: Path, seed: int, **options: Any
    ) -> None:
        """Measure every behaviour, save what there is after each, and print the columns."""
        with writing_in(out):
            loaded = ls.load_model(model)
            names = names_of(pairs)
            settings = {"model": model, "pairs": names, "seed": seed, **options}
            run = Run(loaded, out, seed, settings | {"fingerprint": fingerprint(loaded)})
            parts: dict[str, list[Any]] = {}
            tables: Tables = {}
            if self.prepare is not None:
                self.prepare(run, names, **options)
            for name in tqdm(names, desc=self.name):
                for key, table in self.measure(run, name, **options).items():
                    parts.setdefault(key, []).append(table)
                together = {key: pd.concat(each, ignore_index=True) for key, each in parts.items()}
                tables = self.complete(together)
                self.save(run, tables)
            if self.finish is not None:
                self.finish(run, names, tables, **options)
            for key, columns in self.columns.items():
                if key in tables:
                    show(tables[key], columns)

    def save(self, run: Run, tables: Tables) -> None:
        """Save every table, with its figure where it has one."""
        for key, table in tables.items():
            if key in self.figures:
                run.save(key, self.figures[key](table), table)
            else:
                save_table(table, run.out / f"{key}.csv")


def names_of(pairs: Sequence[str] | None) -> list[str]:
    """These sets of pairs; all sets of the embedded model if there are none."""
    return [*pairs] if pairs else [f"organism:{name}" for name in organism.behaviours()]


def fingerprint(model: ls.SteerableModel) -> dict[str, Any]:
    """Which model it was, as it is saved beside figures."""
    return asdict(attach(model).fingerprint)


def drawn(pairs: ls.ContrastivePairs, most: int, seed: int) -> ls.ContrastivePairs:
    """At most so many pairs, drawn at random: the first ones may be of a few groups only."""
    order = np.random.default_rng(seed).permutation(len(pairs.desired)).tolist()
    return selected(pairs, sorted(order[:most]))


def selected(pairs: ls.ContrastivePairs, rows: Sequence[int]) -> ls.ContrastivePairs:
    """The pairs of these row numbers."""
    desired, undesired = (tuple(side[i] for i in rows) for side in (pairs.desired, pairs.undesired))
    return ls.ContrastivePairs(desired, undesired, name=pairs.name)


def show(table: Any, columns: Sequence[str] = ()) -> None:
    """Print some columns of a table, three digits; those it does not have are left out."""
    present = [name for name in columns if name in table] or list(table)
    typer.echo(table[present].to_string(index=False, float_format="{:.3f}".format))


def start(main: Callable[..., None], manual: str | None = None) -> None:
    """Run a function as a command: misuse ends with one line and exit code 2.

    Args:
        main: Its parameters are the options.
        manual: What `--help` shows, its indented lines as they are; None: the docstring of `main`.
    """
    paragraphs = inspect.cleandoc(manual or main.__doc__ or "").split("\n\n")
    text = "\n\n".join(f"\b\n{each}" if each.startswith(" ") else each for each in paragraphs)
    app = typer.Typer(add_completion=False, rich_markup_mode=None)
    app.command(cls=OnceCommand, help=text)(main)
    run_command(lambda: app(standalone_mode=False))
