"""Tables of results that tests write, in the folders where analyses leave theirs."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from analyses.claims.evidence import Results

KINDS = ("prose", "chat", "code")


def results(folder: Path, **tables: Any) -> Results:
    """Write tables whose names have `__` for each folder."""
    for name, rows in tables.items():
        path = folder / f"{name.replace('__', '/')}.csv"
        path.parent.mkdir(parents=True, exist_ok=True)
        pd.DataFrame(rows).to_csv(path, index=False)
    return Results(folder)


def block_counts(above: Mapping[tuple[str, str], int], share: float, unit: str) -> Any:
    """Rows of a summary of kinds of text: ten blocks, those not above 0 below it.

    Args:
        above: The blocks above 0 of each kind of text and predictor.
        share: The size of the push in parts of the length.
        unit: The length.
    """
    return [
        {"kind": kind, "unit": unit, "fraction": share, "what": what, "cells": 10}
        | {"above": count, "below": 10 - count, "median": 0.1 * count - 0.5}
        for (kind, what), count in above.items()
    ]


def contrast_row(method: str, less: str, verdict: str) -> dict[str, Any]:
    """A row of registered contrasts with a verdict of its own."""
    return {
        "method": method,
        "less": less,
        "tasks": 6,
        "difference": 0.05,
        "difference_low": -0.012,
        "difference_high": 0.113,
        "p_holm": 0.25,
        "margin": 0.03,
        "caa_gain": 0.2,
        "verdict": verdict,
    }


def gates(entered: Sequence[bool]) -> list[dict[str, Any]]:
    """Rows of gates, two readings of each task."""
    return [{"task": f"t{i}", "enters": each} for i, each in enumerate(entered) for _ in range(2)]
