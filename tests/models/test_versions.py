import re
import tomllib
from importlib.metadata import PackageNotFoundError
from pathlib import Path
from typing import Any

import pytest
import torch

import lens_steer as ls
from lens_steer.models import package_versions as _versions

ROOT = Path(__file__).parents[2]
OWN = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]


def test_versions_print_what_a_report_of_a_fault_needs() -> None:
    lines = dict(line.split(maxsplit=1) for line in str(ls.versions()).splitlines())
    needed = "python torch transformers transformer-lens jaxtyping numpy scikit-learn platform"
    assert set(needed.split()) <= set(lines)
    assert lines["lens-steer"] == OWN
    assert lines["torch"] == torch.__version__
    assert lines["device"].endswith("cpu")


def test_versions_are_found_without_metadata(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def missing(name: str) -> Any:
        raise PackageNotFoundError(name)

    monkeypatch.setattr(_versions, "version", missing)
    found = dict(ls.versions().packages)
    assert (found["lens-steer"], found["torch"]) == (OWN, "unknown")
    (tmp_path / "pyproject.toml").write_text('[project]\nname = "other"\nversion = "9"\n')
    for elsewhere in (tmp_path / "pyproject.toml", tmp_path / "none"):
        monkeypatch.setattr(_versions, "_CHECKOUT", elsewhere)
        assert dict(ls.versions().packages)["lens-steer"] == "unknown"


def test_the_citation_names_this_version_and_the_papers() -> None:
    text = (ROOT / "CITATION.cff").read_text()
    assert re.search(r"^version: (.*)$", text, re.MULTILINE)[1] == OWN  # type: ignore[index]
    assert set(re.findall(r"arXiv:[0-9.]+", text)) == {
        "arXiv:2410.12299",
        "arXiv:2604.19018",
        "arXiv:2602.17560",
    }
