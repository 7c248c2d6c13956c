"""The units of a run, one for each behaviour and fit, and what its journal holds of them."""

import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import lens_steer as ls
from analyses.variance.design import CALIBRATED_ON, NATS, Behaviour, Design
from analyses.variance.measuring import Bench, Rows
from lens_steer.benchmark import Journal, content, made_on
from lens_steer.models import encode

UNSTEERED = "unsteered"
_PASSES = 6  # along the dev texts until a strength is found, about


@dataclass(frozen=True, eq=False)
class Run:
    """All units of one model.

    Attributes:
        model: The model.
        behaviours: What is steered towards.
        design: The levels of the factors.
        journal: What has been measured.
    """

    model: ls.SteerableModel
    behaviours: Sequence[Behaviour]
    design: Design
    journal: Journal

    @classmethod
    def of(
        cls, model: ls.SteerableModel, behaviours: Sequence[Behaviour], design: Design, path: Path
    ) -> "Run":
        """Begin a run, or go on with the one in the journal.

        Raises:
            ValueError: If the journal is of a run on other terms.
        """
        marks = made_on(model, [each.pairs for each in behaviours])
        terms = asdict(design) | {"behaviours": [each.name for each in behaviours], "nats": NATS}
        del terms["text_prompts"]  # texts are units of their own, and may be added later
        return cls(model, behaviours, design, Journal(path, marks | terms))

    def units(self) -> list[tuple[Any, ...]]:
        """Every unit, in order: preferences of all behaviours, fit by fit; then texts."""
        fits = [(UNSTEERED,), *((fit,) for fit in range(self.design.fits))]
        if n := self.design.text_prompts:
            fits += [(part, f"{n} texts") for part in (UNSTEERED, *self.design.text_fits)]
        return [(each.name, *fit) for fit in fits for each in self.behaviours]

    def measure(self) -> Iterator[tuple[Any, ...]]:
        """Measure what is missing, unit by unit; yields each when it has been kept."""
        by_name = {each.name: Bench(self.model, each, self.design) for each in self.behaviours}
        for unit in [unit for unit in self.units() if unit not in self.journal.done]:
            self.journal.add(unit, self._measured(by_name[unit[0]], *unit[1:]))
            yield unit

    def _measured(self, bench: Bench, fit: Any, texts: str = "") -> Rows:
        if fit == UNSTEERED:
            return [bench.unsteered_texts() if texts else bench.unsteered_row()]
        if not texts:
            return bench.rows(fit)
        return bench.text_rows(fit, self._rows((bench.behaviour.name, fit)))

    def rows(self) -> Rows:
        """All cells that were measured, each with its behaviour and fit."""
        found: dict[tuple[Any, ...], dict[str, Any]] = {}
        for unit in self.units():
            for row in self._rows(unit):
                cell = (*unit[:2], row.get("read"), row.get("layer"), row.get("method"))
                head = {"behaviour": unit[0], "fit": unit[1]}
                found.setdefault(cell, head).update(row)
        return list(found.values())

    def _rows(self, unit: tuple[Any, ...]) -> Rows:
        return [content(row) for row in self.journal.rows if tuple(row["unit"]) == unit]

    def cost(self) -> str:
        """Tokens through the model, and the minutes they take at the speed measured, in words."""
        design = self.design
        cells = len(design.cells()) * design.fits
        written = len(design.text_fits) * len(design.text_layers)
        written *= len(design.reads) * len(design.methods)
        found = texts = 0.0
        for each in self.behaviours:
            prompt, pair = _lengths(self.model, each)
            calibrated = _PASSES * CALIBRATED_ON * (prompt + design.tokens)
            found += cells * (calibrated + min(design.prompts, len(each.test)) * pair)
            prompts = min(design.text_prompts, len(each.test))
            texts += written * prompts * 3 * (prompt + design.tokens)
        speed = self._speed()
        return (
            f"{cells} cells of each of {len(self.behaviours)} behaviours: strengths and "
            f"preferences {found / 1e6:.2f} million tokens, about {found / speed / 60:.0f} minutes "
            f"at {speed:.0f} tokens a second; texts {texts / 1e6:.2f} million, about "
            f"{texts / speed / 60:.0f} minutes; fits come on top"
        )

    def _speed(self) -> float:
        """Tokens a second of the preference of a few pairs."""
        few = self.behaviours[0].test.spread(8)
        _, pair = _lengths(self.model, self.behaviours[0])
        begun = time.perf_counter()
        ls.preference(self.model, few)
        return len(few) * pair / (time.perf_counter() - begun)


def _lengths(model: ls.SteerableModel, behaviour: Behaviour) -> tuple[float, float]:
    """Tokens of a prompt, and of both sides of a pair with their prompt, on average."""
    few = behaviour.test.spread(8)
    sides = [
        [encode(model, e.prompt, e.continuation) for e in s] for s in (few.desired, few.undesired)
    ]
    prompt = sum(row.prompt_length for row in sides[0]) / len(few)
    return prompt, sum(len(row.ids) for side in sides for row in side) / len(few)
