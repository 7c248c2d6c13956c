"""The demo's table: several methods at one cost on test, each row said and kept as it is made."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, replace
from typing import Any

from lens_steer.activations import ReadPosition
from lens_steer.benchmark import (
    KL,
    Comparison,
    ComparisonConfig,
    ComparisonRun,
    FitCache,
    Hyperparameters,
    Journal,
    MethodFamily,
    Trial,
    choose_all,
    content,
    families,
    stored,
    thinned,
)
from lens_steer.cli.demo_kept import KeptStages
from lens_steer.cli.demo_settings import DemoSettings
from lens_steer.cli.demo_stages import DemoStages
from lens_steer.evaluation import OutOfReach
from lens_steer.steering import Intervention

JOURNAL = "table.jsonl"
_FEW_REFERENCES = ("unsteered", "random")  # of a plan that has no time for the others


def compared(
    stages: DemoStages, kept: KeptStages, best: Intervention, echo: Callable[[str], None]
) -> Comparison:
    """The methods of the settings at the same cost on dev, beside what they have to beat.

    For the embedded model the settings and strengths are those that are stored in the package.

    Args:
        stages: The model and the parts of its pairs.
        kept: Where methods and trials are kept.
        best: The method that was chosen: methods of one layer act at its layer, where the plan has
            no more than a setting of each.
        echo: Gets a line for every method and trial.

    Raises:
        ValueError: As `compare`.
    """
    config = comparison_config(stages)
    methods = dict(_chosen(stages, kept, best, config, echo))
    train = stages.train if stages.train.paired and stages.plan.every_reference else None
    run = ComparisonRun.of(
        stages.model,
        stages.test,
        methods,
        judge=stages.settings.judge,
        config=config,
        train=train,
        model_name=stages.settings.model,
    )
    journal = Journal(kept.out / JOURNAL, {**kept.origin, "config": asdict(config)})
    for key, trials in run.run(journal.done):
        journal.add(key, [trial.row() for trial in trials])
        echo(_said(key[0], trials))
    trials = tuple(Trial.of_row(content(row)) for row in journal.rows)
    return Comparison(trials, config, {})


def comparison_config(stages: DemoStages) -> ComparisonConfig:
    """How the methods of the table are compared."""
    variation: dict[str, Any] = {"multiples": stages.plan.multiples, "randoms": 1}
    if not stages.plan.every_reference:
        variation["references"] = _FEW_REFERENCES
    return ComparisonConfig(**asdict(stages.settings.decoding), **variation)


def kept_setting(settings: DemoSettings, name: str) -> Hyperparameters | None:
    """The setting of a method that is stored in the package for these pairs and texts, or None."""
    config = ComparisonConfig(**asdict(settings.decoding))
    return stored(settings.model, settings.pairs, name, config)


def _chosen(
    stages: DemoStages,
    kept: KeptStages,
    best: Intervention,
    config: ComparisonConfig,
    echo: Callable[[str], None],
) -> Iterator[tuple[str, Intervention]]:
    """Each family's method, calibrated on dev; a family that cannot be is said and left out."""
    settings = stages.settings
    cache = FitCache(stages.model, stages.train, (settings.read,), linearised=stages.plan.jacobians)
    for family in families(settings.methods):
        setting = kept_setting(settings, family.name)
        few = at_layer(family, best.sites[0].layer, settings.read, stages.plan.settings)

        def make(family: MethodFamily = few, setting: Any = setting) -> Intervention:
            found = choose_all(
                [family],
                cache,
                stages.dev.spread(stages.plan.cost_texts),
                settings.judge,
                kl=KL,
                config=config,
                settings={} if setting is None else {family.name: setting},
            )
            return found.methods[family.name]

        try:
            method = kept.kept(f"method-{family.name}", make)
        except OutOfReach as error:
            echo(f"left out {family.name}: {' '.join(str(error).split())}")
            continue
        echo(f"at {KL:g} nats {method!r}")
        yield family.name, method


def at_layer(family: MethodFamily, layer: int, read: ReadPosition, settings: int) -> MethodFamily:
    """A family with few settings to choose from: of one that chooses a layer, this one first."""

    def grid(cache: FitCache) -> list[dict[str, Any]]:
        few = thinned(family, settings).grid(cache)
        if not few or "layer" not in few[0]:
            return few
        here = {"layer": layer, "read": read}
        return [here, *(other for other in few if other != here)][:settings]

    return replace(family, grid=grid)


def _said(name: str, trials: Sequence[Trial]) -> str:
    """One row of the table, as soon as it is known: behaviour and nats at each strength."""
    shares = ", ".join(f"{t.evaluation.share:.0%} at {t.evaluation.kl:.3f} nats" for t in trials)
    return f"done     {name}: {shares}"
