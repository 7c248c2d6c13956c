"""The page of claims: what its table and its parts say, and that it is what the tables say."""

import re
from collections import Counter
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from analyses.claims.__main__ import main
from analyses.claims.claim import Claim
from analyses.claims.evidence import NOT_RUN, OBSERVED, UNTESTED, Evidence, Results, ahead, untested
from analyses.claims.our_claims import OUR_CLAIMS
from analyses.claims.pages import Row, page, rows_of
from analyses.claims.paper_claims import BASELINES, CLAIMS
from analyses.claims.public import kind_by_kind
from analyses.registered.contrasts import READINGS, contrasts_table
from analyses.registered.methods import CONTRASTS
from tests.analyses.planted_results import KINDS, block_counts, results

ROOT = Path(__file__).parents[2]
KEPT = ROOT / "analyses" / "results"
EVERY = (CLAIMS, BASELINES, OUR_CLAIMS)
ALL = [claim for claims in EVERY for claim in claims]


def text_of(folder: Path, seen_from: str = "results") -> str:
    tables = Results(folder)
    rows, baselines, ours = (rows_of(claims, tables) for claims in EVERY)
    return page(rows, baselines, ours, tables, seen_from)


def test_claims_have_numbers_of_their_own() -> None:
    numbers = Counter(claim.number for claim in ALL)
    assert set(numbers.values()) == {1}
    assert [claim.number[0] for claim in CLAIMS] == sorted(
        (claim.number[0] for claim in CLAIMS), key="SLO".index
    )


def test_a_missing_table_is_said_and_nothing_fails(tmp_path: Path) -> None:
    rows = rows_of(ALL, Results(tmp_path))
    assert len(rows) == len(ALL)
    assert {word for row in rows for word in row.verdicts[:3]} == {NOT_RUN, UNTESTED}
    claim = Claim("A1", "A", "a", "x", ahead("x/y", "a", ["b"]), kind_by_kind("own", 0.3, "nats"))
    (row,) = rows_of([claim], Results(tmp_path))
    assert row.embedded.measured == "`x/y.csv` is still to be made"
    assert row.public[1].measured == "`text_kinds/gemma3/summary.csv` is still to be made"


def test_every_registered_contrast_reaches_the_page(tmp_path: Path) -> None:
    """The registered analysis writes the table; here with another number of tasks in each row."""
    methods = list(dict.fromkeys(name for pair in CONTRASTS for name in pair))
    gains = np.random.default_rng(0).normal(0.1, 0.05, (2, 3, len(methods)))
    cells = pd.DataFrame(
        {"task": f"t{task}", "fold": fold, "method": methods[i]}
        | dict.fromkeys(READINGS, gains[task, fold, i])
        for task, fold, i in np.ndindex(gains.shape)
    )
    table = contrasts_table(cells, CONTRASTS).assign(tasks=range(100, 100 + len(CONTRASTS)))
    text = text_of(results(tmp_path, registered__smollm2__contrasts=table).folder)
    for tasks, verdict in zip(table["tasks"], table["verdict"], strict=True):
        assert re.search(rf"over {tasks} tasks, [^;]*: {verdict}[;.]", text)


def test_both_models_and_their_numbers_stand_in_a_row_and_its_part(tmp_path: Path) -> None:
    counts = {(kind, "own"): 9 for kind in KINDS}
    found = results(
        tmp_path,
        text_kinds__smollm2__summary=block_counts(counts, 0.3, "nats"),
        text_kinds__gemma3__summary=block_counts({**counts, ("chat", "own"): 2}, 0.3, "nats"),
    )
    text = text_of(found.folder)
    assert "| observed | not observed | observed on SmolLM2 alone |" in text
    part = text.split("### L4\n")[1].split("###")[0]
    assert "- **SmolLM2**: *observed*: push of 0.3 s" in part
    assert "chat 2 of 10, below 8 (median -0.30)" in part
    assert "`python -m analyses.text_kinds --model smollm2`" in part


def test_only_what_lies_there_has_a_link(tmp_path: Path) -> None:
    folder = tmp_path / "text_kinds" / "gemma3"
    folder.mkdir(parents=True)
    assert "results/" not in re.sub(r"`[^`]*`", "", text_of(tmp_path)).split("## What was")[1]
    (folder / "skill.png").write_bytes(b"")
    (folder.parent / "README.md").write_text("", encoding="utf-8")
    text = text_of(tmp_path, "up/results")
    assert "figures: [Gemma](up/results/text_kinds/gemma3/skill.png)" in text
    assert "([study](up/results/text_kinds/README.md))" in text


def test_models_with_the_same_evidence_share_a_line() -> None:
    same, own = Evidence("out of reach", 0, UNTESTED), Evidence("seen", 5, OBSERVED)
    claim = Claim("A1", "A", "a", "", untested("x"))
    assert [name for name, _ in Row(claim, same, (same, same)).measured] == [
        "embedded, SmolLM2, Gemma"
    ]
    assert [name for name, _ in Row(claim, own, (same, same)).measured] == [
        "embedded",
        "SmolLM2, Gemma",
    ]


def test_bars_in_a_cell_do_not_end_it(tmp_path: Path) -> None:
    rows = [line for line in text_of(tmp_path).splitlines() if line.startswith("| ")]
    assert len(rows) == len(ALL) + len(EVERY)
    for line in rows:
        assert line.replace("\\|", "").count("|") == 8


def test_the_page_is_what_the_tables_say(tmp_path: Path) -> None:
    kept = (ROOT / "docs" / "claims.md").read_text(encoding="utf-8")
    assert text_of(KEPT, "../analyses/results") == kept
    for target in re.findall(r"\]\((\.\./[^)]*)\)", kept):
        assert (ROOT / "docs" / target).exists()
    main(tmp_path, tmp_path / "out")
    written = (tmp_path / "out" / "claims.md").read_text(encoding="utf-8")
    assert written == text_of(tmp_path, "..")


def test_a_folder_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no folder"):
        main(tmp_path / "nothing", tmp_path)
