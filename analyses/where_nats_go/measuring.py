"""What is measured of one behaviour, unit by unit: rows of plain JSON for the journal."""

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any

import numpy as np

import lens_steer as ls
from analyses.where_nats_go.estimates import Measured, derivatives
from analyses.where_nats_go.texts import Written
from analyses.where_nats_go.vectors import BestVector, best_vectors
from lens_steer import organism
from lens_steer.benchmark import (
    FAMILIES,
    Behaviour,
    ComparisonConfig,
    FitCache,
    calibrated_best,
    learn,
    thinned,
)
from lens_steer.data import ContrastivePairs
from lens_steer.evaluation import FixedTexts, LocalNats, NotLocal, OutOfReach, calibrate_along
from lens_steer.organism import ExactJudge
from lens_steer.sites import Site
from lens_steer.steering import Decoding, Intervention

NATS = (0.03, 0.1, 0.3)  # per token, asked for on dev
CHOSEN_AT = 0.1
FITTED = ("CAA", "LinearAcT", "ITI", "SADI", "LQR", "ODESteer")  # families of the package
LEARNED, BEST, PROMPT, MODEL = "learned", "best vector", "persona in the prompt", "the model"
METHODS = (*FITTED, LEARNED, BEST, PROMPT)
SETTINGS = 4  # of each family's grid, calibrated and tried on dev
DEV, CALIBRATED_ON = 24, 12  # dev prompts to choose on, and to calibrate along
OF_MODEL = 4  # times as many unsteered texts of a prompt as steered ones
FITTED_TO = 16  # texts of each training prompt, for the best vectors
SMALL = 1e-4  # nats per token, of the strength that derivatives are taken with

Rows = list[dict[str, Any]]


