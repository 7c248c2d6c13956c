"""The assay gate: a task enters for a model only if something moves its measure at all."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
import torch

from analyses.registered.contrasts import realised, shown
from analyses.registered.references import GATE_AT
from lens_steer.intervals import interval

LEAST = 0.08  # of the share, on dev
ASKED = ("CAA", "learned", "prompting")
_SLACK = 1.25  # of the nats: what was calibrated on dev costs about that on dev's own texts


def gate_table(task: str, rows: Sequence[Mapping[str, Any]], *, seed: int) -> pd.DataFrame:
    """A row for words, the learned vector and CAA: how far each moves the share on dev.

    Items are those of all seeds. What cost more than `GATE_AT` nats along the texts that were
    written is taken for less, by the root of the ratio. `counts` is whether it may let the task in:
    words whose cost nobody chose do not count where it is larger.
    """
    plain = {row["seed"]: row for row in rows if row["method"] == "unsteered"}
    base = float(np.mean([row["behaviour"] for row in plain.values()]))
    table = []
    for name in ASKED:
        found = [row for row in rows if row["method"] == name and "behaviour" in row]
        head = {"task": task, "method": name, "unsteered": base}
        if not found:
            why = next((r["failure"] for r in rows if r["method"] == name), "there are no words")
            table.append(head | {"counts": False, "why": why})
            continue
        change = [shown(row) - shown(plain[row["seed"]]) for row in found]
        groups = [group for row in found for group in row["groups"]]
        nats = float(np.mean([realised(row) for row in found]))
        counts = nats <= _SLACK * GATE_AT or name != "prompting"
        scale = min(1.0, float(np.sqrt(GATE_AT / nats))) if nats > 0 else 1.0
        moved = interval(torch.from_numpy(scale * np.concatenate(change)), groups, seed=seed)
        why = "" if counts else f"costs more than {_SLACK * GATE_AT:g} nats per token"
        table.append(head | moved.columns("change") | {"nats": nats, "counts": counts, "why": why})
    return pd.DataFrame(table)


def enters(table: pd.DataFrame) -> bool:
    """Whether the task enters: something that counts surely moves its measure by `LEAST`."""
    if "change" not in table:
        return False
    moves = (table["change"] >= LEAST) & (table["change_low"] > 0)
    return bool((table["counts"] & moves).any())
