"""A model on one screen: every line beside what is known of the model in other ways."""

import re
from pathlib import Path
from typing import Any

import pytest
import torch

import lens_steer as ls
from lens_steer.models import FirstPosition, ModelDescription, attach, forward, quantisation
from lens_steer.models.first_position import first_position
from tests.conftest import CONTEXT, HAS_HOOKED, LAYERS, WINDOW, Loader


def text_of(model: Any) -> str:
    """The description, its line breaks undone."""
    return re.sub(r"\n {15}", " ", str(ls.describe(model)))


@pytest.mark.parametrize("backend", ["bridge", "hooked"] if HAS_HOOKED else ["bridge"])
def test_windows_sizes_and_special_tokens_are_the_configurations(
    backend: str, load: Loader
) -> None:
    about = ls.describe(load("gemma3", backend))
    assert isinstance(about, ModelDescription)
    assert (about.context, about.window, about.window_layers) == (CONTEXT, WINDOW, (0, 2))
    assert (about.key_value_heads, about.endings) == (2, ((2, "</s>"),))
    lines = text_of(load("gemma3", backend)).splitlines()
    assert any(f"{LAYERS} layers, d_model 32, 4 heads of 16 (2 of keys" in line for line in lines)
    assert any("a sliding window of 16 at layers 0, 2" in line for line in lines)
    assert len(lines) < 15
    table = about._repr_html_()  # pyright: ignore[reportPrivateUsage]
    assert table.count("<tr>") == len(lines)
    assert "&lt;/s&gt;" in table


@pytest.mark.parametrize("architecture", ["llama", "qwen2"])
def test_parameters_are_counted_once_as_hugging_face_counts_them(
    architecture: str, load: Loader, model_dirs: Any
) -> None:
    from transformers import AutoModelForCausalLM

    theirs: Any = AutoModelForCausalLM.from_pretrained(model_dirs[architecture])
    about = ls.describe(load(architecture))
    assert about.parameters == theirs.num_parameters()
    assert about.window is None


def test_the_first_look_says_what_it_compared(fresh_model: Loader) -> None:
    compared = " ".join(ls.describe(fresh_model("llama")).compared)
    for part in ("residual stream", "cache", "same weights", "same configuration"):
        assert part in compared
    if HAS_HOOKED:
        assert "same weights" in " ".join(ls.describe(fresh_model("llama", "hooked")).compared)


def test_a_sink_that_was_put_there_is_found_with_its_layers_and_dimension(
    fresh_model: Loader,
) -> None:
    model = fresh_model("llama")
    before = first_position(model)
    first = int(model.tokenizer.bos_token_id)
    with torch.no_grad():  # what the second block writes at the first token alone: a huge number
        embedding = model.original_model.get_input_embeddings().weight
        embedding[first] = 0.0
        embedding[first, 5] = 1e4
    found = first_position(model)
    assert before.sink_layers == ()
    assert found.sink_layers == tuple(range(LAYERS))
    assert set(found.dimensions) == {5}
    assert min(found.shares) > 0.99
    assert "over 10 times the others' median norm behind layers 0-3" in str(found)


def test_a_first_position_without_a_sink_says_so() -> None:
    about = FirstPosition(ratios=(1.0, 9.9), dimensions=(3, 4), shares=(0.2, 0.3))
    assert str(about).startswith("none (position 0: at most 9.9 times")


def test_folded_weights_are_named(fresh_model: Loader) -> None:
    model = fresh_model("llama")
    assert "raw weights" in text_of(model)
    model.enable_compatibility_mode(disable_warnings=True)
    assert "activations are not Hugging Face's" in text_of(model)


def test_a_commit_of_the_hub_is_named_and_not_compared(
    fresh_model: Loader, load: Loader, pairs: ls.ContrastivePairs, tmp_path: Path
) -> None:
    model = fresh_model("llama")
    model.original_model.config._commit_hash = "0123abc"
    attach(model)
    with torch.no_grad():  # looked at again
        next(iter(model.original_model.parameters())).mul_(1.0)
    print_of = attach(model).fingerprint
    assert print_of.revision == "0123abc"
    assert "revision       0123abc" in text_of(model)
    assert print_of == attach(load("llama")).fingerprint
    assert print_of.differences(attach(load("llama")).fingerprint) == []
    for named in (model, load("llama")):
        method = ls.CAA.fit(ls.capture(named, pairs, "resid", progress=False).at(layer=1))
        ls.save(method, tmp_path / "method")
        again = ls.load(tmp_path / "method", load("llama")).provenance.fingerprint
        assert again.revision == attach(named).fingerprint.revision
        header = str(ls.describe(tmp_path / "method"))
        assert ("'revision'" in header) == (named is model)


@pytest.fixture
def quantised(fresh_model: Loader) -> Any:
    """A model whose configuration says that its weights are quantised."""
    model = fresh_model("llama")
    settings = {"quant_method": "bitsandbytes", "load_in_4bit": True}
    model.original_model.config.quantization_config = settings
    return model


def test_a_quantised_model_is_steered_and_refuses_what_needs_gradients(
    quantised: Any, pairs: ls.ContrastivePairs
) -> None:
    assert quantisation(quantised) == "bitsandbytes"
    assert "quantised weights (bitsandbytes): no gradients" in text_of(quantised)
    method = ls.CAA.fit(ls.capture(quantised, pairs, "resid", progress=False).at(layer=1))
    assert len(ls.generate(quantised, pairs.prompts[:2], method, seed=0, max_new_tokens=3)) == 2
    for call in (
        lambda: ls.linearize(quantised, pairs),
        lambda: ls.linearity.BlockMaps.of(quantised, pairs),
        lambda: ls.attribution.grad_x_activation(quantised, pairs, "neuron"),
        lambda: ls.benchmark.learn(quantised, pairs, ls.Site(1), seed=0),
    ):
        with pytest.raises(ValueError, match=r"quantised \(bitsandbytes\): load it in float32"):
            call()


def test_weights_that_were_dequantised_are_differentiated_through(
    quantised: Any, pairs: ls.ContrastivePairs
) -> None:
    quantised.original_model.config.quantization_config = {"quant_method": "gguf"}
    assert quantisation(quantised) is None
    assert "dequantised from quantised weights" in text_of(quantised)
    assert ls.linearize(quantised, pairs).n_layers == LAYERS


def test_a_model_placed_by_a_device_map_of_one_device_is_the_same_model(
    model_dirs: Any, load: Loader
) -> None:
    from transformer_lens.model_bridge import TransformerBridge
    from transformers import AutoModelForCausalLM, AutoTokenizer

    place = model_dirs["llama"]
    placed: Any = AutoModelForCausalLM.from_pretrained(place, device_map={"": "cpu"})
    tokenizer = AutoTokenizer.from_pretrained(place)
    model: Any = TransformerBridge.boot_transformers("x", hf_model=placed, tokenizer=tokenizer)
    tokens = torch.arange(12)[None]
    torch.testing.assert_close(forward(model, tokens), forward(load("llama"), tokens))
    assert "same weights" in text_of(model)
