"""The analysis behind the embedded model's card, on tables and models made up for the purpose."""

from collections.abc import Sequence
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

import lens_steer as ls
from analyses import organism_seeds
from analyses.organism import figures
from analyses.organism.card import fill, filled
from analyses.organism.probes import COMPONENTS, linear, probe, quadratic, spoken
from analyses.organism.steering import DEV, SIZES, steer
from analyses.organism.tasks import Opposite, tasks, thinned
from lens_steer import organism
from lens_steer.organism import stored_weights as _weights

FEW = 60  # pairs, of which its 240 would take three times as long
FILM = "a review of the film."
MARKS = ("training", "unsteered", "steering", "layers", "degrees", "seeds")


def made_up() -> dict[str, pd.DataFrame]:
    names, done = list(organism.behaviours()), [task.name for task in tasks()]
    scores = {"behaviour_mean": 0.5, "low": 0.4, "high": 0.6, "well_formed": 0.9, "n": 40}
    at = {
        "read": "mean",
        "layer": 2,
        "unsteered": 0.5,
        "random": 0.5,
        "random_low": 0.4,
        "random_high": 0.6,
        "scope": "last",
        "temperature": 0.7,
    }
    pushes = crossed(task=done, size=SIZES, direction=("CAA", "random"))
    reads = ("told by the persona", "shown by the text")
    return {
        "unsteered": crossed(behaviour=names, prompts=["all"], temperature=[0.7]).assign(
            perplexity=2.0, **scores
        ),
        "steering": crossed(task=done, size=[0.7]).assign(**at, **scores),
        "doses": spread(pushes.assign(**at, **scores), "behaviour_mean"),
        "candidates": pushes.assign(layer=2, behaviour=0.5, well_formed=0.95),
        "layers": spread(crossed(behaviour=names, read=reads, layer=(-1, 0, 1)), "accuracy"),
        "heads": spread(crossed(behaviour=names, layer=(0, 1), head=(0, 1)), "accuracy"),
        "degrees": spread(
            crossed(read=("last", "mean"), probe=("linear", "degree 2"), layer=(-1, 0)), "accuracy"
        ),
    }


def spread(table: pd.DataFrame, column: str) -> pd.DataFrame:
    """The table with another value in each row of a column."""
    return table.assign(**{column: np.linspace(0.4, 0.6, len(table))})


def crossed(**columns: Sequence[Any]) -> pd.DataFrame:
    return pd.DataFrame(list(product(*columns.values())), columns=list(columns))


def training() -> dict[str, Any]:
    recipe = {"seed": 0, "steps": 4, "texts": 8, "peak": 1e-3}
    log = [
        {"step": k, "loss": 2.0, "floor": 1.5, "train": 2.0, "seconds": 60.0} for k in range(1, 5)
    ]
    return {"recipe": recipe, "torch": "2", "log": log}


def test_every_figure_is_drawn_from_its_table() -> None:
    tables = made_up()
    drawn = [
        figures.doses(tables["doses"]),
        figures.layers(tables["layers"], tables["candidates"], 0.9),
        figures.heads(tables["heads"]),
        figures.degrees(tables["degrees"], "polarity"),
    ]
    panels: Any = [figure.axes for figure in drawn]
    doses, layers, heads, degrees = panels
    first: Any = tables["doses"][tables["doses"]["task"] == tables["doses"]["task"][0]]
    for direction, line in (("CAA", doses[0].lines[0]), ("random", doses[0].lines[2])):
        part = first[first["direction"] == direction]
        assert line.get_xydata().tolist() == part[["size", "behaviour_mean"]].values.tolist()
    probes = tables["layers"].query(
        "behaviour == behaviour.iloc[0] and read.str.startswith('told')"
    )
    assert layers[0].lines[0].get_ydata().tolist() == probes["accuracy"].tolist()
    assert layers[0].lines[2].get_xydata().tolist() == [[2, 0.5]]  # CAA, at the only layer
    grid: Any = tables["heads"][tables["heads"]["behaviour"] == tables["heads"]["behaviour"][0]]
    cells = {text.get_position(): text.get_text() for text in heads[0].texts}
    by_cell = grid.set_index(["head", "layer"])["accuracy"]
    assert cells == {cell: f"{100 * accuracy:.0f}" for cell, accuracy in by_cell.items()}
    linear_probe: Any = tables["degrees"].query("read == 'last' and probe == 'linear'")
    assert degrees[0].lines[0].get_ydata().tolist() == linear_probe["accuracy"].tolist()
    labels = [ax.get_xlabel() + ax.get_ylabel() for figure in drawn for ax in figure.axes]
    assert any("|push| / median |activation|" in label for label in labels)
    assert any("layer" in label for label in labels)


