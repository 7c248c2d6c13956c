"""The main job from end to end: read a model, choose layer and strength on dev, report on test."""

import os
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from lens_steer import organism
from lens_steer.activations import (
    Activations,
    ReadPosition,
    SeparabilityReport,
    capture,
    show_read_positions,
)
from lens_steer.artifacts import save
from lens_steer.benchmark import (
    DEV_PROMPTS,
    KL,
    SHARES,
    Comparison,
    ComparisonConfig,
    FitCache,
    Frontier,
    choose_all,
    comparison,
    families,
    stored,
    summary_lines,
)
from lens_steer.cli.demo_report import DemoReport, introduction, report_lines
from lens_steer.data import ContrastivePairs
from lens_steer.evaluation import Judge, SweepReport, choose, judge_of, sweep
from lens_steer.figures import save_figure, save_table
from lens_steer.files import writing_in
from lens_steer.models import SteerableModel, attach, load_model, render
from lens_steer.steering import CAA, Decoding, Random, Scope, preview, prompt_rows

if TYPE_CHECKING:
    import pandas as pd

# Sizes of the push that are tried, as a share of the activation's own length; 0 is no steering.
SIZES = (0.0, 0.1, 0.2, 0.35, 0.5, 0.65, 1.0, 1.4)
GREEDY = "         no table of methods: greedy texts have no finite divergence to compare them at"


@dataclass(frozen=True)
class DemoSettings:
    """What the demo is run on.

    Attributes:
        model: `organism`, a hub name or a directory.
        pairs: A named set or a file.
        out: The folder for everything that is written.
        seed: The seed of the split, the texts and the intervals.
        methods: Names of method families for the table, separated by commas, or `all`; None is the
            default five.
        words: A text with one of these words shows the behaviour; empty: the named set's own judge
            or, for other pairs, the share whose desired continuation is the likelier.
        read: Where activations are read, see `capture`.
        scope: Where the model is steered, see `steered`.
        backend: See `load_model`.
        device: See `load_model`.
        max_new_tokens: The length of every text, in tokens.
        temperature: The temperature of every text; 0 is greedy.
        dev_prompts: The largest number of prompts to choose the layer and the strength on.
    """

    model: str
    pairs: str
    out: Path
    seed: int
    methods: str | None = None
    words: tuple[str, ...] = ()
    read: ReadPosition = "last"
    scope: Scope = "last"
    backend: Literal["bridge", "hooked"] = "bridge"
    device: str | None = None
    max_new_tokens: int = 40
    temperature: float = 0.7
    dev_prompts: int = DEV_PROMPTS

    @property
    def judge(self) -> Judge | None:
        """The judge that scores the texts; None without one."""
        return judge_of(self.pairs, self.words)

    @property
    def behaviour_name(self) -> str:
        """The name of the score."""
        judge = self.judge
        if isinstance(judge, organism.ExactJudge):
            return f"share of texts with {judge.behaviour.criterion}"
        return (
            "share preferring desired" if judge is None else "share of texts with one of the words"
        )


def run(settings: DemoSettings, echo: Callable[[str], None]) -> DemoReport:
    """Run the demo; files go to `settings.out`.

    Args:
        echo: Gets each line of the report.

    Raises:
        ValueError: If anything in the settings cannot be used, or the folder cannot be written to
            or is being written in by another process, or holds a run of `lens-steer compare`; no
            file is then half-written.

    Example:
        >>> settings = DemoSettings("organism", "organism:sentiment", Path("out/demo"), seed=0)
        >>> report = run(settings, print)
    """
    families(settings.methods)  # an unknown name ends the demo here
    pairs = ContrastivePairs.load(settings.pairs)
    with writing_in(settings.out):
        if os.path.lexists(settings.out / "trials.jsonl"):  # whose table.csv would be overwritten
            raise ValueError(
                f"{str(settings.out)!r} holds a run of lens-steer compare: choose another folder"
            )
        return _run(settings, pairs, echo)


def _run(
    settings: DemoSettings, pairs: ContrastivePairs, echo: Callable[[str], None]
) -> DemoReport:
    train, dev, test = pairs.split(*SHARES, seed=settings.seed)
    model = load_model(settings.model, backend=settings.backend, device=settings.device)
    _check(model, pairs, settings)
    previews = show_read_positions(model, (train.desired[0], train.undesired[0]), settings.read)
    for line in introduction(settings.model, model, pairs, previews):
        echo(line)
    report = examine(model, (train, dev, test), settings)
    table = (
        compared(model, (train, dev, test), settings, echo) if settings.temperature > 0 else None
    )
    written = _write(report, table, model, settings)
    for line in (*report_lines(report), *(summary_lines(table) if table else (GREEDY,))):
        echo(line)
    echo(f"written  {', '.join(written)} in {settings.out}")
    return report


