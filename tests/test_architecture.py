"""The page on the architecture is what the code is."""

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest

DOCS = Path(__file__).parents[1] / "docs"


@pytest.fixture(scope="module")
def architecture() -> ModuleType:
    spec = importlib.util.spec_from_file_location("architecture", DOCS / "architecture.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_page_draws_the_imports_that_there_are(architecture: ModuleType) -> None:
    page = (DOCS / "architecture.md").read_text(encoding="utf-8")
    picture = (DOCS / "pictures" / "architecture.svg").read_text(encoding="utf-8")
    assert architecture.drawing() == picture, "run python docs/architecture.py"
    assert architecture.PICTURE in page
    for room in architecture.rooms():
        assert f"| `{room}` |" in page, "run python docs/architecture.py"


def test_an_import_that_a_longer_path_implies_is_not_drawn(architecture: ModuleType) -> None:
    edges = {("a", "b"), ("b", "c"), ("a", "c"), ("d", "c")}
    assert architecture.reduced(edges) == [("a", "b"), ("b", "c"), ("d", "c")]


def test_rooms_stand_below_what_imports_them(architecture: ModuleType) -> None:
    edges = [("a", "b"), ("b", "d"), ("b", "c"), ("c", "e"), ("f", "e")]
    assert architecture.rows(edges) == [["a"], ["b"], ["c", "d", "f"], ["e"]]


def test_a_circle_is_named(architecture: ModuleType) -> None:
    with pytest.raises(ValueError, match="in a circle: . -> . -> ."):
        architecture.reduced({("a", "b"), ("b", "c"), ("c", "a"), ("a", "c")})


def test_a_walk_counts_each_function_of_the_package_once(architecture: ModuleType) -> None:
    from lens_steer.intervals import group_sums

    entered = architecture.walk(lambda: [group_sums, len("")])
    assert entered == {}
    entered = architecture.walk(lambda: _twice())
    [(file, names)] = entered.items()
    assert file.startswith("sites")
    assert set(names) == {"Kind.parse"}


def _twice() -> None:
    from lens_steer.sites import Kind

    Kind.parse("resid")
    Kind.parse("head")
