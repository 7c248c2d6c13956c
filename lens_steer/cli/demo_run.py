"""The main job from end to end: read a model, choose layer and strength on dev, report on test.

Every stage says and keeps its result before the next one begins; a demo that was stopped goes on
with the stages that are missing.
"""

import os
import resource
import sys
from collections.abc import Callable
from dataclasses import asdict
from time import perf_counter
from typing import TYPE_CHECKING, Any

from lens_steer.activations import show_read_positions
from lens_steer.benchmark import (
    Comparison,
    Frontier,
    families,
    made_on,
    split_for,
    summary_lines,
)
from lens_steer.cli.demo_kept import RECORD, KeptStages
from lens_steer.cli.demo_plan import COSTS, PLANS, SHORTER, DemoPlan, plan_for
from lens_steer.cli.demo_report import (
    DemoReport,
    choice_lines,
    introduction,
    screen_lines,
    test_lines,
)
from lens_steer.cli.demo_settings import DemoSettings
from lens_steer.cli.demo_stages import DemoStages, Parts, measured_rates, sizes_of
from lens_steer.cli.demo_table import JOURNAL, compared, kept_setting
from lens_steer.data import ContrastivePairs
from lens_steer.figures import save_figure, save_table
from lens_steer.files import writing_in
from lens_steer.models import SteerableModel, attach, load_model, render
from lens_steer.pages import report as write_report
from lens_steer.steering import preview, prompt_rows

if TYPE_CHECKING:
    import pandas as pd

Echo = Callable[[str], None]
Keep = Callable[[str, Callable[[], Any]], Any]  # the name of a stage, and what makes its result

GREEDY = "         no table of methods: greedy texts have no finite divergence to compare them at"


def run(settings: DemoSettings, echo: Echo) -> DemoReport:
    """Run the demo; files go to `settings.out`.

    Args:
        echo: Gets each line of the report.

    Raises:
        ValueError: If anything in the settings cannot be used, the minutes are too few for any
            text, or the folder cannot be written to or is being written in by another process, or
            holds a run of `lens-steer compare` or a demo of something else; no file is then
            half-written.

    Example:
        >>> settings = DemoSettings("organism", "organism:sentiment", Path("out/demo"), seed=0)
        >>> report = run(settings, print)
    """
    families(settings.methods)  # an unknown name ends the demo here
    pairs = ContrastivePairs.load(
        settings.pairs, columns=settings.columns, template=settings.template
    )
    train, dev, test = split_for(settings.judge, pairs, settings.seed)
    if os.path.lexists(settings.out / "trials.jsonl"):  # whose table.csv would be overwritten
        raise ValueError(
            f"{str(settings.out)!r} holds a run of lens-steer compare: choose another folder"
        )
    with writing_in(settings.out):
        return _run(settings, pairs, (train, dev, test), echo)


def _run(settings: DemoSettings, pairs: ContrastivePairs, parts: Parts, echo: Echo) -> DemoReport:
    start = perf_counter()
    model = load_model(settings.model, backend=settings.backend, device=settings.device)
    # what would only be found out after minutes of work
    prompt_rows(model, pairs.prompts, settings.decoding.max_new_tokens)
    check_layers(model, settings.layers)
    train = parts[0]
    previews = show_read_positions(model, (train.desired[0], train.undesired[0]), settings.read)
    for line in introduction(settings.model, model, pairs, previews):
        echo(line)
    kept = KeptStages(settings.out, _origin(model, pairs, settings), model)
    plan = _plan(kept, model, parts, settings, echo, perf_counter() - start)
    stages = DemoStages.of(model, parts, settings, plan)
    report = _examined(stages, kept.kept, echo)
    names = _write(report, model, settings)
    if not settings.table:
        pass
    elif settings.temperature > 0:
        table = compared(stages, kept, report.method, echo)
        names += _write_table(table, model, settings)
        for line in summary_lines(table):
            echo(line)
    else:
        echo(GREEDY)
    names.append(write_report(settings.out, settings.out / "report.html").name)
    echo(f"written  {', '.join(names)} in {settings.out}")
    echo(f"took     {(perf_counter() - start) / 60:.1f} minutes, {_peak_memory():.1f} GiB at most")
    return report


def _peak_memory() -> float:
    """The most memory that the process had, in GiB."""
    unit = 1 if sys.platform == "darwin" else 2**10
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 2**30


def check_layers(model: SteerableModel, layers: tuple[int, ...] | None) -> None:
    """Raise a ValueError for layers that a model does not have."""
    there: Any = model.cfg.n_layers
    unknown = [layer for layer in layers or () if layer >= there]
    if unknown:
        raise ValueError(f"layers {unknown}: the model has the layers 0 to {there - 1}")


def _origin(
    model: SteerableModel, pairs: ContrastivePairs, settings: DemoSettings
) -> dict[str, Any]:
    same = asdict(settings) | {"pairs": pairs.name}
    del same["out"], same["limited"]
    return {"demo": same} | made_on(model, [pairs])


