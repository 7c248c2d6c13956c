"""Small files of the published form for the tables of the papers, and a command that ends."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from analyses.studies import start

NUMBERED = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")


def written_files(folder: Path) -> Path:
    """Files of the published form, a few items each."""
    for name in ("copa", "sst2", "truthfulqa", "refusal"):
        (folder / name).mkdir()
    for part, words in (("train", NUMBERED[:8]), ("test", NUMBERED[8:])):
        rows = [
            {"premise": f"The {w} cat sat.", "choice1": f"It {w} ran.", "choice2": f"It {w} hid."}
            | {"question": ("cause", "effect")[i % 2], "label": i % 2}
            for i, w in enumerate(words)
        ]
        lines = "".join(f"{json.dumps(row)}\n" for row in rows)
        (folder / "copa" / f"{part}.jsonl").write_text(lines, encoding="utf-8")
        lines = "".join(f"the {w} film\t{i % 2}\n" for i, w in enumerate(words))
        (folder / "sst2" / f"{part}.tsv").write_text(f"sentence\tlabel\n{lines}", encoding="utf-8")
    rows = [
        {"Question": f"Is {i} even?", "Best Answer": f"yes it is {i}"}
        | {
            "Correct Answers": f"yes it is {i}; it is {i}",
            "Incorrect Answers": f"no not {i}; {i} no",
        }
        for i in range(24)
    ]
    pd.DataFrame(rows).to_csv(folder / "truthfulqa" / "TruthfulQA.csv", index=False)
    for name in ("harmless_train", "harmful_train", "harmful_test"):
        asked = [{"instruction": f"{name} of the {w} cat", "category": None} for w in NUMBERED[:6]]
        (folder / "refusal" / f"{name}.json").write_text(json.dumps(asked), encoding="utf-8")
    return folder


def ended(monkeypatch: pytest.MonkeyPatch, main: Callable[..., None], *options: str) -> Any:
    """The exit code of a command."""
    monkeypatch.setattr("sys.argv", ["papers", *options])
    with pytest.raises(SystemExit) as stop:
        start(main)
    return stop.value.code
