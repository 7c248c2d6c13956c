"""Units of `analyses.method_comparison`: one behaviour of one model, all methods alike."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from lens_steer import organism
from lens_steer.benchmark import (
    FAMILIES,
    Behaviour,
    CompareSettings,
    Comparison,
    ComparisonConfig,
    ComparisonRun,
    FitCache,
    Hyperparameters,
    Journal,
    MethodFamily,
    continued,
    method_of,
    origin,
    prepared,
    read,
    search,
    setting_of,
)
from lens_steer.data import ContrastivePairs
from lens_steer.evaluation import OutOfReach
from lens_steer.files import json_file, make_folder, write_whole
from lens_steer.steering import Intervention

Say = Callable[[str], None]


@dataclass(frozen=True, eq=False)
class Thinned(MethodFamily):
    """A contender that may try no more than so many settings.

    Attributes:
        name: See `MethodFamily`.
        whole: With all of its grid, in whose order settings stay; its prior is not changed.
        most: Settings: the middle ones of as many equal parts of the grid.
    """

    name: str
    whole: MethodFamily
    most: int

    def grid(self, inputs: FitCache) -> list[Hyperparameters]:
        """See `MethodFamily.grid`; all of it where it has no more."""
        found = self.whole.grid(inputs)
        n = min(self.most, len(found))
        return [found[int((i + 0.5) * len(found) / n)] for i in range(n)]

    def draw(self, inputs: FitCache, source: np.random.Generator) -> Hyperparameters:
        """See `MethodFamily.draw`."""
        return self.whole.draw(inputs, source)

    def make(self, inputs: FitCache, setting: Mapping[str, Any]) -> Intervention:
        """See `MethodFamily.make`."""
        return self.whole.make(inputs, setting)


@dataclass(frozen=True)
class Plan:
    """What is the same for every unit.

    Attributes:
        out: Folder; a unit has `out/units/MODEL/BEHAVIOUR`.
        methods: Names of contenders.
        tried: Settings of each method, at most.
        fits: See `CompareSettings`.
        budget: Trials of random search for each method; 0 leaves it out.
        dev_prompts: At most so many to choose and calibrate on.
        terms: How texts are written; those of `organism:*` are as long as that language's longest.
    """

    out: Path
    methods: tuple[str, ...]
    tried: int
    fits: int
    budget: int
    dev_prompts: int
    terms: ComparisonConfig

    def settings(self, unit: "Unit") -> CompareSettings:
        """Of one unit."""
        return CompareSettings(
            model=unit.model,
            pairs=(unit.pairs,),
            out=self.out / "units" / stem(unit.model) / stem(unit.pairs),
            terms=self.terms,
            methods=",".join(self.methods),
            fits=self.fits,
            budget=self.budget,
            dev_prompts=self.dev_prompts,
        )

    @property
    def contenders(self) -> list[MethodFamily]:
        """All methods, each with as many settings."""
        return [Thinned(name, FAMILIES[name], self.tried) for name in self.methods]


@dataclass(frozen=True)
class Unit:
    """One behaviour of one model.

    Attributes:
        model: As `load_model` takes it.
        pairs: A named set or a file.
    """

    model: str
    pairs: str

    def about(self, plan: Plan) -> dict[str, Any] | None:
        """What was chosen and what is missing; None where it is not done with so large a budget."""
        place = plan.settings(self).out / "unit.json"
        found = json_file(place) if place.is_file() else None
        return found if found is not None and found["budget"] >= plan.budget else None

    def measure(self, model: Any, plan: Plan, say: Say) -> Comparison:
        """Run it, go on with it, or read it where it is done.

        Raises:
            ValueError: If the pairs cannot be used, or the folder holds a run on other terms.
        """
        settings = plan.settings(self)
        make_folder(settings.out / "methods")
        pairs = ContrastivePairs.load(self.pairs)
        marks = origin(model, settings, [pairs]) | {"tried": plan.tried}
        journal = Journal(settings.out / "trials.jsonl", marks)
        if self.about(plan) is None:
            behaviour = prepared(model, pairs, settings, marks)
            methods, missing = _chosen(behaviour, plan.contenders, settings, say)
            continued(_contest(behaviour, methods, settings), journal)
            if not behaviour.inputs.train.paired:
                missing["learned"] = "the examples are not paired"
            if settings.budget:
                known = [each for each in plan.contenders if each.name in methods]
                for line in search(behaviour, known, settings):
                    say(line)
            _finish(settings.out, missing, settings.budget)
        return read(settings.out)


def _chosen(
    behaviour: Behaviour, contenders: Sequence[MethodFamily], settings: CompareSettings, say: Say
) -> tuple[dict[str, list[Intervention]], dict[str, str]]:
    """The best on dev of each method, and why some are missing."""
    methods: dict[str, list[Intervention]] = {}
    missing: dict[str, str] = {}
    for each in contenders:
        try:
            methods[each.name] = method_of(each, behaviour, settings)
        except ValueError as error:  # it cannot be fitted here, or does not cost what is asked
            missing[each.name] = " ".join(str(error).split())
            say(f"left out {settings.model} {behaviour.name}: {missing[each.name]}")
    if not methods:
        raise OutOfReach(f"no method can be used on {behaviour.name}: {missing}")
    return methods, missing


def _contest(
    behaviour: Behaviour, methods: dict[str, list[Intervention]], settings: CompareSettings
) -> ComparisonRun:
    train = behaviour.inputs.train
    return ComparisonRun.of(
        *(behaviour.inputs.model, behaviour.test, methods),
        judge=behaviour.judge,
        terms=settings.terms,
        train=train if train.paired else None,
        instruction=_persona(behaviour.name),
        behaviour_name=behaviour.name,
        model_name=settings.model,
    )


def _persona(pairs: str) -> Any:
    """A prompt with a sentence that says that the desired pole speaks: of `organism:*` alone."""
    family, _, name = pairs.partition(":")
    if family != "organism":
        return None
    spoken = organism.persona_prompts(name, organism.behaviour(name).desired)
    plain = [prompt for prompt, *_ in organism.rows(name)]
    return dict(zip(plain, spoken, strict=True)).__getitem__


def _finish(folder: Path, missing: dict[str, str], budget: int) -> None:
    chosen = {
        place.stem: setting_of(place) for place in sorted((folder / "methods").glob("*.json"))
    }
    about = {"missing": missing, "chosen": chosen, "budget": budget}
    text = json.dumps(about, indent=2, sort_keys=True) + "\n"
    write_whole(folder / "unit.json", lambda place: place.write_text(text, encoding="utf-8"))


def stem(name: str) -> str:
    """A name of a model or of pairs as a folder's."""
    return name.strip("./").replace("/", "-").replace(":", "-")
