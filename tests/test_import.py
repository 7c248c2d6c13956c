import json
import subprocess
import sys

import pytest

import lens_steer

HEAVY = (
    *("transformer_lens", "transformers", "sklearn", "scipy", "pandas"),
    *("matplotlib", "datasets", "typer", "safetensors"),
)
NAMES = (
    *("load_model", "ContrastivePairs", "capture", "CAA", "Random"),
    *("steered", "generate", "save", "load", "Intervention"),
    *("Scope", "Activations", "LayerActivations", "ContrastStats", "evaluate"),
    *("sweep",),
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


@pytest.mark.parametrize("name", NAMES)
def test_public_names_are_those_of_the_package(name: str) -> None:
    assert hasattr(lens_steer, name)


def test_the_package_says_what_it_is() -> None:
    assert lens_steer.__doc__
    for name in ("load_model", "ContrastivePairs", "capture", "CAA", "steered", "generate"):
        assert name in lens_steer.__doc__
    assert all(len(line) <= 100 for line in lens_steer.__doc__.splitlines())
