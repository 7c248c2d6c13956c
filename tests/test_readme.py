"""The code of README, and then of the guide, runs as one script from top to bottom."""

import re
from pathlib import Path
from typing import Any

import pytest

from lens_steer.benchmark import REFERENCES
from lens_steer.data import ContrastivePairs
from tests.conftest import HAS_HOOKED

ROOT = Path(__file__).parents[1]
README, GUIDE = ROOT / "README.md", ROOT / "docs" / "guide.md"
FEW = 60  # pairs of each set, of which its 240 would take minutes
OWN_MODEL = "from_pretrained_no_processing"  # the one block that would need a network


def blocks(path: Path) -> list[str]:
    return re.findall(r"```python\n(.*?)```", path.read_text(encoding="utf-8"), flags=re.DOTALL)


@pytest.mark.slow
def test_the_quick_start_and_the_guide_run_as_one_script(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    untyped: None,
) -> None:
    monkeypatch.chdir(tmp_path)
    load = ContrastivePairs.load
    monkeypatch.setattr(ContrastivePairs, "load", lambda *given: load(*given).spread(FEW))
    names: dict[str, Any] = {}
    [quick_start] = blocks(README)
    exec(quick_start, names)
    shown = capsys.readouterr().out
    assert "CAA(strength=2.9" in shown
    assert "blocks.3.hook_resid_post" in shown
    assert shown.count("well formed") == 3
    assert (tmp_path / "praise.safetensors").is_file()
    for name in ("dev", "test"):  # the comparison writes texts after each of their prompts
        names[name] = names[name].spread(4)
    guide = blocks(GUIDE)
    assert sum(OWN_MODEL in block for block in guide) == 1
    for block in guide:
        if OWN_MODEL not in block:
            exec(block, names)
        elif HAS_HOOKED:
            with_a_model_of_the_users_own(block, names, monkeypatch)
    assert names["fair"].report.quantity == "kl"
    assert names["table"]["method"].tolist() == [*REFERENCES, "CAA"]
    assert names["mask"].count == 4
    assert names["best"].mask.kind == "head"
    assert names["local"].window(0.5) == (1, 2, 3, 4)
    assert (tmp_path / "jacobians.safetensors").is_file()
    assert len(names["loops"]) == 2
    assert float(capsys.readouterr().out.splitlines()[-1]) > 0


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
    assert names["gpt2"] is own


@pytest.mark.parametrize("path", [README, *sorted((ROOT / "docs").glob("*.md"))], ids=str)
def test_links_between_pages_lead_somewhere(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    targets = [link.split("#")[0] for link in re.findall(r"\]\(([^)\s]+)\)", text)]
    inside = [target for target in targets if target and "://" not in target]
    assert [target for target in inside if not (path.parent / target).exists()] == []


def test_the_readme_is_a_page_and_a_half() -> None:
    assert len(README.read_text(encoding="utf-8").splitlines()) <= 110
