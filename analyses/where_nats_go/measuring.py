"""What is measured of one behaviour, unit by unit: rows of plain JSON for the journal."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np

import lens_steer as ls
from analyses.where_nats_go.estimates import Measured, derivatives
from analyses.where_nats_go.small_strengths import small_strength
from analyses.where_nats_go.texts import Written
from analyses.where_nats_go.vectors import BestVector, best_vectors
from lens_steer import organism
from lens_steer.benchmark import (
    FAMILIES,
    Behaviour,
    learn,
    thinned,
)
from lens_steer.data import ContrastivePairs
from lens_steer.evaluation import FixedTexts, NotLocal, OutOfReach, calibrate_along
from lens_steer.organism import ExactJudge
from lens_steer.sites import Site
from lens_steer.steering import Decoding, Intervention

NATS = (0.03, 0.1, 0.3)  # per token, asked for on dev
CHOSEN_AT = 0.1
LONGEST = 64  # tokens of a text: next to no text of the model is longer
FITTED = ("CAA", "LinearAcT", "ITI", "SADI", "LQR", "ODESteer")  # families of the package
LEARNED, BEST, PROMPT, MODEL = "learned", "best vector", "persona in the prompt", "the model"
METHODS = (*FITTED, LEARNED, BEST, PROMPT)
SETTINGS = 6  # of each family's grid, calibrated and tried on dev
CALIBRATED_ON = 12  # dev prompts
OF_MODEL = 4  # times as many unsteered texts of a prompt as steered ones

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
        """Texts of the model as it is, at temperature 1."""
        return Decoding(temperature=1.0, max_new_tokens=LONGEST, seed=self.seed)

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
        return Written.of(self.model, words_of(pairs), methods, each, decoding)

    @property
    def _other_draws(self) -> Decoding:
        return replace(self.decoding, seed=self.seed + 1)

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
        texts = self._write(self.behaviour.cache.train, self.each)
        return best_vectors(texts, texts.shows(self.judge))

    @cached_property
    def _layers(self) -> Rows:
        """The best vector of each layer at small strengths."""
        return [
            {"layer": layer, "held_out": vector.held_out, **self._local(vector.method)}
            for layer, vector in enumerate(self._best_vectors)
        ]

    def _made(self, name: str) -> tuple[Intervention, dict[str, Any]]:
        """A method and its setting: chosen on dev, learned, or the best vector there is."""
        cache = self.behaviour.cache
        if name == LEARNED:
            layer = int(self.model.cfg.n_layers) // 2
            made = learn(self.model, cache.train, Site(layer), seed=self.seed, progress=False)
            return made, {"layer": layer}
        if name == BEST:
            layer = best_row(self._layers)["layer"]
            return self._best_vectors[layer].method, {"layer": layer}
        return self._chosen(name)

    def _chosen(self, name: str) -> tuple[Intervention, dict[str, Any]]:
        """Of a family's settings at one cost, that which changes dev's preference most.

        Raises:
            OutOfReach: If no setting can cost so much.
        """
        family, cache = thinned(FAMILIES[name], SETTINGS), self.behaviour.cache
        dev, best, reason = self.behaviour.dev, -np.inf, ""
        chosen: tuple[Intervention, dict[str, Any]] | None = None
        for setting in family.grid(cache):
            try:
                method = self._costing(family.make(cache, setting), CHOSEN_AT)
            except (OutOfReach, NotLocal) as error:
                reason = str(error)
                continue
            gain = float(ls.preference(self.model, dev, method).mean())  # less that of the model
            if gain > best:
                chosen, best = (method, setting), gain
        if chosen is None:
            raise OutOfReach(f"{name} cannot be calibrated: {reason}")
        return chosen

    def _costing(self, method: Intervention, nats: float) -> Intervention:
        """The method at the strength that costs so many nats per token along dev's texts."""
        return calibrate_along(self.model, method, self._dev_texts, kl=nats, progress=False)

    def _at(self, method: Intervention, nats: float) -> dict[str, Any]:
        """What a method does at a cost on dev, or why it cannot."""
        try:
            fair = self._costing(method, nats)
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
        prompts = words_of(self.test)
        after = [by_prompt[prompt] for prompt in prompts]
        return Written.of(self.model, prompts, (), self.each, self.decoding, after=after)

    def _local(self, method: Intervention) -> dict[str, Any]:
        """Gain and curvature of every prompt; nothing where the cost is no parabola at 0."""
        strength = small_strength(self.model, method, self._dev_texts)
        if strength is None:
            return {}
        nats, _, ratio = self._unsteered.costs((method.with_strength(strength),))
        return {"local": _lists(vars(derivatives(self._shown, ratio, nats, strength)))}

    def _model_rows(self) -> Rows:
        """The unsteered texts, and what the best vector of each layer does to them."""
        seen = self._unsteered.measured(self.judge, ())
        numbers = {"shows": seen.shows.mean(axis=1), "draws": seen.draws.mean(axis=1)}
        head: dict[str, Any] = {"method": MODEL, "groups": list(self.groups)}
        head |= {"numbers": _lists(numbers), "well_formed": float(seen.well_formed.mean())}
        return [head, *({"method": MODEL} | row for row in self._layers)]


def words_of(pairs: ContrastivePairs) -> list[str]:
    """The prompts of the embedded model's pairs, which are texts and no chats."""
    return [str(prompt) for prompt in pairs.prompts]


def best_row(rows: Rows) -> dict[str, Any]:
    """The layer whose best vector says most of texts that it was not fitted to.

    Args:
        rows: Of the layers; one whose cost is no parabola near strength 0 is not taken.

    Raises:
        ValueError: If there is no other.
    """
    local = [row for row in rows if "local" in row]
    if not local:
        raise ValueError("no layer's best vector costs a parabola: expected more --texts to fit to")
    return max(local, key=lambda row: row["held_out"])


def _lists(numbers: Mapping[str, Any]) -> dict[str, Any]:
    return {name: x.tolist() for name, x in numbers.items() if x is not None}
