"""Numbers beside the panels of a comparison of many methods."""

import numpy as np
import pytest

from lens_steer.benchmark.drawing import colours, lines, marks, number_ends, numbers
from lens_steer.figures import canvas

MANY = ("unsteered", "random", *(f"method {i}" for i in range(18)))


def test_few_methods_have_no_numbers_and_many_have_one_each() -> None:
    assert set(numbers(MANY[:6]).values()) == {""}
    found = numbers(MANY)
    assert list(found) == list(MANY)
    assert found["unsteered"] == ""
    assert [found[name] for name in MANY[1:]] == [f"{i} " for i in range(1, 20)]


def test_no_two_methods_look_alike() -> None:
    looks = [(colours(MANY)[n], marks(MANY)[n]) for n in MANY]
    assert len(set(looks)) == len(MANY)
    drawn = [(colours(MANY)[n], lines(MANY)[n]) for n in MANY]
    assert len(set(drawn)) == len(MANY)


@pytest.mark.parametrize("heights", [np.full(19, 0.5), np.linspace(0, 1, 19), np.zeros(19)])
def test_numbers_stand_in_the_order_of_their_curves_and_do_not_touch(heights: np.ndarray) -> None:
    with canvas(height=3.2) as (figure, axes):
        axes.set(xlim=(0, 1), ylim=(0, 1))
        number_ends(axes, [(0.9, float(y), f"{i} ", "C0") for i, y in enumerate(heights)])
    figure.draw_without_rendering()
    places = [(text.get_position()[1], text.get_text()) for text in axes.texts]
    assert [int(name) for _, name in sorted(places)] == list(range(19))
    gaps = np.diff(sorted(height for height, _ in places))
    assert gaps.min() >= 0.05
    boxes = [text.get_window_extent() for text in axes.texts]
    assert not any(a.overlaps(b) for i, a in enumerate(boxes) for b in boxes[i + 1 :])


def test_nothing_is_drawn_for_no_curve() -> None:
    with canvas() as (_, axes):
        number_ends(axes, [])
    assert not axes.texts