def _check(model: SteerableModel, pairs: ContrastivePairs, settings: DemoSettings) -> None:
    """Raise for what would only be found out after minutes of work."""
    if not pairs.paired and settings.judge is None:
        raise ValueError(f"{pairs!r}: without pairs, --words must say what shows the behaviour")
    Decoding(
        settings.temperature,
        max_new_tokens=settings.max_new_tokens,
        scope=settings.scope,
        seed=settings.seed,
    )
    prompt_rows(model, pairs.prompts, settings.max_new_tokens)


def examine(
    model: SteerableModel,
    parts: tuple[ContrastivePairs, ContrastivePairs, ContrastivePairs],
    settings: DemoSettings,
) -> DemoReport:
    """Fit on the first part, choose on the second, report on the third."""
    train, dev, test = parts
    activations = capture(model, train, "resid", read=settings.read)
    held_out = capture(model, dev, "resid", read=settings.read)
    separability = SeparabilityReport.fit(activations, held_out, seed=settings.seed)
    decoding: dict[str, Any] = {
        "judge": settings.judge,
        "seed": settings.seed,
        "temperature": settings.temperature,
        "max_new_tokens": settings.max_new_tokens,
        "scope": settings.scope,
    }
    candidates = sized_candidates(activations, SIZES[1:])
    choice = choose(model, dev.first(settings.dev_prompts), candidates, **decoding)
    method = candidates[choice.best_index]
    unit = activations.at(method.sites[0].layer).relative_length
    strengths = [size / unit for size in SIZES]
    swept = sweep(
        model,
        test,
        method,
        Random.like(method, seed=settings.seed),
        strengths,
        relative=SIZES,
        behaviour_name=settings.behaviour_name,
        **decoding,
    )
    chosen = min(range(len(SIZES)), key=lambda i: abs(strengths[i] - method.strength))
    texts = _texts(model, test, swept, chosen)
    shown = preview(
        model,
        test.prompts[0],
        method,
        continuation=swept.method[chosen].texts[0],
        scope=settings.scope,
    )
    return DemoReport(separability, choice, method, swept, chosen, texts, shown)


def compared(
    model: SteerableModel,
    parts: tuple[ContrastivePairs, ContrastivePairs, ContrastivePairs],
    settings: DemoSettings,
    echo: Callable[[str], None],
) -> Comparison:
    """The methods of `settings.methods`, at the same cost on dev, beside what they have to beat.

    For the embedded model the settings and strengths are those that are stored in the package.

    Raises:
        ValueError: As `compare`.
    """
    train, dev, test = parts
    config = ComparisonConfig(
        seed=settings.seed,
        temperature=settings.temperature,
        max_new_tokens=settings.max_new_tokens,
        scope=settings.scope,
        multiples=(0.5, 1, 1.4),
        randoms=1,
    )
    chosen_from = families(settings.methods)
    kept = {
        family.name: stored(settings.model, settings.pairs, family.name, config)
        for family in chosen_from
    }
    chosen = choose_all(
        chosen_from,
        FitCache(model, train, (settings.read,)),
        dev.first(settings.dev_prompts),
        settings.judge,
        kl=KL,
        config=config,
        settings={name: setting for name, setting in kept.items() if setting is not None},
        echo=echo,
    )
    return comparison(
        model,
        test,
        chosen.methods,
        judge=settings.judge,
        config=config,
        train=train if train.paired else None,
    )


def sized_candidates(activations: Activations, sizes: tuple[float, ...]) -> list[CAA]:
    """CAA at every layer where the classes differ, pushing by these shares of the activation."""
    candidates = []
    for layer in activations.layers:
        at = activations.at(layer)
        if bool(at.direction.any()):
            method = CAA.fit(at)
            candidates += [method.with_strength(size / at.relative_length) for size in sizes]
    if not candidates:
        raise ValueError("the classes are equal at every layer read: read another position")
    return candidates


def _texts(
    model: SteerableModel, test: ContrastivePairs, swept: SweepReport, chosen: int
) -> "pd.DataFrame":
    import pandas as pd

    prompts = [render(model, prompt) for prompt in test.prompts]
    texts = {"unsteered": swept.method[0].texts, "steered": swept.method[chosen].texts}
    return pd.DataFrame({"prompt": prompts} | texts)


def _write(
    report: DemoReport, table: Comparison | None, model: SteerableModel, settings: DemoSettings
) -> list[str]:
    """Write all results, each file whole or not at all; returns the names of the files."""
    out = settings.out
    origin = {"settings": asdict(settings), "fingerprint": asdict(attach(model).fingerprint)}
    figures: dict[str, Any] = {"separability": report.separability, "sweep": report.sweep}
    tables = {"choice": report.choice.table(), "texts": report.texts}
    if table is not None:
        figures["frontier"] = Frontier.of(table, table.behaviours[0])
        tables["table"] = table.table().drop(columns="seconds")  # another one in every run
    for name, figure in figures.items():
        save_figure(figure.figure(), out / f"{name}.png", figure.table(), origin)
    for name, numbers in tables.items():
        save_table(numbers, out / f"{name}.csv")
    save(report.method, out / "method.safetensors")
    names = [f"{name}.{end}" for name in figures for end in ("png", "csv", "json")]
    return [*names, *(f"{name}.csv" for name in tables), "method.safetensors"]
