"""What the commands keep in their folders, as parts of a page."""

import os
import shlex
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from lens_steer.arguments import FolderPath
from lens_steer.artifacts import load
from lens_steer.benchmark import kept_rows, read
from lens_steer.files import json_file
from lens_steer.pages.sections import Section, sections_of, tabled

_STAGES = {  # of a demo, by the names of its files
    "separability": "How far apart the classes are",
    "screen": "Which layers make the desired texts likelier",
    "choice": "What was chosen on dev",
    "sweep": "Behaviour against cost, on held-out prompts",
}
_OPTIONS = ("model", "pairs", "columns", "template", "seed", "methods", "read", "reads", "scope")
_OPTIONS += ("minutes", "temperature")


def check_results(folder: FolderPath) -> None:
    """Raise a ValueError unless a command of lens_steer wrote results into a folder."""
    names = ("demo.json", "trials.jsonl", "table.safetensors")
    if not any(os.path.isfile(Path(folder) / name) for name in names):
        raise ValueError(
            f"no results in {str(folder)!r}, expected the folder of lens-steer demo or compare, or "
            "of ls.benchmark.run(..., out=)"
        )


def title_of_folder(folder: Path) -> str:
    """A heading that says what was done, the same wherever the folder lies."""
    if os.path.isfile(folder / "demo.json"):
        asked = json_file(folder / "demo.json")["origin"]["demo"]
        return f"Steering {asked['model']} with {asked['pairs']}"
    if os.path.isfile(folder / "trials.jsonl"):
        return f"Methods compared on {', '.join(read(folder).behaviours)}"
    return f"Answers: {load(folder / 'table.safetensors').name}"


def sections_of_folder(folder: Path) -> Iterator[Section]:
    """The parts of a page that show what a command wrote into a folder, whole or not.

    Raises:
        ValueError: If no command of lens_steer wrote into it, or a file is damaged.
    """
    check_results(folder)
    if os.path.isfile(folder / "demo.json"):
        yield from _of_demo(folder)
    elif os.path.isfile(folder / "trials.jsonl"):
        yield from sections_of("Methods at one cost", read(folder))
        yield _redone("compare", _terms(folder / "trials.jsonl"))
    else:
        table = load(folder / "table.safetensors")
        yield from sections_of(f"Answers: {table.name}", table)
        yield _provenance(json_file(folder / "table.json"))


def _of_demo(folder: Path) -> Iterator[Section]:
    import pandas as pd

    origin = json_file(folder / "demo.json")["origin"]
    asked = origin["demo"]
    yield Section(
        "What was done",
        (
            f"The model {asked['model']} ({origin['architecture']}) was steered with CAA and "
            f"contrastive pairs, {asked['pairs']}: one part is fitted on, layer and strength are "
            "chosen on a second (dev), and a third is reported on. No prompt is in two of them.",
        ),
    )
    for name, title in _STAGES.items():
        if os.path.isfile(folder / f"{name}.safetensors"):
            yield from sections_of(title, load(folder / f"{name}.safetensors"))
    if os.path.isfile(folder / "texts.csv"):
        texts = pd.read_csv(folder / "texts.csv", keep_default_na=False)
        yield tabled(Section("Texts side by side"), texts, texts.head(8))
    if os.path.isfile(folder / "table.jsonl"):
        yield from sections_of("Methods at one cost", read(folder))
    yield _redone("demo", origin)


def _terms(journal: Path) -> dict[str, Any]:
    return kept_rows(journal)[0]["terms"]


def _redone(command: str, origin: Mapping[str, Any]) -> Section:
    """The command line that does it again, and what it was made of."""
    asked: dict[str, Any] = dict(origin.get("demo") or origin)
    words = ["lens-steer", command]
    for name in _OPTIONS:
        value = asked.get(name)
        if value not in (None, "", [], (), {}):
            words += [f"--{name}", _on_a_command_line(value)]
    section = _provenance({k: v for k, v in origin.items() if k not in ("demo", "config")})
    return Section(section.title, section.words, (), section.table, "", shlex.join(words))


def _on_a_command_line(value: Any) -> str:
    if isinstance(value, Mapping):
        return ",".join(f"{name}={other}" for name, other in value.items())
    return ",".join(map(str, value)) if isinstance(value, list | tuple) else str(value)


def _provenance(values: Mapping[str, Any]) -> Section:
    import pandas as pd

    rows: list[tuple[str, str]] = []
    for name, value in values.items():
        parts = value.items() if isinstance(value, Mapping) else [("", value)]
        rows += [(f"{name} {key}".strip(), str(each)) for key, each in parts]
    table = pd.DataFrame(rows, columns=["of", "value"])
    shown = tabled(Section("Made of"), table, table)
    said = ("The same settings and versions give the same numbers.",)
    return Section(shown.title, said, table=shown.table)
