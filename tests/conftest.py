"""Tiny random models of every architecture, the stories model, and a few pairs.

Fixtures share what they load: a test that changes a model (folds it, hooks it for good, changes its
tokenizer) takes `fresh_model` instead.
"""

import os
import re

os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["TRANSFORMERS_OFFLINE"] = "1"
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import settings
from jaxtyping import config

from lens_steer.data import ContrastivePairs
from lens_steer.models import HAS_HOOKED_TRANSFORMER as HAS_HOOKED
from lens_steer.models import load_model, model_directory

torch.set_num_threads(1)

settings.register_profile("tests", deadline=None, derandomize=True, max_examples=25, database=None)
settings.load_profile("tests")

ARCHITECTURES = ("gpt2", "llama", "qwen2", "qwen3", "gemma2", "gemma3", "neox")
SHAPES_CHECKED = ("gpt2",)
WITH_BOS = ("gpt2", "llama", "gemma2", "gemma3")
BACKENDS = ("bridge", "hooked") if HAS_HOOKED else ("bridge",)
STORIES = Path(__file__).parents[2] / "shared" / "models" / "stories260k"

LAYERS, WIDTH, HEADS, KEY_HEADS, CONTEXT, WINDOW = 4, 32, 4, 2, 128, 16

Loader = Callable[..., Any]

# Fixtures that are models or make them, and files whose tests load models without a fixture: what
# `--models-only` keeps.
MODELS = {"model_dirs", "stories", "smollm2", "gemma3", "embedded"}
LOADING = ("test_readme", "test_other_architectures", "test_versions", "test_cli", "test_import")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--models-only",
        action="store_true",
        help="leave out tests that load no model: they see no other version of TransformerLens",
    )


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out, where that is asked for, what was tested with other versions already."""
    if not config.getoption("--models-only"):
        return
    kept = [
        item
        for item in items
        if MODELS & set(getattr(item, "fixturenames", ())) or item.path.stem in LOADING
    ]
    chosen = set(kept)
    config.hook.pytest_deselected(items=[item for item in items if item not in chosen])
    items[:] = kept


def vocabulary() -> tuple[dict[str, int], list[tuple[str, str]]]:
    """Byte-level BPE over printable ASCII, newline and tab: 120 tokens, a few of them words."""
    from tokenizers.pre_tokenizers import ByteLevel

    splitter = ByteLevel(add_prefix_space=False, use_regex=False)
    characters = [splitter.pre_tokenize_str(chr(i))[0][0] for i in (*range(32, 127), 10, 9)]
    space = characters[0]
    merges: list[tuple[str, str]] = []
    for word in ("the", "a", "was", "very", "dog", "cat", "sun"):
        left = space
        for letter in word:
            if (left, letter) not in merges:
                merges.append((left, letter))
            left += letter
    tokens = ["<pad>", "<s>", "</s>", *characters, *(left + right for left, right in merges)]
    return {token: i for i, token in enumerate(tokens)}, merges


def tokenizer_of(architecture: str) -> Any:
    """GPT-2's special tokens are one and the same; Llama's and Gemma's tokenizers write a BOS."""
    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    tokens, merges = vocabulary()
    core = Tokenizer(models.BPE(vocab=tokens, merges=merges))
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    core.decoder = decoders.ByteLevel()
    core.add_special_tokens([AddedToken(t, special=True) for t in ("<pad>", "<s>", "</s>")])
    special = {"eos_token": "</s>", "pad_token": "<pad>"}
    if architecture == "gpt2":
        special = dict.fromkeys(("bos_token", "eos_token", "pad_token"), "</s>")
    elif architecture in WITH_BOS:
        special["bos_token"] = "<s>"
        core.post_processor = processors.TemplateProcessing(
            single="<s> $A", pair="<s> $A <s> $B", special_tokens=[("<s>", tokens["<s>"])]
        )
    return PreTrainedTokenizerFast(tokenizer_object=core, **special)


