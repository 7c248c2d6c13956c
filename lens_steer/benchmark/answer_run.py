"""From a published file of multiple-choice questions to a table, in one call."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

from lens_steer.arguments import Accepts, Count, FilePath, FolderPath, Positive, Seed, Text
from lens_steer.artifacts import save
from lens_steer.benchmark.answer_rows import KeptRows, run_terms
from lens_steer.benchmark.answer_scoring import CONTROLS, AnswerScoring, spread_over_groups
from lens_steer.benchmark.answer_table import AnswerTable
from lens_steer.benchmark.method_names import methods_by_name
from lens_steer.benchmark.published_data import load
from lens_steer.data import Questions, without_near_duplicates
from lens_steer.figures import save_figure
from lens_steer.files import write_whole, writing_in
from lens_steer.models import SteerableModel
from lens_steer.sites import Site
from lens_steer.steering import Intervention, Scope, check_scope


def run(  # noqa: PLR0913 - what is asked, what steers, and what it stands beside
    name: Text,
    model: SteerableModel,
    methods: Annotated[
        Sequence[Intervention] | Mapping[str, Intervention],
        Accepts(Sequence[Intervention] | Mapping[str, Intervention]),
    ],
    *,
    data: FilePath | Questions,
    train: FilePath | Questions | None = None,
    kl: Positive | None = None,
    limit: Count | None = None,
    controls: bool = True,
    instruction: str = "",
    learn_at: Site | None = None,
    scope: Scope = "last",
    sink: bool = False,
    out: FolderPath | None = None,
    seed: Seed = 0,
    progress: bool = True,
) -> AnswerTable:
    """Score a published set of multiple-choice questions, steered, unsteered and by controls.

    Questions that share five words in a row with one of `train` are left out, and counted in the
    notes. Nats are measured on at most 48 of the questions, `kl_fixed` along 32 unsteered tokens
    after each. Where all questions have the same two answers, such as Yes and No, the table also
    has AUC, balanced accuracy at a threshold fitted on at most 200 questions of `train` under the
    same method, and the mass on the answers.

    Args:
        name: Of the set, as `load` takes it: `truthfulqa-mc`, `copa`, `sst2`, ...
        model: The model.
        methods: Methods, or methods by name; fit them on other questions than those of `data`.
        data: The file, as it is published, or questions that are read already.
        train: A file or questions that controls are fitted on, and methods calibrated; None splits
            the questions in halves by group and reports on the second. Methods must not be fitted
            on that: split the questions first, as in the second example.
        kl: Nats per token off the task that each method is calibrated to, along unsteered
            continuations of 16 prompts of `train`; None takes every method as it is.
        limit: How many questions are reported on, at most, spread evenly over the file.
        controls: Whether to add the rows of `answer_controls`.
        instruction: For the row `prompting`; empty leaves it out.
        learn_at: Where the row `learned vector` is learned, with gradients; None leaves it out.
        scope: Where methods steer, see `steered`.
        sink: See `steered`.
        out: A folder: every row is kept as soon as it is scored, a run that was stopped goes on
            with the same call, and ends with the same bytes. In the end it holds the table
            (`table.safetensors` for `lens_steer.load`, `.csv`, `.md`, `.tex`) and its figure.
        seed: Of the split, the continuations, the controls and the intervals.
        progress: Whether to say what is going to be read, and show bars.

    Raises:
        ValueError: If the file is of another set or has no questions to choose from, nothing
            remains to report on, a method does not fit the model or has the name of a control, or
            `out` holds a run of anything else.
        OutOfReach: If a method cannot cost `kl`.

    Example:
        >>> files = {"data": "test.jsonl", "train": "train.jsonl"}
        >>> table = ls.benchmark.run("copa", model, [method], **files)
        >>> print(table.markdown())

        >>> questions = ls.benchmark.load("truthfulqa-mc", "TruthfulQA.csv").questions
        >>> train, test = questions.split(0.5, 0.5, seed=0)
        >>> method = ls.CAA.fit(ls.capture(model, train.pairs(), "resid").at(layer=15))
        >>> ls.benchmark.run("truthfulqa-mc", model, [method], data=test, train=train, out="out/mc")
    """
    named = _named(methods)
    where = check_scope(scope, sink=sink)
    fit_on, test, notes = _parts(name, data, train, seed)
    if limit is not None and limit < len(test):
        test = spread_over_groups(test, limit)
        notes.append(f"{limit} of the questions, spread evenly")
    plan = AnswerScoring(
        model, fit_on, test, where, kl, controls, instruction, learn_at, seed, progress
    )
    if out is None:
        return plan.table(name, named, notes, KeptRows())
    folder = Path(out)
    settings = {"name": name, "scope": repr(where), "kl": kl, "controls": controls, "seed": seed}
    settings |= {"instruction": instruction, "learn_at": learn_at and learn_at.hook_name}
    terms = run_terms(model, {"train": fit_on, "test": test}, named, settings)
    with writing_in(folder):
        table = plan.table(name, named, notes, KeptRows.in_folder(folder, terms))
        _write(table, folder, terms)
    return table


def _named(
    methods: Sequence[Intervention] | Mapping[str, Intervention],
) -> dict[str, Intervention]:
    """Methods by name, of which none is that of a control."""
    named = {key: fits[0] for key, fits in methods_by_name(methods).items()}
    clash = sorted(set(named) & {*CONTROLS, "prompting", "learned vector"})
    if clash:
        raise ValueError(f"the names {clash} are those of controls: give the methods others")
    return named


def _write(table: AnswerTable, out: Path, terms: Mapping[str, Any]) -> None:
    save(table, out / "table.safetensors")
    write_whole(out / "table.md", lambda path: path.write_text(table.markdown(), "utf-8"))
    write_whole(out / "table.tex", lambda path: path.write_text(table.latex(), "utf-8"))
    save_figure(table.figure(), out / "table.png", table.table(), terms)


def _parts(
    name: str,
    data: str | Path | Questions,
    train: str | Path | Questions | None,
    seed: int,
) -> tuple[Questions, Questions, list[str]]:
    """Questions to fit on and to report on, without near-duplicates, and what was done to them."""
    test, notes = _questions(name, data)
    if train is None:
        fit_on, test = test.split(0.5, 0.5, seed=seed)
        notes.append(f"train is half of the questions, drawn by group with seed {seed}")
    else:
        fit_on, more = _questions(name, train)
        notes += more
    distinct = without_near_duplicates(fit_on, test)
    if left := sum(distinct.left_out[1].values()):
        notes.append(f"{left} questions that nearly repeat one of train are left out")
    fit_on, test = distinct
    return fit_on, test, notes


def _questions(name: str, source: str | Path | Questions) -> tuple[Questions, list[str]]:
    if isinstance(source, Questions):
        return source, []
    found = load(name, source)
    if found.questions is None:
        raise ValueError(
            f"{name!r} has no questions to choose from, expected a set of multiple choice such as "
            "'truthfulqa-mc' or 'copa'"
        )
    rows = sum(found.left_out.values())
    return found.questions, [f"{rows} rows of {source} could not be used"] * bool(rows)
