import json
import runpy
import subprocess
import sys
from types import ModuleType

import pytest

import lens_steer
from lens_steer import sites

HEAVY = (
    *("transformer_lens", "transformers", "sklearn", "scipy", "pandas"),
    *("matplotlib", "datasets", "typer", "safetensors"),
)


def loaded_by(statement: str) -> set[str]:
    """Modules in a fresh interpreter after this statement."""
    code = f"{statement}; import sys, json; print(json.dumps(sorted(sys.modules)))"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stderr == ""
    return set(json.loads(found.stdout))


def test_importing_the_package_loads_nothing_heavy_but_torch() -> None:
    found = loaded_by("import lens_steer")
    assert "torch" in found
    assert [name for name in HEAVY if name in found] == []


def test_importing_the_command_loads_no_model_library() -> None:
    found = loaded_by("import lens_steer.cli.commands")
    assert [name for name in ("transformer_lens", "transformers", "sklearn") if name in found] == []


ROOMS = (
    *("activations", "artifacts", "attribution", "barriers", "benchmark", "data", "diagnostics"),
    *("evaluation", "field", "linearity", "models", "organism", "steering", "tracking"),
    "forecasting",
    "pages",
    "prompts",
    "special_tokens",
)
ANYTHING_ELSE = {"Scope"}  # a type alias


def test_dir_shows_the_rooms_and_some_forty_five_names_of_the_work() -> None:
    names = dir(lens_steer)
    assert set(ROOMS) <= set(names)
    flat = set(names) - set(ROOMS)
    assert 40 <= len(flat) <= 61
    kinds = {name for name in flat if isinstance(getattr(lens_steer, name), ModuleType)}
    assert kinds == set()


def test_every_flat_name_is_a_name_of_its_room_and_has_a_docstring() -> None:
    rooms = [getattr(lens_steer, name) for name in ROOMS] + [sites]
    for name in set(dir(lens_steer)) - set(ROOMS) - ANYTHING_ELSE:
        thing = getattr(lens_steer, name)
        assert any(getattr(room, name, None) is thing for room in rooms), name
        assert thing.__doc__, name


def test_a_name_that_never_was_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="module 'lens_steer' has no attribute 'capturee'"):
        lens_steer.capturee  # noqa: B018 - it raises


def test_the_package_says_what_it_is() -> None:
    assert lens_steer.__doc__
    for name in ("load_model", "ContrastivePairs", "capture", "CAA", "steered", "generate"):
        assert name in lens_steer.__doc__
    assert all(len(line) <= 100 for line in lens_steer.__doc__.splitlines())


def test_the_package_runs_as_the_command(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["lens-steer", "--help"])
    with pytest.raises(SystemExit) as ended:
        runpy.run_module("lens_steer", run_name="__main__")
    assert ended.value.code in (0, None)
    shown = capsys.readouterr().out
    assert shown.strip().startswith("Usage: ")
    assert "compare" in shown
