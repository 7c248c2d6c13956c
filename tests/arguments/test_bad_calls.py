"""Thousands of wrong calls of everything public: each is refused, and says why."""

import inspect
import json
import os
import subprocess
import sys
from typing import Any

import pytest

import lens_steer as ls


@pytest.fixture(scope="module")
def tried() -> dict[str, Any]:
    """Tried in a process of its own: the shape checks of the tests would refuse first."""
    command = [sys.executable, "-m", "tests.arguments.bad_calls"]
    environment = os.environ | {"HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}
    run = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
    return json.loads(run.stdout)


def test_no_bad_call_is_accepted_or_hangs(tried: dict[str, Any]) -> None:
    assert tried["counts"]["clear"] > 8000
    assert [fault for fault in tried["faults"] if fault[0] in ("accepted", "hang")] == []


def test_errors_name_the_argument_and_what_is_expected(tried: dict[str, Any]) -> None:
    unclear = [fault for fault in tried["faults"] if fault[0] == "unclear"]
    total = sum(tried["counts"].values())
    assert len(unclear) <= 0.001 * total, unclear[:20]


def test_signatures_say_what_is_expected_and_show_no_functions() -> None:
    assert "<function" not in str(inspect.signature(ls.evaluation.answer_log_probs))
    assert "a whole number of at least 1" in str(inspect.signature(ls.evaluation.answer_log_probs))
