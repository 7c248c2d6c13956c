"""Units of the comparison: one behaviour of one model, with all methods on the same terms."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lens_steer import organism
from lens_steer.benchmark import (
    FAMILIES,
    Behaviour,
    Chosen,
    CompareSettings,
    Comparison,
    ComparisonConfig,
    ComparisonRun,
    Journal,
    MethodFamily,
    choose_and_keep,
    read,
    read_setting,
    resume,
    run_provenance,
    search,
    thinned,
)
from lens_steer.data import ContrastivePairs
from lens_steer.files import json_file, make_folder, write_whole

Say = Callable[[str], None]


@dataclass(frozen=True)
class Plan:
    """What is the same for every unit.

    Attributes:
        out: Folder of the run; a unit has `out/units/MODEL/BEHAVIOUR`.
        methods: Names of families of methods.
        tried: Settings of each method that are tried, at most.
        fits: How often each method is made, see `CompareSettings`.
        budget: Trials of random search for each method; 0 leaves it out.
        dev_prompts: Prompts to choose and calibrate on, at most.
        config: How texts are written and methods are varied.
    """

    out: Path
    methods: tuple[str, ...]
    tried: int
    fits: int
    budget: int
    dev_prompts: int
    config: ComparisonConfig

    def settings(self, unit: "Unit") -> CompareSettings:
        """The settings of one unit."""
        return CompareSettings(
            model=unit.model,
            pairs=(unit.pairs,),
            out=self.out / "units" / stem(unit.model) / stem(unit.pairs),
            config=self.config,
            methods=",".join(self.methods),
            fits=self.fits,
            budget=self.budget,
            dev_prompts=self.dev_prompts,
        )

    @property
    def families(self) -> list[MethodFamily]:
        """All families of methods, each with as many settings."""
        return [thinned(FAMILIES[name], self.tried) for name in self.methods]


@dataclass(frozen=True)
class Unit:
    """One behaviour of one model.

    Attributes:
        model: A model as `load_model` takes it.
        pairs: A named set of pairs, or a file.
    """

    model: str
    pairs: str

    def about(self, plan: Plan) -> dict[str, Any] | None:
        """What was chosen and what is missing; None if it is not done with so large a budget."""
        path = plan.settings(self).out / "unit.json"
        about = json_file(path) if path.is_file() else None
        return about if about is not None and about["budget"] >= plan.budget else None

    def measure(self, model: Any, plan: Plan, say: Say) -> Comparison:
        """Run the unit, go on with it, or read it if it is done.

        Raises:
            ValueError: If the pairs cannot be used, or the folder holds a run on other terms.
        """
        settings = plan.settings(self)
        make_folder(settings.out / "methods")
        pairs = ContrastivePairs.load(self.pairs)
        marks = run_provenance(model, settings, [pairs]) | {"tried": plan.tried}
        journal = Journal(settings.out / "trials.jsonl", marks)
        if self.about(plan) is None:
            behaviour = Behaviour.of(model, pairs, settings, marks)
            chosen = choose_and_keep(plan.families, behaviour, settings, skip=ValueError, echo=say)
            missing = chosen.missing
            resume(_comparison_run(behaviour, chosen, settings), journal)
            if not behaviour.cache.train.paired:
                missing["learned"] = "the examples are not paired"
            if settings.budget:
                usable = [each for each in plan.families if each.name in chosen.fits]
                for line in search(behaviour, usable, settings):
                    say(line)
            _finish(settings.out, missing, settings.budget)
        return read(settings.out)


def _comparison_run(
    behaviour: Behaviour, chosen: Chosen, settings: CompareSettings
) -> ComparisonRun:
    train = behaviour.cache.train
    return ComparisonRun.of(
        behaviour.cache.model,
        behaviour.test,
        chosen.fits,
        judge=behaviour.judge,
        config=settings.config,
        train=train if train.paired else None,
        instruction=_persona(behaviour.name),
        behaviour_name=behaviour.name,
        model_name=settings.model,
    )


def _persona(pairs: str) -> Any:
    """Rewrites a prompt so that the desired persona speaks; None but for `organism:*`."""
    family, _, name = pairs.partition(":")
    if family != "organism":
        return None
    spoken = organism.persona_prompts(name, organism.behaviour(name).desired)
    plain = [prompt for prompt, *_ in organism.rows(name)]
    return dict(zip(plain, spoken, strict=True)).__getitem__


def _finish(folder: Path, missing: dict[str, str], budget: int) -> None:
    files = sorted((folder / "methods").glob("*.json"))
    chosen = {path.stem: read_setting(path) for path in files}
    about = {"missing": missing, "chosen": chosen, "budget": budget}
    text = json.dumps(about, indent=2, sort_keys=True) + "\n"
    write_whole(folder / "unit.json", lambda place: place.write_text(text, encoding="utf-8"))


def stem(name: str) -> str:
    """The name of a model or of a set of pairs, as the name of a folder."""
    return name.strip("./").replace("/", "-").replace(":", "-")