def test_filling_the_card_twice_is_filling_it_once() -> None:
    card = "".join(f"<!-- begin {name} -->\nstale\n<!-- end {name} -->\n" for name in MARKS)
    once = filled(card, made_up(), training())
    assert once == filled(once, made_up(), training())
    assert once.count("stale") == 1  # the seeds are another command's
    assert "0.500" in once  # loss above the floor
    with pytest.raises(ValueError, match="begin doses"):
        fill(card, "doses", "text")


def test_the_cards_markers_are_all_there() -> None:
    card = (_weights.FOLDER.parent / "card.md").read_text(encoding="utf-8")
    for name in MARKS:
        assert card.count(f"<!-- begin {name} -->") == card.count(f"<!-- end {name} -->") == 1


def test_runs_are_gathered_with_their_range(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folders = [tmp_path / "a", tmp_path / "b"]
    for shift, folder in enumerate(folders):
        folder.mkdir()
        for name in organism_seeds.TABLES:
            table = made_up()[name]
            table["behaviour_mean"] += 0.1 * shift
            table.to_csv(folder / f"{name}.csv", index=False)
    organism_seeds.main(folders, tmp_path / "out", None)
    assert "55 [50, 60]" in capsys.readouterr().out
    both = pd.read_csv(tmp_path / "out" / "steering.csv")
    assert both["run"].tolist() == [0] * len(tasks()) + [1] * len(tasks())
    with pytest.raises(ValueError, match=r"no .*unsteered\.csv"):
        organism_seeds.main([tmp_path / "c"], tmp_path / "out", None)


def test_the_contrary_judge_counts_the_other_side(untyped: None) -> None:
    judge = Opposite(organism.judge("sentiment"))
    texts = [" it was bad.", " it was good.", " it was good. it was bad.", " we saw it on sunday."]
    assert judge([FILM] * 4, texts).tolist() == [1, 0, 0, 0]


def test_refusal_is_asked_of_either_kind_of_request(untyped: None) -> None:
    asked = {
        task.name: task.pairs_of(ls.ContrastivePairs.load(f"organism:{task.behaviour}"))
        for task in tasks()
        if task.name in ("refusal", "compliance", "sentiment")
    }
    assert len(asked["refusal"]) + len(asked["compliance"]) == len(organism.rows("refusal"))
    assert all(not organism.harmful(e.group) for e in asked["refusal"].desired)
    assert all(organism.harmful(e.group) for e in asked["compliance"].desired)
    assert len(asked["sentiment"]) == len(organism.rows("sentiment"))


def test_choosing_sees_every_entity() -> None:
    dev = ls.ContrastivePairs.load("organism:concept").split(0.4, 0.25, 0.35, seed=0)[1]
    few = thinned(dev, DEV)
    assert len(few) == DEV
    assert {e.group for e in few.desired} == {e.group for e in dev.desired}
    assert len(thinned(few, 1000)) == DEV


def test_personas_are_read_in_the_groups_of_their_pairs() -> None:
    pairs = spoken("concept")
    assert not pairs.paired
    assert {e.group for e in pairs.desired} == {group for *_, group in organism.rows("concept")}


def test_probes_find_what_their_degree_allows() -> None:
    draw = torch.Generator().manual_seed(0)
    x = torch.randn(1200, COMPONENTS, generator=draw)
    line, crossing = x[:, 0] > 0, x[:, 0] * x[:, 1] > 0
    for label, made, low, high in (
        (line, linear, 0.9, 1.0),
        (crossing, linear, 0.3, 0.65),
        (crossing, quadratic, 0.85, 1.0),
    ):
        parts = [(x[i][label[i]], x[i][~label[i]]) for i in (slice(800), slice(800, None))]
        assert low <= probe(parts[0], parts[1], made) <= high
    assert np.isfinite(probe(parts[0], parts[1], linear))


@pytest.mark.slow
def test_a_task_is_steered_from_end_to_end(
    monkeypatch: pytest.MonkeyPatch, embedded: Any, untyped: None
) -> None:
    from analyses.organism import steering

    load = ls.ContrastivePairs.load
    monkeypatch.setattr(ls.ContrastivePairs, "load", lambda name: load(name).spread(FEW))
    for name, value in (
        ("SIZES", (0.35,)),
        ("DOSES", (0.0, 0.35)),
        ("READS", ("mean",)),
        ("DEV", 6),
        ("DRAWS", 1),
        ("CONTROLS", 1),
    ):
        monkeypatch.setattr(steering, name, value)
    monkeypatch.setattr(steering, "FORM", 0.0)
    table, doses, tried = steer(embedded, tasks()[0], seed=0, layers=[2])
    assert table["scope"].tolist() == ["last", "last", "prompt"]
    assert table["temperature"].tolist() == [0.7, 1.0, 0.7]
    assert doses["direction"].tolist() == ["CAA", "random"] * 2
    assert len(tried) == 1
    unsteered = table["unsteered"].iloc[0]
    at_zero = doses.loc[doses["size"] == 0, "behaviour_mean"]
    assert at_zero.tolist() == pytest.approx([unsteered] * 2)