def config_of(architecture: str) -> Any:
    """Every size differs from its default, and head_dim from d_model / heads where it may."""
    import transformers as hf

    tokens, _ = vocabulary()
    eos = tokens["</s>"]
    bos = eos if architecture == "gpt2" else tokens["<s>"] if architecture in WITH_BOS else None
    shared: dict[str, Any] = {
        "vocab_size": len(tokens),
        "bos_token_id": bos,
        "eos_token_id": eos,
        "pad_token_id": eos if architecture == "gpt2" else tokens["<pad>"],
    }
    if architecture == "gpt2":
        return hf.GPT2Config(
            n_layer=LAYERS, n_embd=WIDTH, n_head=HEADS, n_positions=CONTEXT, **shared
        )
    shared |= {
        "num_hidden_layers": LAYERS,
        "hidden_size": WIDTH,
        "num_attention_heads": HEADS,
        "intermediate_size": 48,
        "max_position_embeddings": CONTEXT,
    }
    if architecture == "neox":
        return hf.GPTNeoXConfig(use_parallel_residual=True, **shared)
    shared["num_key_value_heads"] = KEY_HEADS
    gemma: dict[str, Any] = {
        "head_dim": 16,
        "query_pre_attn_scalar": 24,
        "sliding_window": WINDOW,
        "layer_types": ["sliding_attention", "full_attention"] * (LAYERS // 2),
    }
    match architecture:
        case "llama":
            return hf.LlamaConfig(**shared)
        case "qwen2":
            return hf.Qwen2Config(**shared)
        case "qwen3":
            return hf.Qwen3Config(head_dim=16, **shared)
        case "gemma2":
            gemma |= {"attn_logit_softcapping": 5.0, "final_logit_softcapping": 8.0}
            return hf.Gemma2Config(**shared, **gemma)
        case "gemma3":
            return hf.Gemma3TextConfig(**shared, **gemma)
    raise ValueError(f"no tiny model of {architecture!r}")


def write_model(architecture: str, directory: Path, *, seed: int = 0) -> Path:
    """A model of an architecture with its tokenizer."""
    write_weights(config_of(architecture), directory, seed=seed)
    tokenizer_of(architecture).save_pretrained(directory)
    return directory


def write_weights(configuration: Any, directory: Path, *, seed: int = 0) -> None:
    """Weights whose norm gains and biases are not their defaults, so that folding them matters."""
    from transformers import AutoModelForCausalLM

    # from_config draws weights, overwritten below: the caller's random state stays as it is.
    with torch.random.fork_rng(devices=[]):
        model: Any = AutoModelForCausalLM.from_config(configuration, dtype=torch.float32)
    draw = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            noise = torch.randn(parameter.shape, generator=draw)
            if parameter.ndim > 1:
                parameter.copy_(0.3 * noise)
            else:
                parameter.add_(0.2 * noise)
    model.save_pretrained(directory)


@pytest.fixture(scope="session")
def model_dirs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Directory by architecture; neutral names, as TransformerLens 3.9 reads them as well."""
    root = tmp_path_factory.mktemp("models")
    return {name: write_model(name, root / f"m{i}") for i, name in enumerate(ARCHITECTURES)}


@pytest.fixture(scope="session")
def load(model_dirs: dict[str, Path]) -> Loader:
    """`load(architecture, backend="bridge")`: the shared model of that name; not to be changed."""

    @cache
    def shared(architecture: str, backend: str = "bridge") -> Any:
        return load_model(model_dirs[architecture], backend=backend, device="cpu")  # type: ignore[arg-type]

    return lambda architecture, backend="bridge": shared(architecture, backend)


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """Check types and shapes on one architecture only: they take as long as the test itself.

    Before any fixture is made, as one of a module may be made for an architecture.
    """
    others = set(ARCHITECTURES) - set(SHAPES_CHECKED)
    unchecked = not others.isdisjoint(re.split(r"\W", item.name))
    config.update("jaxtyping_disable", unchecked)


@pytest.fixture
def untyped() -> None:
    """The checks of types and shapes switched off, as for a user: our own errors show.

    Also for what is called again with other numbers, after a test that had the checks: they take as
    long as the test itself.
    """
    config.update("jaxtyping_disable", True)


@contextmanager
def without_checks() -> Iterator[None]:
    """As `untyped`, for what a module makes once."""
    before = config.jaxtyping_disable
    config.update("jaxtyping_disable", True)
    try:
        yield
    finally:
        config.update("jaxtyping_disable", before)


@pytest.fixture
def fresh_model(model_dirs: dict[str, Path]) -> Loader:
    """`fresh_model(architecture, backend="bridge", **options)`: a model of the test's own."""

    def fresh(architecture: str, backend: Any = "bridge", **options: Any) -> Any:
        return load_model(model_dirs[architecture], backend=backend, **{"device": "cpu", **options})

    return fresh


def each_model() -> list[Any]:
    """Parameters: every architecture on every backend that is installed, named `gpt2-bridge`."""
    return [pytest.param((a, b), id=f"{a}-{b}") for a in ARCHITECTURES for b in BACKENDS]


@pytest.fixture(scope="session", params=each_model())
def model(request: pytest.FixtureRequest, load: Loader) -> Any:
    """Every architecture on every backend."""
    return load(*request.param)


@pytest.fixture(scope="session", params=ARCHITECTURES)
def bridge(request: pytest.FixtureRequest, load: Loader) -> Any:
    """Every architecture as a TransformerBridge."""
    return load(request.param)


@pytest.fixture(scope="session")
def llama(load: Loader) -> Any:
    """One cheap model: grouped queries, gated MLP, a BOS."""
    return load("llama")


@pytest.fixture(scope="session")
def gpt2(load: Loader) -> Any:
    """One with LayerNorm, biases and positional embeddings."""
    return load("gpt2")


@pytest.fixture(scope="session", params=BACKENDS)
def stories(request: pytest.FixtureRequest) -> Any:
    """Real trained weights, where they are there."""
    if not STORIES.is_dir():
        pytest.skip("no stories260k model in ../shared/models beside the repository")
    return load_model(STORIES, backend=request.param, device="cpu")


def public_model(name: str) -> Any:
    """A public model that `make models` brings; without it the test is skipped, or fails in CI."""
    try:
        model_directory(name)
    except ValueError as missing:
        if os.environ.get("LENS_STEER_REQUIRE_MODELS"):
            pytest.fail(f"LENS_STEER_REQUIRE_MODELS is set, but {missing}")
        pytest.skip(str(missing))
    return load_model(name, device="cpu")


@pytest.fixture(scope="session")
def smollm2() -> Any:
    """SmolLM2-135M-Instruct: 30 layers, a chat template, a sink of hundreds of norms."""
    return public_model("smollm2")


@pytest.fixture(scope="session")
def gemma3() -> Any:
    """Gemma-3-270M, a base model: 18 layers, sliding windows, massive activations."""
    return public_model("gemma3")


@pytest.fixture(scope="session")
def embedded() -> Any:
    """The model in the package."""
    return load_model("organism", device="cpu")


@pytest.fixture(scope="session")
def pairs() -> ContrastivePairs:
    """Prompts of different lengths, some beyond Gemma's window; both sides end in one token."""
    return ContrastivePairs.of(
        [
            ("The cat", " was sad. It was", " was glad. It was"),
            ("A dog sat in the sun and", " lost the ball. He was", " found a ball. He was"),
            ("One day, the dog and the cat met.", " It was bad, it was", " It was good, it was"),
            ("Hi!", " No, it was", " Yes, it was"),
            ("The sun", " went down and the cat was", " came up and the cat was"),
            ("A very old house:", " the roof fell and it was", " a new roof, and it was"),
        ],
        name="tiny",
    )
