"""README's code is run as it stands there."""

import re
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import HAS_HOOKED

README = Path(__file__).parents[1] / "README.md"
BLOCKS = re.findall(r"```python\n(.*?)```", README.read_text(encoding="utf-8"), flags=re.DOTALL)


@pytest.mark.slow
def test_the_quick_start_runs_and_then_with_a_model_of_the_users_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    first, second, third, fourth, fifth, sixth, seventh, eighth = BLOCKS
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {}
    exec(first, names)
    shown = capsys.readouterr().out
    assert "CAA(strength=2.9" in shown
    assert "blocks.3.hook_resid_post" in shown
    assert shown.count("well formed") == 3
    assert (tmp_path / "praise.safetensors").is_file()
    exec(third, names)
    assert names["fair"].report.quantity == "kl"
    found = ["unsteered", "random", "prompting", "best of n", "learned", "CAA"]
    assert names["table"]["method"].tolist() == found
    exec(fourth, names)
    assert names["mask"].count == 4
    assert names["best"].mask.kind == "head"
    exec(fifth, names)
    assert names["report"].window(0.5) == (1, 2, 3, 4)
    assert (tmp_path / "jacobians.safetensors").is_file()
    exec(sixth, names)
    assert len(names["loops"]) == 2
    capsys.readouterr()
    exec(seventh, names)
    assert float(capsys.readouterr().out) > 0
    exec(eighth, names)
    if HAS_HOOKED:
        with_a_model_of_the_users_own(second, names, monkeypatch)


def with_a_model_of_the_users_own(
    block: str, names: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    from transformer_lens import HookedTransformer

    own = names["ls"].load_model("organism", backend="hooked")
    monkeypatch.setattr(
        HookedTransformer, "from_pretrained_no_processing", staticmethod(lambda _: own)
    )
    exec(block, names)
    assert names["logits"].shape[0] == 1
    assert names["model"] is own
