"""What fits an annotation, what does not, and what the error says."""

import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypedDict

import numpy as np
import pytest
import torch
from jaxtyping import Float, Int
from torch import Tensor
from typing_extensions import Unpack

from lens_steer.arguments import (
    Angle,
    ArgumentError,
    Count,
    CountFromZero,
    FilePath,
    Layer,
    Layers,
    NonNegative,
    Number,
    Positive,
    Seed,
    Share,
    Temperature,
    Text,
    Texts,
    check_room,
    checked,
)
from lens_steer.arguments.advice import advice
from lens_steer.arguments.hints import admits
from lens_steer.arguments.words import in_words, shortened
from lens_steer.steering import Intervention, Random

FITS: list[tuple[Any, list[Any], list[Any]]] = [
    (int, [0, -3, np.int64(2)], [True, 1.0, "1", None, math.nan]),
    (float, [0, 1.5, math.nan, np.float32(2)], [True, "1", None, [1.0]]),
    (bool, [True, np.bool_(False)], [0, 1, "yes", None]),
    (str, ["", "a"], [3, None, ["a"], b"a"]),
    (int | None, [None, 3], [3.5, "None"]),
    (Literal["last", 3], ["last", 3], ["first", 3.0, True, None]),
    (Sequence[str], [[], ["a"], ("a",)], ["a", [1], {"a"}, None, 3]),
    (Sequence[int], [[1], range(3)], ["12", [True], [1.5], 3, torch.arange(3)]),
    (tuple[int, ...], [(), (1, 2)], [[1], (1.5,), 1]),
    (tuple[int, str], [(1, "a")], [(1,), (1, 2), [1, "a"]]),
    (Mapping[str, int], [{}, {"a": 1}], [{"a": 1.5}, {1: 1}, [("a", 1)]]),
    (Callable[[int], int], [abs, int], [3, "abs", None]),
    (type[ValueError], [ValueError, UnicodeError], [ValueError(), OSError, 3]),
    (Any, [None, 3, object()], []),
    (Float[Tensor, "n d"], [torch.ones(2, 3), torch.ones(2, 3).half()], [torch.ones(3)]),
    (Float[Tensor, "n d"], [], [torch.ones(2, 3).int(), torch.ones(2, 3) * 1j, np.ones((2, 3))]),
    (Float[Tensor, "d d"], [torch.ones(3, 3)], [torch.ones(2, 3)]),
    (Int[Tensor, "2 d"], [torch.ones(2, 3).int()], [torch.ones(3, 3).int(), [[1], [2]]]),
    (Float[np.ndarray, " n"], [np.ones(3)], [torch.ones(3), np.ones((3, 3)), [1.0]]),
    (Seed, [0, 2**40], [-1, 2**63, 1.0, None]),
    (Layer, [0, np.int64(3)], [-1, 1.5, True, math.nan]),
    (Layers, [[0], (1, 2), range(3)], [[], [-1], 3, [1.5]]),
    (Count, [1], [0, -1, 1.5]),
    (CountFromZero, [0, 1], [-1, 0.0]),
    (Number, [-1, 0.5], [10**400, math.inf, math.nan, "1", True]),
    (Positive, [1e-9], [10**400, 0, -1, math.inf, math.nan]),
    (NonNegative, [0, 1e-9], [10**400, -1e-9, math.inf, math.nan]),
    (Temperature, [0, 1e-6, 2], [10**400, 1e-39, -1, math.inf, math.nan]),
    (Share, [1, 0.5], [0, 1.1, math.nan]),
    (Angle, [0, -math.pi, 2 * math.tau], [30, math.nan, -90]),
    (Text, ["a"], ["", None]),
    (Texts, [["a"], ("a", "b")], ["a", [], [1]]),
    (FilePath, ["a.json", Path("a")], ["", Path(), 3]),
]


@pytest.mark.parametrize(("hint", "good", "bad"), FITS)
def test_values_that_fit_and_values_that_do_not(hint: Any, good: list[Any], bad: list[Any]) -> None:
    assert [value for value in good if not admits(hint, value)] == []
    assert [value for value in bad if admits(hint, value)] == []


def test_an_iterator_is_not_used_up() -> None:
    rows = iter([1, 2])
    assert admits(Sequence[int] | Any, rows)
    assert list(rows) == [1, 2]


class Options(TypedDict, total=False):
    temperature: Temperature


def describe(
    texts: Texts,
    n: Count = 1,
    *more: int,
    layer: Layer | None = None,
    x: Float[Tensor, "n d"] | None = None,
    **options: Unpack[Options],
) -> int:
    return len(texts) + n + sum(more) + (layer or 0)


CALLS: list[tuple[tuple[Any, ...], dict[str, Any], str]] = [
    (
        ("abc",),
        {},
        "got texts='abc', expected a list of texts, at least one: write ['abc'] for one",
    ),
    ((["a"], 0), {}, "got n=0, expected a whole number of at least 1"),
    ((["a"], 1, "2"), {}, "got argument 1='2', expected a whole number: write 2"),
    ((["a"],), {"n": 2.0}, "got n=2.0, expected a whole number of at least 1: write 2"),
    ((), {"n": 1}, "got no texts, expected a list of texts, at least one: write texts=..."),
    ((["a"],), {"layr": 1}, "unexpected keyword 'layr': did you mean 'layer'? It takes texts, n,"),
    ((["a"],), {"zzz": 1}, "unexpected keyword 'zzz'. It takes texts, n, layer, x, temperature"),
    ((["a"],), {"texts": ["a"]}, "got texts twice, by place and by name"),
    ((["a"],), {"temperature": -1}, "got temperature=-1, expected 0 (greedy) or a temperature"),
    ((["a"],), {"temperature": 10**400}, "expected 0 (greedy) or a temperature"),
    (([10**400],), {}, "expected a list of texts"),
    ((10**400,), {}, "expected a list of texts"),
    ((["a"],), {"x": np.ones((2, 2))}, "write torch.as_tensor(x)"),
    ((["a"],), {"x": torch.ones(2, 2).int()}, "a tensor int32 [2, 2], expected a floating-point"),
    ((["a"],), {"layer": torch.tensor(3)}, "write x.item()"),
]


