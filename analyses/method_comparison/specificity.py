"""Specificity in `analyses.method_comparison`: one method made for each behaviour, run on all."""

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
    continued,
    origin,
    prepared,
)
from lens_steer.data import ContrastivePairs
from lens_steer.figures import save_figure
from lens_steer.files import make_folder
from lens_steer.steering import Intervention


def specificity(
    model: Any, units: Sequence[Unit], method: str, plan: Plan, say: Say
) -> Specificity | None:
    """Of one model and method, over the behaviours whose own method reaches its ED50.

    Trials are kept under `out/specificity`; the figure lies there with its numbers. None, with a
    line that says why, where fewer than two behaviours can be used.

    Args:
        units: Of this model, all done.
        method: Name of a contender.
    """
    known = {unit.pairs: _made(model, unit, method, plan) for unit in units}
    methods = {f"for {name}": each for name, each in known.items() if each is not None}
    folder = plan.out / "specificity" / f"{stem(units[0].model)}-{method}"
    make_folder(folder)
    shown = {name: repr(each) for name, each in methods.items()}
    own = {unit: ContrastivePairs.load(unit.pairs) for unit in units}
    marks = {unit.pairs: origin(model, plan.settings(unit), [own[unit]]) for unit in units}
    terms = {"terms": asdict(plan.terms), "methods": shown, "units": marks}
    journal = Journal(folder / "trials.jsonl", terms)
    parts = []
    for unit in units if methods else ():
        behaviour = prepared(model, own[unit], plan.settings(unit), marks[unit.pairs])
        parts.append(_run(model, unit, behaviour, methods, journal, plan.terms))
    meant = {
        f"for {unit.pairs}": part.behaviours[0] for unit, part in zip(units, parts, strict=False)
    }
    usable = {
        name: behaviour
        for name, behaviour in meant.items()
        if name in methods and _reaches(Comparison.merge(parts), name, behaviour, say)
    }
    if len(usable) < 2:
        say(f"no specificity of {method} on {units[0].model}: {len(usable)} behaviours reach ED50")
        return None
    found = Specificity.of(Comparison.merge(parts), usable)
    about = {"model": units[0].model, "method": method, "methods": shown}
    save_figure(found.figure(), folder / "specificity.png", found.table(), about)
    return found


def _made(model: Any, unit: Unit, method: str, plan: Plan) -> Intervention | None:
    """What the unit chose; None where the method could not be used there."""
    folder = plan.settings(unit).out / "methods"
    places = sorted(folder.glob(f"*-{method}-0.safetensors"))
    return load(places[0], model) if places else None


def _run(
    model: Any,
    unit: Unit,
    own: Behaviour,
    methods: dict[str, Intervention],
    journal: Journal,
    terms: ComparisonConfig,
) -> Comparison:
    """All of them on the test prompts of one behaviour."""
    names: dict[str, Any] = {"behaviour_name": own.name, "model_name": unit.model}
    contest = ComparisonRun.of(*(model, own.test, methods), judge=own.judge, terms=terms, **names)
    return Comparison(continued(contest, journal), terms, {})


def _reaches(whole: Comparison, method: str, behaviour: str, say: Say) -> bool:
    """Whether a method gets half-way on the behaviour that it is meant for."""
    try:
        Specificity.of(whole, {method: behaviour})
    except ValueError as error:
        say(str(error))
        return False
    return True
