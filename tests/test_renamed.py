"""Names of version 0.1 lead to what they name today; `names_of_0_1.json` lists them by room."""

import importlib.util
import inspect
import json
import warnings
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any, get_type_hints

import pytest

import lens_steer
from lens_steer.renamed import MOVED, REMOVED, RENAMED, ROOMS, path_of

HERE = Path(__file__).parent
NAMES: dict[str, list[str]] = json.loads((HERE / "names_of_0_1.json").read_text(encoding="utf-8"))
OF_MOVED = [(room, name, now) for room, names in MOVED.items() for name, now in names.items()]


def quietly(room: str, name: str) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        return getattr(import_module(room), name)


@pytest.mark.parametrize("room", NAMES)
def test_every_name_of_version_0_1_can_still_be_imported(room: str) -> None:
    new_room = ROOMS.get(room.removeprefix("lens_steer."), room.removeprefix("lens_steer."))
    names = [name for name in NAMES[room] if (new_room, name) not in REMOVED]
    assert names
    assert [name for name in names if quietly(room, name) is None] == []


@pytest.mark.parametrize(("room", "name", "now"), OF_MOVED)
def test_a_name_that_moved_is_found_without_a_warning(room: str, name: str, now: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = getattr(import_module(path_of(room)), name)
    assert found is vars(import_module(path_of(now)))[name]
    assert name not in vars(import_module(path_of(room)))


@pytest.mark.parametrize(("room", "name"), RENAMED)
def test_a_name_that_changed_is_found_with_a_warning_of_the_new_one(room: str, name: str) -> None:
    target, new = RENAMED[room, name]
    message = rf"{name} is now called lens_steer\S*\.{new};"
    with pytest.warns(DeprecationWarning, match=message):
        found = getattr(import_module(path_of(room)), name)
    assert found is vars(import_module(path_of(target)))[new]
    assert name not in vars(import_module(path_of(room)))


@pytest.mark.parametrize(("room", "name"), REMOVED)
def test_a_name_that_is_gone_says_what_there_is_instead(room: str, name: str) -> None:
    with pytest.raises(AttributeError, match=f"no attribute '{name}': {REMOVED[room, name]}"):
        getattr(import_module(path_of(room)), name)


@pytest.mark.parametrize("old", ROOMS)
def test_a_room_that_moved_is_imported_by_its_old_path(old: str) -> None:
    new = import_module(path_of(ROOMS[old]))
    assert import_module(path_of(old)) is new
    assert getattr(lens_steer, old) is new


def test_a_name_that_never_was_is_an_attribute_error() -> None:
    for room in ("lens_steer", "lens_steer.evaluation"):
        with pytest.raises(AttributeError, match=f"module '{room}' has no attribute 'nothing'$"):
            import_module(room).nothing  # noqa: B018


DOCS = HERE.parent / "docs"


@pytest.fixture(scope="module")
def page_writer() -> Any:
    spec = importlib.util.spec_from_file_location("renamed_page", DOCS / "renamed.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_page_shows_the_tables(page_writer: Any) -> None:
    page = (DOCS / "renamed.md").read_text(encoding="utf-8")
    assert page == page_writer.page(), "run python docs/renamed.py"


def test_members_that_changed_are_called_as_the_page_says(page_writer: Any) -> None:
    rooms = [getattr(lens_steer, name) for name in dir(lens_steer)]
    rooms = [room for room in rooms if isinstance(room, ModuleType)]
    for now in page_writer.MEMBERS.values():
        path, _, parameter = now.removesuffix(")").partition("(")
        first, *members = path.split(".")
        [thing, *_] = [vars(room)[first] for room in rooms if first in vars(room)]
        for member in members:
            has = hasattr(thing, member) or member in getattr(thing, "__dataclass_fields__", {})
            assert has, now
            thing = getattr(thing, member, None)
        if parameter:
            assert parameter.removesuffix("=") in parameters(thing), now


def parameters(function: Any) -> set[str]:
    """Names of the parameters, those of an unpacked TypedDict among them."""
    named = inspect.signature(function).parameters.values()
    options = [getattr(p.annotation, "__args__", ()) for p in named if p.kind is p.VAR_KEYWORD]
    unpacked = {name for args in options for arg in args for name in get_type_hints(arg)}
    return {p.name for p in named} | unpacked
