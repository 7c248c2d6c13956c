"""The matrix of compatibility: a sample of its cells, and that its checks notice what is wrong."""

import json
import multiprocessing
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

import lens_steer as ls
from analyses.compatibility.__main__ import BACKENDS, write_table
from analyses.compatibility.architectures import ARCHITECTURES
from analyses.compatibility.cells import Cell, Result, measured, outcome, results_of
from analyses.compatibility.checks import CHECKS, TOLERANCE, Loaded, NoStandardError, WrongError
from analyses.compatibility.page import in_short, page, status, verdict
from analyses.compatibility.plain_models import PlainModel
from analyses.compatibility.results import Measured, Results, code, installed
from analyses.compatibility.tiny_models import write_model
from lens_steer.models import hooked
from lens_steer.sites import Kind, Site
from tests.conftest import HAS_HOOKED

ROOT = Path(__file__).parents[2]
LLAMA = Cell("llama", "bridge", "float32")


def checks_of(cell: Cell, folder: Path) -> dict[str, Result]:
    steps = list(results_of(cell, 0, folder))
    assert [name for name, result in steps if result is None] == [
        name for name, result in steps if result is not None
    ]
    return {name: result for name, result in steps if result is not None}


@pytest.mark.parametrize(
    "cell",
    [
        LLAMA,
        Cell("gemma 2", "bridge", "float16"),
        Cell("falcon 7b", "bridge", "float32"),
        pytest.param(
            Cell("gpt2", "hooked", "bfloat16"),
            marks=pytest.mark.skipif(not HAS_HOOKED, reason="TransformerLens 4 has no hooked"),
        ),
    ],
    ids=lambda cell: f"{cell.architecture} {cell.backend} {cell.dtype}",
)
def test_a_sample_of_the_matrix_is_right(cell: Cell, tmp_path: Path) -> None:
    checks = checks_of(cell, tmp_path / "m")
    assert list(checks) == ["loads", *CHECKS]
    assert {name: status(result, cell.dtype) for name, result in checks.items()} == dict.fromkeys(
        checks, "right"
    ), checks


def test_what_does_not_load_is_refused_without_the_folder(tmp_path: Path) -> None:
    said = checks_of(Cell("bart", "bridge", "float32"), tmp_path / "m")
    assert list(said) == ["loads"]
    assert str(said["loads"]).startswith("refused: ")
    assert str(tmp_path) not in str(said)


@pytest.fixture(scope="module")
def loaded(tmp_path_factory: pytest.TempPathFactory) -> Loaded:
    """A llama, and for what is right a llama with one weight changed by a tenth."""
    from transformers import AutoTokenizer

    folder = tmp_path_factory.mktemp("tiny") / "m"
    write_model(ARCHITECTURES["llama"], folder, seed=0)
    plain = PlainModel.load(folder, "CausalLM", torch.float32)
    with torch.no_grad():
        plain.model.model.layers[0].self_attn.q_proj.weight *= 1.1
    model = ls.load_model(folder, device="cpu")
    return Loaded.of(model, plain, AutoTokenizer.from_pretrained(folder), 0)


@pytest.mark.parametrize("name", ["logits", "reads", "caa", "heads", "jacobians"])
def test_a_check_notices_another_model(name: str, loaded: Loaded) -> None:
    assert CHECKS[name](loaded) > 10 * TOLERANCE[torch.float32]


def _column(x: Tensor) -> Tensor:
    return x + 0.1 * torch.arange(x.shape[1])[:, None]


def _row(x: Tensor) -> Tensor:
    return x + 0.1 * x.mean(dim=0, keepdim=True)


@pytest.mark.parametrize(
    ("name", "fault"), [("cached", _column), ("padded", _column), ("batched", _row)]
)
def test_a_check_notices_what_depends_on_the_batch(
    name: str, fault: Callable[[Tensor], Tensor], loaded: Loaded
) -> None:
    block: AbstractContextManager[None] = hooked(loaded.model, {Site(0, Kind.RESID_PRE): fault})
    with block:
        assert CHECKS[name](loaded) > 10 * TOLERANCE[torch.float32]
    assert CHECKS[name](loaded) < TOLERANCE[torch.float32]


def _raise(error: Exception) -> float:
    raise error


def test_an_outcome_says_whose_error_it_was(tmp_path: Path) -> None:
    assert outcome(lambda: 1.26e-7, tmp_path) == 1.3e-7
    ours = outcome(lambda: ls.load_model(tmp_path / "none").cfg, tmp_path)
    assert (
        ours == "refused: no directory 'MODEL/none': expected a local model directory or a hub name"
    )
    assert outcome(lambda: int("x"), tmp_path) == (
        "raised: ValueError: invalid literal for int() with base 10: 'x'"
    )
    assert outcome(lambda: _raise(WrongError("a\nb")), tmp_path) == "wrong: a b"
    assert outcome(lambda: _raise(NoStandardError("c")), tmp_path) == "no standard: c"


