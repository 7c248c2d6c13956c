"""Files that version 0.1 saved, before the package was redesigned, load as what they were."""

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from lens_steer.artifacts import describe, load, save

FILES = sorted((Path(__file__).parent / "saved_by_0_1").glob("*.safetensors"))


def values(content: Any, tensors: dict[str, torch.Tensor]) -> list[Any]:
    """All numbers and texts of a header and its tensors, whatever the fields are called."""
    if isinstance(content, dict):
        if set(content) == {"tensor"}:
            return [tensors[content["tensor"]].double().sum().item()]
        inner = content.get("fields", content)
        return [x for key, item in inner.items() if key != "type" for x in values(item, tensors)]
    if isinstance(content, list):
        return [x for item in content for x in values(item, tensors)]
    return [content]


def test_there_is_a_file_of_every_kind_of_method_barrier_and_reading() -> None:
    assert len(FILES) >= 35


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_a_file_of_version_0_1_loads_with_every_value_it_had(path: Path, tmp_path: Path) -> None:
    again = tmp_path / "again.safetensors"
    save(load(path), again)
    before = values(describe(path)["content"], load_file(path))
    after = values(describe(again)["content"], load_file(again))
    assert [x for x in before if x not in after] == []
