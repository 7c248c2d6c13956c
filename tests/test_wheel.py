"""The wheel: everything the embedded model needs is in it."""

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SCRIPT = """
import lens_steer as ls
from pathlib import Path
assert Path(ls.__file__).is_relative_to(Path.cwd() / "wheel"), ls.__file__
model = ls.load_model("organism", device="cpu")
prompts = ls.ContrastivePairs.load("organism:sentiment").prompts[:2]
texts = ls.generate(model, prompts, max_new_tokens=60, seed=0)
print(ls.organism.judge("sentiment").well_formed(prompts, texts).tolist())
"""


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("wheel")
    build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(out)]
    subprocess.run(build, cwd=ROOT, check=True, capture_output=True)
    (found,) = out.glob("*.whl")
    return found


@pytest.mark.slow
def test_the_wheel_holds_the_embedded_model_and_nothing_of_the_tests(wheel: Path) -> None:
    names = set(zipfile.ZipFile(wheel).namelist())
    for name in ("card.md", "hashes.json", "weights/model.safetensors", "weights/tokenizer.json"):
        assert f"lens_steer/organism/{name}" in names
    assert "lens_steer/benchmark/method_families/calibrated.json" in names
    assert any(name.endswith(".dist-info/licenses/LICENSE") for name in names)
    assert not any(name.startswith(("tests", "analyses", "notebooks")) for name in names)
    assert wheel.stat().st_size < 9e6


@pytest.mark.slow
def test_the_embedded_model_runs_from_the_wheel_alone(wheel: Path, tmp_path: Path) -> None:
    zipfile.ZipFile(wheel).extractall(tmp_path / "wheel")
    found = subprocess.run(
        [sys.executable, "-c", SCRIPT],
        cwd=tmp_path,
        env={"PYTHONPATH": str(tmp_path / "wheel"), "HF_HUB_OFFLINE": "1", "HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert found.returncode == 0, found.stderr
    assert found.stdout.strip() == "[True, True]"
