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
    KL,
    SHARES,
    Comparison,
    ComparisonConfig,
    FitCache,
    Frontier,
    calibrated_best,
    comparison,
    conclusion,
    families,
    stored,
)
from lens_steer.cli.demo_report import DemoReport, introduction, report_lines
from lens_steer.data import ContrastivePairs
from lens_steer.evaluation import Judge, OutOfReach, SweepReport, choose, judge_of, sweep
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
        model: `organism`, hub name or directory.
        pairs: Named set or file.
        out: Folder for everything it writes.
        seed: Of the split, the texts and the intervals.
        words: A text with one of these shows the behaviour; empty: the named set's own judge, or,
            for other pairs, the share whose desired continuation is the likelier.
        read: Where activations are read, see `capture`.
        scope: Where the model is steered, see `steered`.
        backend: See `load_model`.
        device: See `load_model`.
        max_new_tokens: Of every text.
        temperature: Of every text.
        dev_prompts: At most so many prompts to choose the layer and the strength on.
    """

    model: str
    pairs: str
    out: Path
    seed: int
    words: tuple[str, ...] = ()
    read: ReadPosition = "last"
    scope: Scope = "last"
    backend: Literal["bridge", "hooked"] = "bridge"
    device: str | None = None
    max_new_tokens: int = 40
    temperature: float = 0.7
    dev_prompts: int = 48

    @property
    def judge(self) -> Judge | None:
        """What the texts are scored by."""
        return judge_of(self.pairs, self.words)

    @property
    def behaviour_name(self) -> str:
        """What the score is called."""
        judge = self.judge
        if isinstance(judge, organism.ExactJudge):
            return f"share of texts with {judge.behaviour.shown}"
        return (
            "share preferring desired" if judge is None else "share of texts with one of the words"
        )


def usual(model: str) -> dict[str, Any]:
    """Pairs, read position and length of texts where nothing else is asked for."""
    if model == "organism":
        length = organism.LONGEST
        return {"pairs": "organism:sentiment", "read": "mean", "max_new_tokens": length}
    return {"pairs": "stories:sad", "read": "last", "max_new_tokens": 40}


def run(settings: DemoSettings, say: Callable[[str], None]) -> DemoReport:
    """Run it; `say` gets each line of the report, files go to `settings.out`.

    Raises:
        ValueError: If anything in the settings cannot be used, or the folder cannot be written to
            or is being written in by another process, or holds a run of `lens-steer compare`; no
            file is then half-written.
    """
    pairs = ContrastivePairs.load(settings.pairs)
    with writing_in(settings.out):
        if os.path.lexists(settings.out / "trials.jsonl"):  # whose table.csv would be overwritten
            raise ValueError(
                f"{str(settings.out)!r} holds a run of lens-steer compare: choose another folder"
            )
        return _run(settings, pairs, say)


def _run(settings: DemoSettings, pairs: ContrastivePairs, say: Callable[[str], None]) -> DemoReport:
    train, dev, test = pairs.split(*SHARES, seed=settings.seed)
    model = load_model(settings.model, backend=settings.backend, device=settings.device)
    _check(model, pairs, settings)
    found = show_read_positions(model, (train.desired[0], train.undesired[0]), settings.read)
    for line in introduction(settings.model, model, pairs, found):
        say(line)
    report = examine(model, (train, dev, test), settings)
    parts = train, dev, test
    found = compared(model, parts, settings, say) if settings.temperature > 0 else None
    written = _write(report, found, model, settings)
    for line in (*report_lines(report), *(conclusion(found) if found else (GREEDY,))):
        say(line)
    say(f"written  {', '.join(written)} in {settings.out}")
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
        *(model, test, method, Random.like(method, seed=settings.seed), strengths),
        relative=SIZES,
        behaviour_name=settings.behaviour_name,
        **decoding,
    )
    chosen = min(range(len(SIZES)), key=lambda i: abs(strengths[i] - method.strength))
    texts = _texts(model, test, swept, chosen)
    shown = preview(
        *(model, test.prompts[0], method),
        continuation=swept.method[chosen].texts[0],
        scope=settings.scope,
    )
    return DemoReport(separability, choice, method, swept, chosen, texts, shown)


def compared(
    model: SteerableModel,
    parts: tuple[ContrastivePairs, ContrastivePairs, ContrastivePairs],
    settings: DemoSettings,
    say: Callable[[str], None],
) -> Comparison:
    """The methods of `families()`, at the same cost on dev, beside what it has to beat.

    For the embedded model the settings and strengths are those that were stored in the package.

    Raises:
        ValueError: As `compare`.
    """
    train, dev, test = parts
    judge, inputs = settings.judge, FitCache(model, train, (settings.read,))
    terms = ComparisonConfig(
        seed=settings.seed,
        temperature=settings.temperature,
        max_new_tokens=settings.max_new_tokens,
        scope=settings.scope,
        multiples=(0.5, 1, 1.4),
        randoms=1,
    )
    methods, few = {}, dev.first(settings.dev_prompts)
    for contender in families():
        name = contender.name
        setting = stored(settings.model, settings.pairs, name, terms)
        try:
            setting = setting or calibrated_best(contender, inputs, few, judge, kl=KL, terms=terms)
        except OutOfReach as error:
            say(f"left out {error}")
            continue
        methods[name] = contender.make(inputs, setting)
    if not methods:
        raise OutOfReach(f"no method costs {KL} nats per token on {settings.pairs}")
    learnt = train if train.paired else None
    return comparison(model, test, methods, judge=judge, terms=terms, train=learnt)


def sized_candidates(activations: Activations, sizes: tuple[float, ...]) -> list[CAA]:
    """CAA at every layer where the classes differ, pushing by these shares of the activation."""
    found = []
    for layer in activations.layers:
        at = activations.at(layer)
        if bool(at.direction.any()):
            method = CAA.fit(at)
            found += [method.with_strength(size / at.relative_length) for size in sizes]
    if not found:
        raise ValueError("the classes are equal at every layer read: read another position")
    return found


def _texts(
    model: SteerableModel, test: ContrastivePairs, swept: SweepReport, chosen: int
) -> "pd.DataFrame":
    import pandas as pd

    prompts = [render(model, prompt) for prompt in test.prompts]
    texts = {"unsteered": swept.method[0].texts, "steered": swept.method[chosen].texts}
    return pd.DataFrame({"prompt": prompts} | texts)


def _write(
    report: DemoReport, found: Comparison | None, model: SteerableModel, settings: DemoSettings
) -> list[str]:
    """Everything the run found, each file whole; returns the names."""
    out = settings.out
    origin = {"settings": asdict(settings), "fingerprint": asdict(attach(model).fingerprint)}
    names = []
    for name, part in (("separability", report.separability), ("sweep", report.sweep)):
        save_figure(part.figure(), out / f"{name}.png", part.table(), origin)
        names += [f"{name}.png", f"{name}.csv", f"{name}.json"]
    tables = {"choice": report.choice.table(), "texts": report.texts}
    if found is not None:
        frontier = Frontier.of(found, found.behaviours[0])
        save_figure(frontier.figure(), out / "frontier.png", frontier.table(), origin)
        names += ["frontier.png", "frontier.csv", "frontier.json"]
        tables["table"] = found.table().drop(columns="seconds")  # another one in every run
    for name, table in ((f"{stem}.csv", table) for stem, table in tables.items()):
        save_table(table, out / name)
        names.append(name)
    save(report.method, out / "method.safetensors")
    return [*names, "method.safetensors"]