@dataclass(frozen=True, eq=False)
class Measuring:
    """One behaviour of the embedded model.

    Attributes:
        behaviour: Its pairs, split, with what methods are fitted to.
        each: Steered texts of each prompt.
        seed: Of all that is drawn.
        prompts: At most so many test prompts.
    """

    behaviour: Behaviour
    each: int
    seed: int
    prompts: int

    def rows(self, unit: str) -> Rows:
        """What is measured in one unit: `MODEL`, or one of `METHODS`."""
        if unit == MODEL:
            return self._model_rows()
        if unit == PROMPT:
            return [{"method": PROMPT, **self._measured(self._asked, ())}]
        try:
            method, setting = self._made(unit)
        except OutOfReach as error:
            return [{"method": unit, "failure": str(error)}]
        head = {"method": unit, "setting": setting, **self._local(method)}
        return [head | self._at(method, nats) for nats in NATS]

    @cached_property
    def model(self) -> ls.SteerableModel:
        """The model."""
        return self.behaviour.cache.model

    @cached_property
    def judge(self) -> ExactJudge:
        """The exact judge."""
        assert isinstance(self.behaviour.judge, ExactJudge)  # `prepare` has seen to it
        return self.behaviour.judge

    @cached_property
    def decoding(self) -> Decoding:
        """Texts of the model as it is: at temperature 1, until they end."""
        return Decoding(temperature=1.0, max_new_tokens=organism.LONGEST, seed=self.seed)

    @cached_property
    def test(self) -> ContrastivePairs:
        """The prompts that are reported, of all groups alike."""
        return self.behaviour.test.spread(self.prompts)

    @cached_property
    def groups(self) -> tuple[str, ...]:
        """The group of each test prompt."""
        return self.test.groups

    def _write(self, pairs: ContrastivePairs, each: int, *methods: Intervention) -> Written:
        """Unsteered texts have draws of their own, so that shares of two models are independent."""
        decoding = self.decoding if methods else self._other_draws
        return Written.of(self.model, pairs.prompts, methods, each, decoding)

    @property
    def _other_draws(self) -> Decoding:
        return Decoding(**(asdict(self.decoding) | {"seed": self.seed + 1}))

    @cached_property
    def _unsteered(self) -> Written:
        return self._write(self.test, OF_MODEL * self.each)

    @cached_property
    def _shown(self) -> Any:
        return self._unsteered.shows(self.judge)

    @cached_property
    def _dev_texts(self) -> FixedTexts:
        few = self.behaviour.dev.spread(CALIBRATED_ON)
        return FixedTexts.sample(self.model, few, decoding=self.decoding)

    @cached_property
    def _best_vectors(self) -> list[BestVector]:
        texts = self._write(self.behaviour.cache.train, FITTED_TO)
        return best_vectors(texts, texts.shows(self.judge))

    @cached_property
    def _best_layer(self) -> int:
        """The layer whose best vector says most of training texts that it was not fitted to."""
        return int(np.argmax([vector.held_out for vector in self._best_vectors]))

    def _made(self, name: str) -> tuple[Intervention, dict[str, Any]]:
        """A method, and its setting: chosen on dev, learned, or the best vector of the best layer."""
        cache = self.behaviour.cache
        if name == LEARNED:
            layer = int(self.model.cfg.n_layers) // 2
            made = learn(self.model, cache.train, Site(layer), seed=self.seed, progress=False)
            return made, {"layer": layer}
        if name == BEST:
            layer = self._best_layer
            return self._best_vectors[layer].method, {"layer": layer}
        family = thinned(FAMILIES[name], SETTINGS)
        dev, config = self.behaviour.dev.spread(DEV), _config(self.decoding)
        setting = calibrated_best(family, cache, dev, self.judge, kl=CHOSEN_AT, config=config)
        method = family.make(cache, setting)
        return method, {knob: x for knob, x in setting.items() if knob != "strength"}

    def _at(self, method: Intervention, nats: float) -> dict[str, Any]:
        """What a method does at a cost on dev, or why it cannot."""
        try:
            fair = calibrate_along(self.model, method, self._dev_texts, kl=nats, progress=False)
        except (OutOfReach, NotLocal) as error:
            return {"asked": nats, "failure": str(error)}
        written = self._write(self.test, self.each, fair)
        return {"asked": nats, "strength": fair.strength, **self._measured(written, (fair,))}

    def _measured(self, written: Written, methods: tuple[Intervention, ...]) -> dict[str, Any]:
        measured: Measured = written.measured(self.judge, methods)
        numbers = _lists(vars(measured.prompts(self._shown)))
        return {"numbers": numbers, "well_formed": float(measured.well_formed.mean())}

    @property
    def _asked(self) -> Written:
        """Texts after prompts with a sentence that says who speaks."""
        name = self.judge.behaviour.name
        told = organism.persona_prompts(name, self.judge.behaviour.desired)
        by_prompt = {row[0]: asked for row, asked in zip(organism.rows(name), told, strict=True)}
        after = [by_prompt[prompt] for prompt in self.test.prompts]
        how = (self.model, self.test.prompts, (), self.each, self.decoding)
        return Written.of(*how, after=after)

    def _local(self, method: Intervention) -> dict[str, Any]:
        """Gain and curvature of every prompt; nothing where the cost is no parabola."""
        try:
            strength = LocalNats.along(self.model, method, self._dev_texts).strength_at(SMALL)
        except NotLocal:
            return {}
        nats, _, ratio = self._unsteered.costs((method.with_strength(strength),))
        return {"local": _lists(vars(derivatives(self._shown, ratio, nats, strength)))}

    def _model_rows(self) -> Rows:
        """The unsteered texts, and the best vector of each layer at small strengths."""
        seen = self._unsteered.measured(self.judge, ())
        numbers = {"shows": seen.shows.mean(axis=1), "draws": seen.draws.mean(axis=1)}
        head: dict[str, Any] = {"method": MODEL, "groups": list(self.groups)}
        head |= {"numbers": _lists(numbers), "well_formed": float(seen.well_formed.mean())}
        vectors = [
            {"method": MODEL, "layer": layer, "best": layer == self._best_layer}
            | {"held_out": vector.held_out, **self._local(vector.method)}
            for layer, vector in enumerate(self._best_vectors)
        ]
        return [head, *vectors]


def _config(decoding: Decoding) -> ComparisonConfig:
    how = {name: getattr(decoding, name) for name in ("temperature", "max_new_tokens", "seed")}
    return ComparisonConfig(timed=False, **how)


def _lists(numbers: Mapping[str, Any]) -> dict[str, Any]:
    return {name: x.tolist() for name, x in numbers.items() if x is not None}