def _plan(
    kept: KeptStages,
    model: SteerableModel,
    parts: Parts,
    settings: DemoSettings,
    echo: Echo,
    spent: float,
) -> DemoPlan:
    """The plan of the demo that is kept in the folder, or the one that fits; says it."""

    def made() -> dict[str, Any]:
        names = []
        if settings.table and settings.temperature > 0:
            names = [family.name for family in families(settings.methods)]
        fitted = [name for name in names if kept_setting(settings, name) is None]
        sizes = sizes_of(model, parts, settings, methods=len(names), fitted=len(fitted))
        rates = measured_rates(model, parts, settings)
        minutes, gone = settings.minutes, spent / 60
        plan = plan_for(sizes, rates, minutes, spent=gone, limit=settings.limited)
        for line in plan.lines(sizes, rates):
            echo(line)
        if minutes is not None and gone + plan.seconds(sizes, rates) / 60 > minutes:
            echo(f"         (over {minutes:g} minutes: no plan is smaller; shorter with {SHORTER})")
        return asdict(plan)

    begun = (settings.out / RECORD).is_file()
    values = kept.plan(made)
    if begun:
        echo(f"plan     as kept in {settings.out / RECORD}: goes on where it was stopped")
    return DemoPlan.of_json(values)


def examine(model: SteerableModel, parts: Parts, settings: DemoSettings) -> DemoReport:
    """What the demo finds, without its files and its table: all layers, all prompts.

    Args:
        model: The model.
        parts: Pairs to fit on, to choose on, and to report on.
        settings: How texts are judged and written; `out` is not used.

    Raises:
        ValueError: As the stages of the demo, see `run`.
    """
    stages = DemoStages.of(model, parts, settings, PLANS[0])
    return _examined(stages, lambda _, make: make(), lambda _: None)


def _examined(stages: DemoStages, keep: Keep, echo: Echo) -> DemoReport:
    """Fit on train, choose on dev, report on test; each result is said when it is there."""
    settings, model = stages.settings, stages.model
    activations = keep("activations", stages.read)
    separability = keep("separability", lambda: stages.separability(activations))
    texts = keep("cost_texts", stages.cost_texts)
    screened = keep("screen", lambda: stages.screen(activations, texts))
    for line in screen_lines(screened):
        echo(line)
    choice = keep("choice", lambda: stages.choose(screened))
    for line in choice_lines(choice, stages.dev.prompts):
        echo(line)
    method = keep("method", lambda: choice.best)
    swept = keep("sweep", lambda: stages.sweep(choice, texts))
    chosen = 1 + stages.plan.levels.index(COSTS[choice.best_index % len(COSTS)])
    unsteered, steered = swept.method[0].texts, swept.method[chosen].texts
    first_text = preview(
        model,
        stages.test.prompts[0],
        method,
        continuation=steered[0],
        scope=settings.decoding.steered_scope,
    )
    table = _texts(model, stages.test, unsteered, steered)
    report = DemoReport(separability, screened, choice, method, swept, chosen, table, first_text)
    for line in test_lines(report):
        echo(line)
    return report


def _texts(
    model: SteerableModel,
    test: ContrastivePairs,
    unsteered: tuple[str, ...],
    steered: tuple[str, ...],
) -> "pd.DataFrame":
    import pandas as pd

    prompts = [render(model, prompt) for prompt in test.prompts]
    return pd.DataFrame({"prompt": prompts, "unsteered": unsteered, "steered": steered})


def _write(report: DemoReport, model: SteerableModel, settings: DemoSettings) -> list[str]:
    """Write figures, tables and texts, each file whole or not at all; returns their names."""
    out, origin = settings.out, _of_figures(model, settings)
    figures: dict[str, Any] = {
        "separability": report.separability,
        "screen": report.screen,
        "sweep": report.sweep,
    }
    for name, figure in figures.items():
        save_figure(figure.figure(), out / f"{name}.png", figure.table(), origin)
    save_table(report.choice.table(), out / "choice.csv")
    save_table(report.texts, out / "texts.csv")
    names = [f"{name}.{end}" for name in figures for end in ("png", "csv", "json")]
    return [*names, "choice.csv", "texts.csv", "method.safetensors"]


def _write_table(table: Comparison, model: SteerableModel, settings: DemoSettings) -> list[str]:
    """Write the table of methods and its figure; returns the names of the files."""
    out = settings.out
    frontier = Frontier.of(table, table.behaviours[0])
    origin = _of_figures(model, settings)
    save_figure(frontier.figure(), out / "frontier.png", frontier.table(), origin)
    save_table(table.table().drop(columns="seconds"), out / "table.csv")
    return ["frontier.png", "frontier.csv", "frontier.json", "table.csv", JOURNAL]


def _of_figures(model: SteerableModel, settings: DemoSettings) -> dict[str, Any]:
    return {"settings": asdict(settings), "fingerprint": asdict(attach(model).fingerprint)}
