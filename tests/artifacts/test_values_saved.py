"""Arrays, dictionaries and nested values in fields of savable classes; classes by their names."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from lens_steer.artifacts import load, savable, save
from lens_steer.artifacts.registry import OLD_FIELDS, OLD_NAMES, TYPES
from lens_steer.evaluation import Evaluation, TextCosts
from lens_steer.intervals import Interval
from lens_steer.sites import Kind, Site
from tests.artifacts.test_artifacts import rewritten, same


@pytest.fixture(autouse=True)
def no_class_stays() -> Iterator[None]:
    types, old_names = dict(TYPES), dict(OLD_NAMES)
    yield
    TYPES.clear()
    TYPES.update(types)
    OLD_NAMES.clear()
    OLD_NAMES.update(old_names)


@dataclass(frozen=True, eq=False)
class Holder:
    value: Any
    more: tuple[Any, ...] = ()


def equal(a: Any, b: Any) -> bool:
    if isinstance(a, np.ndarray):
        return (
            isinstance(b, np.ndarray) and a.dtype == b.dtype and a.tobytes() == b.tobytes()
        ) and a.shape == b.shape
    if isinstance(a, dict):
        keys = zip(a, b, strict=True) if isinstance(b, dict) and len(a) == len(b) else [(0, "")]
        return all(same(k, m) and equal(a[k], b[m]) for k, m in keys)
    if isinstance(a, tuple):
        return isinstance(b, tuple) and len(a) == len(b) and all(map(equal, a, b))
    return same(a, b)


VALUES = {
    "an array": np.arange(6.0).reshape(2, 3),
    "an array of whole numbers": np.array([3, -1], dtype=np.int32),
    "an array of truth values": np.array([[True], [False]]),
    "an array in another order": np.asfortranarray(np.arange(6.0).reshape(2, 3)),
    "part of an array": np.arange(10.0)[::3],
    "an array without axes": np.array(0.1),
    "an empty array": np.zeros((0, 4)),
    "arrays that are NaN": np.array([np.nan, np.inf, -0.0]),
    "a dictionary": {"a": 1, "b": 0.5, "c": "text", "d": None, "e": True},
    "an empty dictionary": {},
    "a dictionary of arrays": {"x": np.arange(3.0), "y": np.ones(2)},
    "a dictionary of tensors": {"x": torch.ones(2).bfloat16()},
    "a dictionary of dictionaries": {"a": {"b": {"c": np.ones(1)}}, "d": {}},
    "a dictionary by number": {1: 0.5, 2: 0.25},
    "a dictionary by couples": {("method", 3): 0.5, ("other", 4): np.ones(2)},
    "a dictionary by site": {Site(1, Kind.HEAD): torch.ones(2), Site(0): torch.zeros(1)},
    "a dictionary by kind": {Kind.RESID: 1.0},
    "a tuple of all of it": (np.ones(2), {"a": (torch.ones(1), {2: "x"})}, Site(3), (), None),
    "an interval": Interval(0.5, 0.1 + 0.2, 1.0),
    "a kind": Kind.NEURON,
    "a number that is NaN": float("nan"),
    "numbers that are infinite": (float("inf"), -float("inf"), float("nan")),
    "an interval without ends": Interval(float("inf"), float("nan"), float("nan")),
    "a dictionary with NaN": {"a": float("nan"), "b": 0.5},
}


@pytest.mark.parametrize("name", VALUES)
def test_a_value_comes_back_as_it_was(name: str, tmp_path: Path) -> None:
    savable(Holder)
    thing = Holder(VALUES[name], (VALUES[name], 1))
    save(thing, tmp_path / "holder")
    again = load(tmp_path / "holder")
    assert isinstance(again, Holder)
    assert equal(thing.value, again.value)
    assert equal(thing.more, again.more)


def test_numbers_of_numpy_become_plain_ones(tmp_path: Path) -> None:
    savable(Holder)
    save(Holder(np.int64(3), (np.float32(0.5), np.bool_(True))), tmp_path / "holder")
    again = load(tmp_path / "holder")
    assert (again.value, again.more) == (3, (0.5, True))
    assert [type(x) for x in (again.value, *again.more)] == [int, float, bool]


def test_what_was_loaded_does_not_share_memory_with_another_load(tmp_path: Path) -> None:
    savable(Holder)
    save(Holder(np.ones(2)), tmp_path / "holder")
    first = load(tmp_path / "holder")
    first.value[:] = 7
    assert load(tmp_path / "holder").value.tolist() == [1, 1]


def test_a_value_that_is_not_plain_is_refused(tmp_path: Path) -> None:
    savable(Holder)
    with pytest.raises(ValueError, match=r"cannot save the set at 'more\.1': expected tensors"):
        save(Holder(1, (2, {1, 2})), tmp_path / "holder")
    assert not list(tmp_path.iterdir())


def test_two_classes_of_one_name_are_refused() -> None:
    savable(Holder)
    assert savable(Holder) is Holder
    other = type("Holder", (), {})
    with pytest.raises(TypeError, match="two classes to save are called Holder: give one another"):
        savable(other)
    assert TYPES["Holder"] is Holder


@dataclass(frozen=True, eq=False)
class Threshold:
    site: Site
    values: Tensor


@dataclass(frozen=True, eq=False)
class Thresholds:
    each: dict[str, Threshold]


def test_a_file_with_the_old_name_of_a_class_is_loaded(tmp_path: Path) -> None:
    savable(Threshold)
    savable(Thresholds)
    things = Thresholds({"a": Threshold(Site(2, Kind.HEAD), torch.ones(2))})
    save(things, tmp_path / "new")
    save(things, tmp_path / "old")

    def rename(content: Any) -> Any:
        if isinstance(content, list):
            return [rename(item) for item in content]
        if not isinstance(content, dict):
            return {"Threshold": "Limit", "Thresholds": "Limits", "Kind": "Sort"}.get(
                content, content
            )
        return {name: rename(item) for name, item in content.items()}

    rewritten(tmp_path / "old", lambda header: header | {"content": rename(header["content"])})
    with pytest.raises(ValueError, match="holds 'Limits', which this version does not know"):
        load(tmp_path / "old")
    OLD_NAMES.update({"Limits": "Thresholds", "Limit": "Threshold", "Sort": "Kind"})
    assert same(load(tmp_path / "old"), things)
    save(load(tmp_path / "old"), tmp_path / "again")
    assert (tmp_path / "again").read_bytes() == (tmp_path / "new").read_bytes()


def test_a_file_with_the_old_name_of_a_field_is_loaded(tmp_path: Path) -> None:
    costs = TextCosts(*(torch.full((2,), float(i)).double() for i in range(4)))
    trial = Evaluation(torch.ones(2), ("a", "b"), 5.0, ("x", "y"), text_costs=costs)
    save(trial, tmp_path / "trial")

    def with_old_field(header: dict[str, Any]) -> dict[str, Any]:
        values = dict(header["content"]["fields"])
        values["paths"] = values.pop("text_costs")
        return header | {"content": header["content"] | {"fields": values}}

    rewritten(tmp_path / "trial", with_old_field)
    assert same(load(tmp_path / "trial"), trial)
    assert [name for name in OLD_FIELDS if name not in TYPES] == []


def test_every_old_name_leads_to_a_class_that_is_there() -> None:
    assert [name for name in OLD_NAMES.values() if name not in TYPES] == []
    assert [name for name in OLD_NAMES if name in TYPES] == []


def test_a_file_of_a_class_that_moved_to_the_analyses_says_where(tmp_path: Path) -> None:
    savable(Holder)
    save(Holder(1), tmp_path / "holder")
    TYPES.pop("PathSplitReport", None)

    def change(header: Any) -> Any:
        header["content"]["type"] = "PathSplitReport"
        return header

    with pytest.raises(ValueError, match=r"now in analyses\.paths of the repository .* import tha"):
        load(rewritten(tmp_path / "holder", change))
