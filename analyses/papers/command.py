"""What the commands of the three papers share: the options, and a run from files to tables."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

import lens_steer as ls
from analyses.papers.judging import FORMS, ChosenJudge, chosen_judge, tried
from analyses.papers.presets import Preset
from analyses.papers.running import parts_of, run, terms_of
from analyses.papers.tables import model_label, numbers, written
from analyses.studies import Out, Seed, fingerprint
from lens_steer.arguments import Count, FolderPath, Text
from lens_steer.cli import option
from lens_steer.figures import save_table
from lens_steer.files import write_whole, writing_in
from lens_steer.models import model_directory

Presets = Mapping[str, Preset]

Reader = Annotated[
    str | None,
    option(
        Text,
        "The model, one that knows English: a hub name, a directory in the Hugging Face format, a "
        "GGUF file, or smollm2 or gemma3 (which lens-steer fetch brings).",
        check=model_directory,
        metavar="MODEL",
        show_default=False,
    ),
]


def _check_data(folder: str | Path) -> None:
    if not Path(folder).is_dir():
        raise ValueError(f"no folder {str(folder)!r}, expected the one with the published files")


Data = Annotated[
    Path | None,
    option(
        FolderPath,
        "The folder with the published files, each as --list names it.",
        check=_check_data,
        metavar="FOLDER",
        show_default=False,
    ),
]
Limit = Annotated[
    int | None,
    option(
        Count,
        "At most so many questions are reported on, and training pairs fitted to, in each part of "
        "a task. Left out: as the paper.",
        metavar="INTEGER",
        show_default=False,
    ),
]
Judge = Annotated[
    str | None,
    option(
        Text,
        f"Who judges the texts of a table that writes some: {FORMS}, which texts are then sent to "
        "as an OpenAI-compatible endpoint. Left out: the table's own stand-in.",
        metavar="JUDGE",
        show_default=False,
    ),
]
JudgeModel = Annotated[
    str | None,
    option(Text, "The chat model at the URL of --judge.", metavar="NAME", show_default=False),
]
JudgeKey = Annotated[
    str | None,
    option(
        Text,
        "The environment variable with the key of --judge, or none to send no key. Left out: "
        "OPENAI_API_KEY.",
        metavar="VARIABLE",
        show_default=False,
    ),
]
Listed = Annotated[
    bool,
    typer.Option(
        "--list", help="Print every table, what it rests on and what is not run, and end."
    ),
]


def command_of(paper: str, presets: Presets) -> Callable[..., None]:
    """The function that `python -m analyses.papers.PAPER` runs.

    Args:
        paper: Its short name.
        presets: Its tables, by name.
    """
    names = ", ".join(presets)

    def check_table(name: str | None) -> None:
        if name is not None and name not in presets:
            raise ValueError(f"got {name!r}, expected one of the tables {names}")

    table_option = option(
        Text, f"The table: {names}.", check=check_table, metavar="TABLE", show_default=False
    )

    def main(  # noqa: PLR0913 - the options of the command
        table: Annotated[str | None, table_option] = None,
        model: Reader = None,
        data: Data = None,
        out: Out = Path("out/papers") / paper,
        seed: Seed = 0,
        limit: Limit = None,
        judge: Judge = None,
        judge_model: JudgeModel = None,
        judge_key: JudgeKey = None,
        listed: Listed = False,
    ) -> None:
        if listed:
            typer.echo("\n\n".join(preset.describe() for preset in presets.values()))
            return
        if table is None or data is None or model is None:
            given = {"--table": table, "--data": data, "--model": model}
            missing = next(name for name, value in given.items() if value is None)
            raise ValueError(f"no {missing}: give one, or --list to see what there is ({names})")
        preset = presets[table]
        chosen = chosen_judge(preset.judged, judge, judge_model, judge_key)
        make_table(paper, preset, model, data, out / table, seed=seed, limit=limit, chosen=chosen)

    return main


def make_table(
    paper: str,
    preset: Preset,
    model: str,
    data: Path,
    out: Path,
    *,
    seed: int = 0,
    limit: int | None = None,
    chosen: ChosenJudge | None = None,
) -> None:
    """Run a table, or go on with it, and write it as `table.md`, `.tex` and `.csv`.

    `units.jsonl` keeps the finished units, `manifest.json` what the run was made of.

    Args:
        paper: The short name of the paper.
        preset: The table.
        model: As `load_model` takes it.
        data: The folder with the published files.
        out: The folder to write to.
        seed: Of halves, draws, texts and intervals.
        limit: At most so many questions and training pairs in each part; None is the paper's.
        chosen: Who judges texts; None is the stand-in of the table.

    Raises:
        ValueError: If a file is missing or of another form, a judge cannot be asked, or the folder
            holds another run. Files are read and the judge is tried before the model is loaded.
    """
    parts = parts_of(preset, data, limit, seed, chosen)
    tried(chosen)
    with writing_in(out):
        loaded = ls.load_model(model)
        if not ls.describe(loaded).chat_template:
            parts = {name: tuple(p.without_chats() for p in each) for name, each in parts.items()}
        terms = terms_of(preset, loaded, data, limit, seed, chosen)
        rows = run(preset, loaded, parts, out, terms, seed=seed, limit=limit)
        name = chosen.name if chosen else ""
        found = numbers(preset, f"{paper}-{preset.table}", rows, seed, name)
        described, label = ls.describe(loaded), model_label(loaded)
        layers = f"{loaded.cfg.n_layers} blocks, {described.parameters:,} parameters"
        line = f"{model} ({described.fingerprint.architecture}, {layers}, {described.weights})"
        every = [part for each in parts.values() for part in each]
        notes = [note for part in every for note in (*part.notes, part.judge_note) if note]
        if limit is not None:
            notes.insert(0, f"A TRIAL: --limit {limit}, not the paper's numbers of questions.")
        text = written(preset, found, line, label, notes)
        title = f"{preset.paper}: {preset.title}"
        manifest = {**terms, "fingerprint": fingerprint(loaded), "weights": described.weights}
        save_table(found, out / "table.csv")
        _write(out / "table.md", text.markdown(title))
        _write(out / "table.tex", text.latex(title))
        _write(out / "manifest.json", json.dumps(manifest, indent=2, sort_keys=True, default=str))
        typer.echo(text.markdown(title))


def _write(path: Path, text: Any) -> None:
    write_whole(path, lambda place: place.write_text(text.rstrip("\n") + "\n", encoding="utf-8"))