def test_a_crash_and_a_hang_are_results() -> None:
    fork = multiprocessing.get_context("fork")  # at once: the libraries are imported here
    crash = measured(replace(LLAMA, architecture="none"), seed=0, limit=60.0, context=fork)
    assert crash == {"loads": "crash: the process ended with exit code 1"}
    hang = measured(LLAMA, seed=0, limit=0.01, context=fork)
    assert hang == {"loads": "timeout: not done after 0.01 s"}


def result(cell: Cell, **checks: Result) -> Measured:
    every = dict.fromkeys(["loads", *CHECKS], 0.0)
    said = checks if "loads" in checks else {**every, **checks}
    return Measured(cell, said, 1.0, "2026-11-27", code())


def test_results_are_kept_and_measured_again_when_the_code_changes(tmp_path: Path) -> None:
    other = replace(LLAMA, dtype="float16")
    results = Results.here(tmp_path, seed=0)
    assert results.missing([LLAMA, other]) == [LLAMA, other]
    results = results.with_cell(result(LLAMA, heads=float("nan")))
    results = results.with_cell(replace(result(other), code="before"))
    results.write(tmp_path)
    read = Results.here(tmp_path, seed=0)
    same = [repr(read.cells[cell]) == repr(results.cells[cell]) for cell in (LLAMA, other)]
    assert same == [True, True]  # as text, for NaN differs from itself
    assert read.missing([LLAMA, other]) == [other]
    with pytest.raises(ValueError, match="seed 0, and here are .* seed 1: choose another --out"):
        Results.here(tmp_path, seed=1)
    path = tmp_path / results.file_name
    path.write_text(json.dumps({"cells": [{}]}), encoding="utf-8")
    with pytest.raises(ValueError, match="is not a file of"):
        Results.here(tmp_path, seed=0)


def test_verdicts_name_what_is_not_right() -> None:
    refused = result(
        LLAMA, loads="refused: too large, with transformers 5.1 and TransformerLens 3.9.0"
    )
    parts = result(LLAMA, heads="refused: no heads", caa=0.25, cached=float("nan"))
    assert verdict(result(LLAMA)) == "all"
    assert verdict(refused) == "refused"
    assert (
        verdict(parts)
        == "all but cached (**wrong** by nan), caa (**wrong** by 2.5e-01), heads (refused)"
    )
    half = replace(LLAMA, dtype="bfloat16")
    cells = {LLAMA: parts, half: replace(refused, cell=half)}
    text = page([Results({**installed(), "transformer-lens": "3.9.0"}, 0, cells)])
    assert f"| llama | float32: {verdict(parts)[:-1]} 1)" in text
    assert "bfloat16: refused 2; float16: not measured |" in text
    assert "| 2 | too large | llama |" in text
    assert "| a wrong number | 1 |" in text


def test_messages_are_one_where_only_names_and_sizes_differ() -> None:
    versions = "with transformers 5.2 and TransformerLens 4.3.0"
    said = f"refused: TransformerBridge of {{}} differs by {{}}, {versions}: use backend='hooked'"
    first, second = (
        said.format("GPTNeoXForCausalLM", "1.1e-01"),
        said.format("OPTForCausalLM", "2.0e+00"),
    )
    assert in_short(first) == in_short(second) == "TransformerBridge of ... differs by ..."


def test_the_command_names_what_it_does_not_have(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="run the command without --table first"):
        write_table(tmp_path, tmp_path)
    assert (("bridge", "hooked") if HAS_HOOKED else ("bridge",)) == BACKENDS


def test_the_page_in_the_docs_is_what_the_results_say() -> None:
    files = sorted((ROOT / "analyses" / "results" / "compatibility").glob("*.json"))
    every = [Results.read(path) for path in files]
    written = (ROOT / "docs" / "compatibility.md").read_text(encoding="utf-8")
    assert written == page(every)


def test_no_cell_of_the_matrix_holds_a_wrong_number() -> None:
    files = sorted((ROOT / "analyses" / "results" / "compatibility").glob("*.json"))
    wrong: list[Any] = [
        (cell, name, said)
        for path in files
        for cell, each in Results.read(path).cells.items()
        for name, said in each.checks.items()
        if status(said, cell.dtype) in ("wrong", "crash", "timeout")
    ]
    assert wrong == []
