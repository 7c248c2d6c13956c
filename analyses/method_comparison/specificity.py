"""Specificity: one method made for each behaviour, run on all behaviours."""

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from analyses.method_comparison.units import Plan, Say, Unit, stem
from lens_steer.artifacts import load
from lens_steer.benchmark import (
    Behaviour,
    Comparison,
    ComparisonConfig,
    ComparisonRun,
    Journal,
    Specificity,
    resume,
    run_provenance,
)
from lens_steer.data import ContrastivePairs
from lens_steer.figures import save_figure
from lens_steer.files import make_folder
from lens_steer.steering import Intervention


def specificity(
    model: Any, units: Sequence[Unit], method: str, plan: Plan, say: Say
) -> Specificity | None:
    """The specificity of one method on one model, over the behaviours whose ED50 it reaches.

    Trials are kept under `out/specificity`, and the figure is saved there with its numbers. None,
    with a line that says why, where fewer than two behaviours can be used.

    Args:
        model: The model that is steered.
        units: The units of this model, all done.
        method: The name of a family.
        plan: Of the run.
        say: Takes lines that say what is left out.
    """
    saved = {unit.pairs: _saved(model, unit, method, plan) for unit in units}
    methods = {f"for {name}": each for name, each in saved.items() if each is not None}
    folder = plan.out / "specificity" / f"{stem(units[0].model)}-{method}"
    make_folder(folder)
    described = {name: repr(each) for name, each in methods.items()}
    pairs = {unit: ContrastivePairs.load(unit.pairs) for unit in units}
    marks = {
        unit.pairs: run_provenance(model, plan.settings(unit), [pairs[unit]]) for unit in units
    }
    terms = {"terms": asdict(plan.config), "methods": described, "units": marks}
    journal = Journal(folder / "trials.jsonl", terms)
    parts = []
    for unit in units if methods else ():
        behaviour = Behaviour.of(model, pairs[unit], plan.settings(unit), marks[unit.pairs])
        parts.append(_run(model, unit, behaviour, methods, journal, plan.config))
    intended = {
        f"for {unit.pairs}": part.behaviours[0] for unit, part in zip(units, parts, strict=False)
    }
    usable = {
        name: behaviour
        for name, behaviour in intended.items()
        if name in methods and _reaches(Comparison.merge(parts), name, behaviour, say)
    }
    if len(usable) < 2:
        say(f"no specificity of {method} on {units[0].model}: {len(usable)} behaviours reach ED50")
        return None
    report = Specificity.of(Comparison.merge(parts), usable)
    about = {"model": units[0].model, "method": method, "methods": described}
    save_figure(report.figure(), folder / "specificity.png", report.table(), about)
    return report


def _saved(model: Any, unit: Unit, method: str, plan: Plan) -> Intervention | None:
    """The method that the unit chose; None where the method could not be used there."""
    folder = plan.settings(unit).out / "methods"
    paths = sorted(folder.glob(f"*-{method}-0.safetensors"))
    return load(paths[0], model) if paths else None


def _run(
    model: Any,
    unit: Unit,
    behaviour: Behaviour,
    methods: dict[str, Intervention],
    journal: Journal,
    config: ComparisonConfig,
) -> Comparison:
    """All methods on the test prompts of one behaviour."""
    names: dict[str, Any] = {"behaviour_name": behaviour.name, "model_name": unit.model}
    run = ComparisonRun.of(
        model, behaviour.test, methods, judge=behaviour.judge, config=config, **names
    )
    return Comparison(resume(run, journal), config, {})


def _reaches(comparison: Comparison, method: str, behaviour: str, say: Say) -> bool:
    """Whether a method gets half-way on the behaviour that it is made for."""
    try:
        Specificity.of(comparison, {method: behaviour})
    except ValueError as error:
        say(str(error))
        return False
    return True
