"""How much is tried, and where the figures of a long run are kept."""

import json
import os
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from lens_steer.models import versions

LONG = os.environ.get("LENS_STEER_THOROUGH", "") not in ("", "0")
SEED = int(os.environ.get("LENS_STEER_THOROUGH_SEED", "0"))
RESULTS = Path(__file__).parents[2] / "analyses" / "results" / "thorough"


def amount(sample: int, long: int) -> int:
    """How many cases are tried: `sample` in the suite, `long` with LENS_STEER_THOROUGH=1.

    LENS_STEER_THOROUGH_CASES, where it is set, is the number of cases of every long test.
    """
    return int(os.environ.get("LENS_STEER_THOROUGH_CASES", long)) if LONG else sample


def record(name: str, **figures: Any) -> None:
    """Keep the figures of a long test, with the date and the versions; nothing for a sample."""
    if not LONG:
        return
    RESULTS.mkdir(parents=True, exist_ok=True)
    origin = {
        "date": datetime.now(UTC).date().isoformat(),
        "seed": SEED,
        "versions": dict(versions().packages),
    }
    text = json.dumps({**figures, **origin}, indent=2, sort_keys=True)
    (RESULTS / f"{name}.json").write_text(text + "\n", encoding="utf-8")