@pytest.mark.parametrize(("args", "kwargs", "words"), CALLS)
def test_errors_say_what_came_what_is_expected_and_what_to_write(
    args: tuple[Any, ...], kwargs: dict[str, Any], words: str
) -> None:
    with pytest.raises(ArgumentError) as error:
        checked(describe)(*args, **kwargs)
    assert str(error.value).startswith("describe() got ")
    assert words in str(error.value)
    assert isinstance(error.value, TypeError)
    assert isinstance(error.value, ValueError)


def test_good_calls_pass_as_they_are() -> None:
    assert checked(describe)(["a"], 2, 3, 4, layer=5, temperature=0) == 15
    assert checked(describe)(texts=["a"]) == 2


def test_degrees_are_told_from_radians() -> None:
    def turn(angle: Angle) -> float:
        return angle

    with pytest.raises(ArgumentError, match=r"from -4 pi to 4 pi: 30 degrees are 0\.5236"):
        checked(turn)(30)


def test_a_value_by_place_that_fits_a_keyword_only_is_told_its_name() -> None:
    def fit(desired: str, undesired: Tensor | None = None, *, layer: Layer = 0, k: str = "") -> int:
        return layer

    call: Any = checked(fit)
    with pytest.raises(ArgumentError, match=r"got undesired=3, .*: write layer=3, by name$"):
        call("a", 3)
    with pytest.raises(ArgumentError, match=r"got undesired='3', .*: write k='3', by name$"):
        call("a", "3")
    with pytest.raises(ArgumentError, match="got undesired=-1, expected a Tensor or None$"):
        call("a", -1)
    with pytest.raises(ArgumentError, match="got undesired=3, expected a Tensor or None$"):
        call("a", undesired=3)


def test_the_axes_of_the_caller_are_not_those_of_the_callee() -> None:
    """Both have an axis n: a check that shared names with its caller would refuse."""

    def inner(x: Float[Tensor, " n"]) -> int:
        return len(x)

    def outer(x: Float[Tensor, " n"]) -> int:
        return checked(inner)(x[:2])

    assert checked(outer)(torch.ones(5)) == 2


@dataclass(frozen=True)
class Thing:
    layer: Layer
    name: str = ""

    def named(self, name: str) -> "Thing":
        return Thing(self.layer, name)

    @classmethod
    def of(cls, layer: Layer) -> "Thing":
        return cls(layer)

    @staticmethod
    def twice(n: int) -> int:
        return 2 * n


Thing.__module__ = "lens_steer.test"


def test_a_room_checks_functions_methods_and_the_making_of_dataclasses() -> None:
    def twice(n: int) -> int:
        return 2 * n

    twice.__module__ = "lens_steer.test"
    namespace: dict[str, Any] = {"twice": twice, "Thing": Thing, "_private": twice, "torch": torch}
    check_room(namespace)
    assert namespace["_private"] is twice
    assert namespace["torch"] is torch
    assert namespace["twice"](2) == Thing.twice(2) == 4
    assert Thing.of(3).named("a") == Thing(3, "a")
    for call, name in (
        (lambda: namespace["twice"]("2"), r"twice\(\) got n='2'"),
        (lambda: Thing(-1), r"Thing\(\) got layer=-1"),
        (lambda: Thing.of(-1), r"Thing\.of\(\) got layer=-1"),
        (lambda: Thing(3).named(3), r"Thing\.named\(\) got name=3"),  # pyright: ignore[reportArgumentType]
        (lambda: Thing.twice("2"), r"Thing\.twice\(\) got n='2'"),  # pyright: ignore[reportArgumentType]
    ):
        with pytest.raises(ArgumentError, match=name):
            call()


WORDS: list[tuple[Any, str]] = [
    (int | None, "a whole number or None"),
    (float | int, "a number"),
    (Literal["a", "b"] | int, "one of 'a', 'b' or a whole number"),
    (Sequence[str], "a list of texts"),
    (Mapping[str, int], "a mapping from texts to whole numbers"),
    (Float[Tensor, "n d"], "a floating-point tensor [n d]"),
    (tuple[int, str], "a tuple of 2: a whole number, a text"),
    (Callable[[], None], "a function"),
]


@pytest.mark.parametrize(("hint", "words"), WORDS)
def test_annotations_in_words(hint: Any, words: str) -> None:
    assert in_words(hint) == words


def test_values_are_shortened() -> None:
    assert len(shortened("a" * 1000)) < 80
    assert len(shortened(list(range(1000)))) < 80
    assert shortened(torch.ones(2, 3)) == "a tensor float32 [2, 3]"
    assert shortened(Thing) == "the class Thing"
    assert shortened(np.ones(3)) == "a numpy array float64 [3]"


PARTS: list[tuple[Any, Any, str]] = [
    (Sequence[Intervention], [Random], r"for the class Random write Random\.fit\(\.\.\.\)"),
    (tuple[Float[Tensor, "d"], ...], (np.ones(3),), r"for a numpy array.* torch\.as_tensor\(x\)"),
]


@pytest.mark.parametrize(("hint", "value", "words"), PARTS)
def test_advice_is_given_for_the_part_of_a_list_that_does_not_fit(
    hint: Any, value: Any, words: str
) -> None:
    assert re.search(words, advice(hint, value))
