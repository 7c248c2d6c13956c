"""Broken files: every reader gives a value or a ValueError or OSError that says what is wrong."""

import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from random import Random
from typing import Any

import pytest

from lens_steer.activations import LayerActivations, capture
from lens_steer.attribution import contrast
from lens_steer.barriers import PolynomialBarrier
from lens_steer.benchmark import CompareSettings, ComparisonConfig, run_comparison
from lens_steer.data import ContrastivePairs
from lens_steer.linearity import linearize
from lens_steer.steering import CAA, ITI, LQR, SADI, ODESteer
from tests.cli.test_demo import write_pairs
from tests.conftest import Loader
from tests.thorough.guarded import fault_of, little_memory, peak_mebibytes
from tests.thorough.readers import (
    Reader,
    artefact_reader,
    comparison_reader,
    journal_reader,
    model_reader,
    pairs_reader,
)
from tests.thorough.scale import SEED, amount, record

# Readers, and how many broken files each gets in the suite.
READERS = {
    "pairs .jsonl": 100,
    "pairs .json": 100,
    "pairs .csv": 100,
    "artefacts": 100,
    "journal": 100,
    "comparison": 30,
    "model": 15,
}
ROOM = 1024  # MiB by which all files of a reader together may make the process grow


@pytest.fixture
def reader(request: pytest.FixtureRequest, tmp_path: Path) -> Reader:
    name, folder = request.param, tmp_path / "whole"
    folder.mkdir()
    dirs: dict[str, Path] = request.getfixturevalue("model_dirs")
    match name.split():
        case ["pairs", suffix]:
            return pairs_reader(request.getfixturevalue("pairs"), suffix, folder)
        case ["artefacts"]:
            load: Loader = request.getfixturevalue("load")
            return artefact_reader(fitted(load("llama"), request.getfixturevalue("pairs")), folder)
        case ["journal"]:
            return journal_reader(folder)
        case ["comparison"]:
            return comparison_reader(compared(dirs["llama"], folder))
        case _:
            return model_reader(dirs["llama"])


def fitted(model: Any, pairs: ContrastivePairs) -> dict[str, object]:
    """One of each form that a saved object can have."""
    resid = capture(model, pairs, "resid", progress=False)
    heads = capture(model, pairs, "head", progress=False)
    at: LayerActivations = resid.at(layer=1)
    barrier = PolynomialBarrier.fit(at, gamma=0.1, C=1.0)
    return {
        "activations": resid,
        "pairs of classes": at,
        "caa": CAA.fit(at).with_strength(0.5),
        "sadi": SADI(contrast(heads).top(3), 2.0),
        "iti": ITI.fit(heads, k=3, folds=3, seed=0),
        "barrier": barrier,
        "odesteer": ODESteer(barrier, layer=1, angle=0.5),
        "lqr": LQR.fit(linearize(model, pairs, progress=False), resid),
    }


def compared(model: Path, folder: Path) -> Path:
    """The folder of a small comparison."""
    config = ComparisonConfig(max_new_tokens=4, multiples=(1,), randoms=1, budgets=(0.05,))
    settings = CompareSettings(
        model=str(model),
        pairs=(str(write_pairs(folder)),),
        out=folder / "out",
        config=config,
        methods="CAA",
        kl=0.05,
        words=("a", "e"),
        device="cpu",
        dev_prompts=2,
    )
    run_comparison(settings, [].append)
    return settings.out


@pytest.fixture(autouse=True)
def bounded(untyped: None) -> Iterator[None]:
    with little_memory():
        yield


@pytest.mark.parametrize("reader", READERS, indirect=True)
def test_broken_files_are_refused_in_words_or_read_right(
    reader: Reader, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    name = request.node.callspec.params["reader"]
    cases, before = amount(READERS[name], 10_000), peak_mebibytes()
    outcomes, faults = Counter[str](), []
    for case in range(cases):
        folder = tmp_path / "broken"
        file = reader.broken_folder(folder, Random(f"{SEED} {name} {case}"))
        fault, outcome = fault_of(lambda place=folder: reader.read(place), reader.accept)
        outcomes[outcome] += 1
        if fault:
            faults.append(f"case {case}, {file}: {fault}")
    grown = peak_mebibytes() - before
    record(
        f"fuzz-{name.replace(' .', '-')}",
        cases=cases,
        faults=faults,
        grown_mebibytes=grown,
        **outcomes,
    )
    assert not faults, "\n".join(faults)
    assert grown < ROOM
    assert outcomes["refused"] > cases / 4


def test_the_whole_files_are_read(tmp_path: Path, pairs: ContrastivePairs) -> None:
    reader = journal_reader(tmp_path)
    (tmp_path / "trials.jsonl").write_bytes(reader.files["trials.jsonl"])
    assert reader.read(tmp_path).rows
    for suffix in (".jsonl", ".json", ".csv"):
        place = tmp_path / suffix
        place.mkdir()
        for name, data in pairs_reader(pairs, suffix, place).files.items():
            (place / name).write_bytes(data)
            again = ContrastivePairs.load(place / name)
            assert (again.desired, again.undesired) == (pairs.desired, pairs.undesired)
    assert json.loads(reader.files["trials.jsonl"].splitlines()[0])["unit"]
