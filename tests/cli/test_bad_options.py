"""Every option of every command refuses what it cannot mean, in one line and before any work."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cli.bad_options import CONTRADICTIONS, ROOT, by_rule, outcome


def filled(place: Path) -> None:
    """What the wrong command lines name."""
    rows = [{"prompt": f"{i} is", "desired": " up", "undesired": " down"} for i in range(12)]
    lines = [json.dumps(row) for row in rows]
    sides = ("desired", "undesired")
    texts = [json.dumps({"text": f"{i} is", "label": sides[i % 2]}) for i in range(24)]
    files = {"good": lines, "broken": [lines[0], "{"], "few": lines[:1], "unpaired": texts}
    for name, content in files.items():
        (place / f"{name}.jsonl").write_text("\n".join(content), encoding="utf-8")
    (place / "file").write_text("mine", encoding="utf-8")
    for folder in ("empty", "run", "compared"):
        (place / folder).mkdir()
    (place / "compared" / "trials.jsonl").write_text("{}\n", encoding="utf-8")
    for name in ("unsteered", "steering", "doses"):
        (place / "run" / f"{name}.csv").write_text("behaviour\n", encoding="utf-8")
