"""What a demo keeps as it goes: a stopped one goes on where it was, with the plan it had."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from lens_steer.artifacts import load, save
from lens_steer.benchmark import differing
from lens_steer.files import json_file, write_whole
from lens_steer.models import SteerableModel

RECORD = "demo.json"
Kept = TypeVar("Kept")


@dataclass(frozen=True)
class KeptStages:
    """The folder of a demo whose finished stages need not be run again.

    Attributes:
        out: The folder.
        origin: What the demo is made of: settings, data, weights, versions.
        model: The model that what is kept has to fit.
    """

    out: Path
    origin: Mapping[str, Any]
    model: SteerableModel

    def plan(self, make: Callable[[], dict[str, Any]]) -> dict[str, Any]:
        """The plan of the demo that was begun in this folder; or a new one, which is kept.

        Raises:
            ValueError: If the demo that was begun is of other settings, data, weights or versions;
                what differs is named.
        """
        place = self.out / RECORD
        now = json.loads(json.dumps(dict(self.origin), default=str))
        if place.is_file():
            record = json_file(place)
            if not isinstance(record, dict) or not {"origin", "plan"} <= set(record):
                raise ValueError(f"{str(place)!r} is not of a demo: choose another folder")
            difference = differing(record["origin"], now)
            if difference:
                raise ValueError(
                    f"{str(place)!r} is of a demo of something else ({difference}): choose another "
                    "folder"
                )
            return record["plan"]
        plan = json.loads(json.dumps(make()))
        text = json.dumps({"origin": now, "plan": plan}, indent=2, sort_keys=True) + "\n"
        write_whole(place, lambda target: target.write_text(text, encoding="utf-8"))
        return plan

    def kept(self, name: str, make: Callable[[], Kept]) -> Kept:
        """The result of a stage: as it is kept in this folder, or made and kept.

        Raises:
            ValueError: If what is kept is damaged or of another model, or as `make`.
        """
        place = self.out / f"{name}.safetensors"
        if place.is_file():
            return load(place, self.model)
        made = make()
        save(made, place)
        return made
