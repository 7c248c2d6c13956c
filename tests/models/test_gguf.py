"""GGUF files: read as Hugging Face reads them, dequantised, or refused."""

import sys
from pathlib import Path
from typing import Any

import pytest
import torch

pytest.importorskip("gguf", reason="the package gguf, an optional extra, is not installed")

from lens_steer.models import (
    attach,
    encode_prompt,
    eos_ids,
    forward,
    load_model,
    quantisation,
    special_tokens,
)
from tests.conftest import BACKENDS, HAS_HOOKED, Loader
from tests.models.gguf_samples import write_gguf

TOKENS = (torch.arange(24)[None] * 7 + 5) % 120


@pytest.mark.parametrize("backend", BACKENDS)
def test_plain_numbers_come_out_as_they_were_written(
    backend: Any, model_dirs: dict[str, Path], load: Loader, tmp_path: Path
) -> None:
    file = write_gguf(model_dirs["llama"], tmp_path / "Model.GGUF")
    read, original = load_model(file, backend=backend, device="cpu"), load("llama", backend)
    torch.testing.assert_close(forward(read, TOKENS), forward(original, TOKENS), atol=2e-5, rtol=0)
    assert attach(read).fingerprint.differences(attach(original).fingerprint) == []
    for text in ("The cat was very sad.", ""):
        assert encode_prompt(read, text) == encode_prompt(original, text)
    assert eos_ids(read) == eos_ids(original)
    assert special_tokens.beginning(read).by_tokenizer
    assert read.cfg.n_ctx == original.cfg.n_ctx


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_quantised_weights_are_read_as_hugging_face_reads_them(
    dtype: torch.dtype, model_dirs: dict[str, Path], tmp_path: Path
) -> None:
    from transformers import AutoModelForCausalLM

    file = write_gguf(model_dirs["llama"], tmp_path / "model.gguf", quantised=True)
    read: Any = load_model(file, device="cpu", dtype=dtype)
    theirs: Any = AutoModelForCausalLM.from_pretrained(tmp_path, gguf_file=file.name, dtype=dtype)
    with torch.no_grad():
        expected = theirs(TOKENS).logits
    error = (forward(read, TOKENS) - expected).abs().max() / expected.abs().max()
    assert error < {torch.float32: 1e-5, torch.bfloat16: 3e-2}[dtype]
    assert {p.dtype for p in read.original_model.parameters()} == {dtype}
    assert quantisation(read) is None
    assert read.original_model.config.dequantised_from == "Q8_0"


def damaged(kind: str, model: Path, file: Path) -> Path:
    if kind == "text":
        file.write_text("GGUF is a format\n", encoding="utf-8")
    elif kind == "empty":
        file.write_bytes(b"")
    elif kind == "architecture":
        write_gguf(model, file, architecture="mumble")
    elif kind == "lacking":
        write_gguf(model, file, without="blk.2.ffn_up.weight")
    else:
        whole = write_gguf(model, file).read_bytes()
        share = {"in a weight": 0.9, "in the header": 0.02, "in the words": 0.001}[kind]
        file.write_bytes(whole[: int(share * len(whole))])
    return file


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize(
    "kind",
    ["text", "empty", "architecture", "lacking", "in a weight", "in the header", "in the words"],
)
def test_what_is_no_whole_gguf_file_is_refused_in_one_line(
    kind: str, backend: Any, model_dirs: dict[str, Path], tmp_path: Path
) -> None:
    file = damaged(kind, model_dirs["llama"], tmp_path / "model.gguf")
    with pytest.raises(
        ValueError, match=r"cannot load .*model\.gguf.*expected a whole GGUF file"
    ) as refusal:
        load_model(file, backend=backend, device="cpu")
    assert len(str(refusal.value).splitlines()) == 1


def test_a_gguf_file_that_is_not_there_is_not_taken_for_a_hub_name(tmp_path: Path) -> None:
    for name in ("missing.gguf", "folder/missing.gguf", str(tmp_path / "missing.gguf")):
        with pytest.raises(
            ValueError, match=r"no file .*missing\.gguf': expected the path of a GGUF"
        ):
            load_model(name)


def test_without_the_package_gguf_it_is_said_how_to_get_it(
    monkeypatch: pytest.MonkeyPatch, model_dirs: dict[str, Path], tmp_path: Path
) -> None:
    file = write_gguf(model_dirs["llama"], tmp_path / "model.gguf")
    monkeypatch.setitem(sys.modules, "gguf", None)
    with pytest.raises(ValueError, match=r"pip install 'lens_steer\[gguf\]'"):
        load_model(file)


@pytest.mark.skipif(HAS_HOOKED, reason="TransformerLens 3.9 has HookedTransformer")
def test_a_gguf_file_makes_no_hooked_transformer_where_there_is_none(tmp_path: Path) -> None:
    file = tmp_path / "model.gguf"
    file.write_bytes(b"GGUF")
    with pytest.raises(ValueError, match="use backend='bridge'"):
        load_model(file, backend="hooked")
