"""Every steering method is a leaf of its own, and the import contract knows all of them."""

import pkgutil
import tomllib
from pathlib import Path

import pytest

from lens_steer import steering

PROJECT = Path(__file__).parents[2] / "pyproject.toml"


def test_the_independence_contract_lists_every_leaf() -> None:
    if not PROJECT.exists():
        pytest.skip("pyproject.toml is not here: the tests run outside the repository")
    contracts = tomllib.loads(PROJECT.read_text(encoding="utf-8"))["tool"]["importlinter"]
    [listed] = [
        contract["modules"]
        for contract in contracts["contracts"]
        if contract["name"] == "steering methods never import each other"
    ]
    room = steering.__name__
    leaves = {f"{room}.{leaf.name}" for leaf in pkgutil.iter_modules(steering.__path__)}
    assert sorted(listed) == sorted(leaves - {f"{room}.base"})
