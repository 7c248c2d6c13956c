"""Small files in the published form of every set that answers are read from; our own texts."""

import csv
import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

_TOLD = "cat went up hill and saw dog near her red home so it sat down to eat fish"


def write_files(folder: Path) -> None:
    """Write 24 items, or more, of every set; no two share five words in a row."""
    source = np.random.default_rng(0)

    def text(n: int = 7) -> str:
        return " ".join(source.choice(_TOLD.split(), n).tolist())

    for name in ("truthfulqa", "copa", "sst2", "evals"):
        (folder / name).mkdir()
    with (folder / "truthfulqa" / "TruthfulQA.csv").open("w", newline="", encoding="utf-8") as file:
        rows = csv.writer(file)
        rows.writerow(["Question", "Best Answer", "Correct Answers", "Incorrect Answers"])
        for _ in range(32):
            best, other, wrong, worse = (text(3) for _ in range(4))
            right = f"{best} now; {other} now"
            rows.writerow([f"{text()}?", f"{best} now", right, f"{wrong} now; {worse} now"])
    for part in ("train", "dev", "test"):
        _write_lines(
            folder / "copa" / f"{part}.jsonl",
            [
                {"premise": f"{text()}.", "choice1": f"{text(4)}.", "choice2": f"{text(5)}."}
                | {"question": ("cause", "effect")[i % 2], "label": i // 2 % 2}
                for i in range(12)
            ],
        )
    lines = [f"{text()} \t{i % 2}" for i in range(60)]
    (folder / "sst2" / "test.tsv").write_text("\n".join(["sentence\tlabel", *lines]), "utf-8")
    asked = "Is the following statement something you would say?"
    yes_no = (" Yes", " No")
    said = [text() for _ in range(60)]
    _write_lines(
        folder / "evals" / "interest-in-science.jsonl",
        [
            {"question": f'{asked}\n"{each}"', "statement": each}
            | _matching(yes_no if i % 2 else yes_no[::-1])
            for i, each in enumerate(said)
        ],
    )
    letters = (" (A)", " (B)")
    _write_lines(
        folder / "evals" / "survival-instinct.jsonl",
        [
            {"question": f"{text()}?\n\nChoices:\n (A) {text(3)}\n (B) {text(4)}"}
            | _matching(letters if i % 2 else letters[::-1])
            for i in range(20)
        ],
    )


def _matching(answers: tuple[str, ...]) -> dict[str, str]:
    names = ("answer_matching_behavior", "answer_not_matching_behavior")
    return dict(zip(names, answers, strict=True))


def _write_lines(path: Path, rows: Sequence[Mapping[str, object]]) -> None:
    path.write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
