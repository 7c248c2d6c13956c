"""The measured cells of one environment, in one JSON file, a line for each cell."""

import hashlib
import json
import platform
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from analyses.compatibility.cells import Cell, Result
from lens_steer.files import json_file, write_whole
from lens_steer.models import version_of

_PACKAGES = ("transformer-lens", "transformers", "torch")
_ROOT = Path(__file__).parents[2]
# What the numbers depend on, beside the versions.
_CODE = ("lens_steer", "analyses/passes.py", *(f"analyses/compatibility/{name}.py" for name in (
    "architectures", "tiny_models", "plain_models", "checks", "cells"
)))  # fmt: skip


def installed() -> dict[str, str]:
    """The versions that decide what comes out: of Python and of the packages that run a model."""
    return {"python": platform.python_version()} | {name: version_of(name) for name in _PACKAGES}


def code() -> str:
    """Twelve digits that change when lens_steer does, or what is measured of it."""
    digest = hashlib.sha256()
    for place in _CODE:
        path = _ROOT / place
        for file in sorted(path.rglob("*.py")) if path.is_dir() else [path]:
            digest.update(f"{file.relative_to(_ROOT).as_posix()}\n".encode())
            digest.update(file.read_bytes())
    return digest.hexdigest()[:12]


@dataclass(frozen=True)
class Measured:
    """What came out of one cell.

    Attributes:
        cell: The cell.
        checks: By check, the size of an error, or what happened instead.
        seconds: How long it took.
        date: When it was measured, as `2026-11-27`.
        code: What it was measured with; see `code`.
    """

    cell: Cell
    checks: Mapping[str, Result]
    seconds: float
    date: str
    code: str


@dataclass(frozen=True)
class Results:
    """All cells of one environment.

    Attributes:
        versions: As `installed` gives them.
        seed: Of weights and tokens.
        cells: What was measured, by cell.
    """

    versions: Mapping[str, str]
    seed: int
    cells: Mapping[Cell, Measured]

    @property
    def file_name(self) -> str:
        """The file's name: the versions that differ between environments."""
        lens, transformers = (self.versions[name] for name in _PACKAGES[:2])
        return f"transformer-lens-{lens}_transformers-{transformers}.json"

    @classmethod
    def here(cls, folder: Path, seed: int) -> "Results":
        """What was measured before in this environment with this seed; no cell if nothing was.

        Raises:
            ValueError: If there is a file of this environment, of other versions or another seed.
        """
        new = cls(installed(), seed, {})
        path = folder / new.file_name
        if not path.exists():
            return new
        old = cls.read(path)
        if (dict(old.versions), old.seed) != (new.versions, seed):
            raise ValueError(
                f"{path} was made with {_said(old)}, and here are {_said(new)}: choose another "
                "--out, or remove it"
            )
        return old

    @classmethod
    def read(cls, path: Path) -> "Results":
        """Read a file.

        Raises:
            ValueError: If it is not what `write` writes.
        """
        content = json_file(path)
        try:
            measured = [
                Measured(
                    Cell(row["architecture"], row["backend"], row["dtype"]),
                    row["checks"],
                    row["seconds"],
                    row["date"],
                    row["code"],
                )
                for row in content["cells"]
            ]
            return cls(content["versions"], content["seed"], {m.cell: m for m in measured})
        except (KeyError, TypeError) as error:
            raise ValueError(
                f"{path} is not a file of `python -m analyses.compatibility` ({error!r}): remove it"
            ) from error

    def with_cell(self, measured: Measured) -> "Results":
        """The same with one more cell, which takes the place of what was measured of it before."""
        return replace(self, cells={**self.cells, measured.cell: measured})

    def missing(self, cells: Iterable[Cell]) -> list[Cell]:
        """Those of some cells that were not measured with the code as it is."""
        now = code()
        return [c for c in cells if c not in self.cells or self.cells[c].code != now]

    def write(self, folder: Path) -> None:
        """Write the file whole, cells in order."""
        rows = [json.dumps(_row(self.cells[cell])) for cell in sorted(self.cells)]
        head = f'{{"versions": {json.dumps(dict(self.versions))},\n"seed": {self.seed},\n"cells": ['
        text = head + ("\n" if rows else "") + ",\n".join(rows) + "\n]}\n"
        write_whole(folder / self.file_name, lambda path: Path(path).write_text(text, "utf-8"))


def _row(measured: Measured) -> dict[str, Any]:
    cell = measured.cell
    return {
        "architecture": cell.architecture,
        "backend": cell.backend,
        "dtype": cell.dtype,
        "checks": dict(measured.checks),
        "seconds": measured.seconds,
        "date": measured.date,
        "code": measured.code,
    }


def _said(results: Results) -> str:
    versions = ", ".join(f"{name} {version}" for name, version in results.versions.items())
    return f"{versions}, seed {results.seed}"
