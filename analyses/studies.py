"""What analyses of several behaviours share: their names, and tables that grow with each."""

from collections.abc import Callable, Sequence
from dataclasses import asdict
from typing import Any

import pandas as pd
import typer
from tqdm.auto import tqdm

import lens_steer as ls
from lens_steer import organism
from lens_steer.models import attach

Tables = dict[str, Any]


def names_of(pairs: str) -> list[str]:
    """Sets of pairs, separated by commas; empty: all of the embedded model."""
    return pairs.split(",") if pairs else [f"organism:{name}" for name in organism.behaviours()]


def origin_of(loaded: ls.SteerableModel, /, **settings: Any) -> dict[str, Any]:
    """Where figures come from: the settings of the command, and which model it was."""
    return settings | {"fingerprint": asdict(attach(loaded).fingerprint)}


def one_by_one(
    names: Sequence[str],
    desc: str,
    study: Callable[[str], Tables],
    report: Callable[[Tables], None],
) -> Tables:
    """All tables of all behaviours; they are reported after each, so that a stop loses one."""
    kept: dict[str, list[Any]] = {}
    whole: Tables = {}
    for name in tqdm(names, desc=desc):
        for key, table in study(name).items():
            kept.setdefault(key, []).append(table)
        whole = {key: pd.concat(parts, ignore_index=True) for key, parts in kept.items()}
        report(whole)
    return whole


def show(table: Any, columns: Sequence[str]) -> None:
    """Print some columns."""
    typer.echo(table[list(columns)].to_string(index=False, float_format="{:.3f}".format))
