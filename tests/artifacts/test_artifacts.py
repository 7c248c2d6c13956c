import hashlib
import json
import struct
from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass, fields, is_dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file
from torch import Tensor

from lens_steer.activations import Activations, ContrastStats, LayerActivations, Moments, capture
from lens_steer.artifacts import describe, load, save
from lens_steer.data import ContrastivePairs
from lens_steer.models import Fingerprint, Provenance, SteerableModel, attach, load_model
from lens_steer.sites import Kind, Site
from lens_steer.steering import CAA, Additive, Edit, Intervention, Random
from tests.conftest import BACKENDS, HAS_HOOKED, Loader, write_model

LAYER = 1


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def same(a: Any, b: Any) -> bool:
    """Equal in type and in every field, tensors bit by bit, dtype included."""
    if type(a) is not type(b):
        return False
    if isinstance(a, Tensor):
        if a.dtype != b.dtype or a.shape != b.shape:
            return False
        return torch.equal(a.contiguous().view(torch.uint8), b.contiguous().view(torch.uint8))
    if is_dataclass(a) and not isinstance(a, type):
        return all(same(getattr(a, f.name), getattr(b, f.name)) for f in fields(a))
    if isinstance(a, tuple | list):
        return len(a) == len(b) and all(map(same, a, b))
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(same(a[key], b[key]) for key in a)
    both_nan = isinstance(a, float) and a != a and b != b
    return both_nan or bool(a == b)


FINGERPRINT = Fingerprint(
    *("LlamaForCausalLM", 2, 3, 1, 3, 8, 11, False, "bfloat16"),
    norms=(1.5, 0.1 + 0.2),  # a number that short decimals would not hold
    projections=(-0.25, 1e-17),
)
PROVENANCE = Provenance(FINGERPRINT, "pairs", "mean", seed=3)
ACTIVATIONS = Activations(
    *(normal(4, 2, 3), normal(4, 2, 3, seed=1), Kind.RESID, (0, 1)),
    embedded_desired=normal(4, 3),
    embedded_undesired=normal(4, 3, seed=1),
    provenance=PROVENANCE,
)
UNPAIRED = Activations(normal(4, 2, 2, 3), normal(5, 2, 2, 3), Kind.HEAD, (3, 1), paired=False)
THINGS: dict[str, Any] = {
    "CAA": CAA.fit(ACTIVATIONS.at(LAYER)).with_strength(-0.5),
    "Additive": Additive((Site(2), Site(0, Kind.HEAD)), (normal(3), normal(2, 3).bfloat16())),
    "Random": Random.fit(ACTIVATIONS.at(LAYER), seed=7),
    "Activations": ACTIVATIONS,
    "Activations unpaired": UNPAIRED,
    "LayerActivations": ACTIVATIONS.at(LAYER),
    "LayerActivations of tensors": LayerActivations.from_tensors(normal(2, 3), normal(1, 3)),
    "ContrastStats": ContrastStats.of(ACTIVATIONS),
    "ContrastStats unpaired": ContrastStats.of(UNPAIRED),
    "Moments": Moments.of(normal(4, 2, 3)),
}
everything = pytest.mark.parametrize("name", THINGS)


@pytest.fixture(scope="module")
def fitted(load: Loader, pairs: ContrastivePairs) -> Callable[..., CAA]:
    """`fitted(model)`: CAA of that model, with its provenance."""

    def fit(model: Any) -> CAA:
        return CAA.fit(capture(model, pairs, "resid", progress=False).at(LAYER))

    return fit


@everything
def test_what_was_saved_is_loaded_bit_by_bit(name: str, tmp_path: Path) -> None:
    thing, path = THINGS[name], tmp_path / "thing.safetensors"
    save(thing, path)
    assert same(load(path), thing)
    save(load(path), tmp_path / "again.safetensors")
    assert (tmp_path / "again.safetensors").read_bytes() == path.read_bytes()


@everything
def test_the_same_thing_gives_the_same_bytes_under_any_name(name: str, tmp_path: Path) -> None:
    thing = THINGS[name]
    save(thing, tmp_path / "a.safetensors")
    save(deepcopy(thing), str(tmp_path / "b.bin"))
    assert (tmp_path / "a.safetensors").read_bytes() == (tmp_path / "b.bin").read_bytes()


@everything
def test_bytes_do_not_depend_on_how_torch_prints(name: str, tmp_path: Path) -> None:
    save(THINGS[name], tmp_path / "a")
    torch.set_printoptions(precision=2)
    try:
        save(THINGS[name], tmp_path / "b")
    finally:
        torch.set_printoptions(profile="default")
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


@everything
def test_the_file_is_safetensors_and_nothing_is_unpickled(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*args: Any, **kwargs: Any) -> Any:
        raise AssertionError("pickle")

    for forbidden in ("torch.load", "torch.save", "pickle.load", "pickle.loads", "pickle.dumps"):
        monkeypatch.setattr(forbidden, refuse)
    path = tmp_path / "thing"
    save(THINGS[name], path)
    load(path)
    describe(path)
    data = path.read_bytes()
    (size,) = struct.unpack("<Q", data[:8])
    header = json.loads(data[8 : 8 + size])
    ends = [entry["data_offsets"][1] for key, entry in header.items() if key != "__metadata__"]
    assert len(data) == 8 + size + max(ends)
    json.loads(header["__metadata__"]["lens_steer"])


strengths = st.floats(allow_nan=False, allow_infinity=False)
dtypes = st.sampled_from([torch.float16, torch.bfloat16, torch.float32, torch.float64])
texts = st.text(st.characters(exclude_categories=["Cs"]))


@st.composite
def vectors(draw: st.DrawFn) -> Tensor:
    rows, width = draw(st.integers(1, 2)), draw(st.integers(1, 4))
    bound = st.floats(-6e4, 6e4, width=16)
    values = draw(st.lists(bound, min_size=rows * width, max_size=rows * width))
    return torch.tensor(values, dtype=draw(dtypes)).reshape((rows, width) if rows > 1 else width)


probes = st.lists(st.floats(allow_nan=False, allow_infinity=False), max_size=3).map(tuple)
seeds = st.integers(0, 2**63)


@settings(max_examples=25)
@given(
    cls=st.sampled_from([Additive, CAA, Random]),
    at=st.dictionaries(
        st.tuples(st.integers(0, 9), st.sampled_from([kind for kind in Kind if kind.editable])),
        vectors(),
        min_size=1,
        max_size=3,
    ),
    strength=strengths,
    name=texts,
    sizes=st.lists(st.integers(1, 2**40), min_size=6, max_size=6),
    norms=probes,
    versions=st.dictionaries(texts, texts, max_size=3),
    seed=seeds,
)
def test_any_method_comes_back_as_it_was(
    tmp_path_factory: pytest.TempPathFactory,
    cls: Any,
    at: dict[tuple[int, Kind], Tensor],
    strength: float,
    name: str,
    sizes: list[int],
    norms: tuple[float, ...],
    versions: dict[str, str],
    seed: int,
) -> None:
    seen = Fingerprint(name, *sizes, processed=True, dtype=name, norms=norms, projections=norms)
    source = Provenance(seen, name, name, seed, versions) if sizes[0] % 2 else None
    options: dict[str, Any] = {"seed": seed} if cls is Random else {}
    places = tuple(Site(layer, kind) for layer, kind in at)
    method = cls(places, tuple(at.values()), strength=strength, provenance=source, **options)
    path = tmp_path_factory.mktemp("any") / "method"
    save(method, path)
    assert same(load(path), method)


def test_saving_does_not_change_or_share_what_was_saved(tmp_path: Path) -> None:
    whole = normal(2, 3)
    method = Additive((Site(0), Site(1)), (whole[0], whole.T[0]))  # a view, and one with strides
    before = deepcopy(method)
    save(method, tmp_path / "m")
    assert same(method, before)
    assert same(load(tmp_path / "m"), before)


def test_the_header_says_what_the_method_is_and_where_it_comes_from(
    model: Any, fitted: Callable[..., CAA], tmp_path: Path
) -> None:
    method = Random.like(fitted(model), seed=5).with_strength(2.0)
    save(method, tmp_path / "m")
    header = describe(tmp_path / "m")
    assert header["hook_names"] == [f"blocks.{LAYER}.hook_resid_post"]
    assert header["shown"] == repr(method)
    content = header["content"]
    assert content["type"] == "Random"
    assert (content["fields"]["seed"], content["fields"]["strength"]) == (5, 2.0)
    source = content["fields"]["provenance"]["fields"]
    assert (source["data"], source["read"], source["seed"]) == ("tiny", "last", None)
    packages = ("lens-steer", "transformer-lens", "torch", "transformers")
    assert source["versions"] == {"map": {name: version(name) for name in packages}}
    fingerprint = source["fingerprint"]["fields"]
    seen = attach(model).fingerprint
    assert (fingerprint["architecture"], fingerprint["n_layers"]) == (seen.architecture, 4)
    assert (fingerprint["processed"], fingerprint["dtype"]) == (False, "float32")
    assert fingerprint["norms"] == list(seen.norms)
    json.dumps(header)


def test_the_seed_of_the_provenance_is_kept(tmp_path: Path) -> None:
    save(THINGS["CAA"], tmp_path / "m")
    assert describe(tmp_path / "m")["content"]["fields"]["provenance"]["fields"]["seed"] == 3


def test_a_loaded_method_steers_as_the_one_that_was_saved(
    model: Any, fitted: Callable[..., CAA], tmp_path: Path
) -> None:
    method = fitted(model)
    save(method, tmp_path / "m")
    found = load(tmp_path / "m", model=model)
    x = normal(5, model.cfg.d_model)
    (ours,), (theirs,) = found.edits(model).values(), method.edits(model).values()
    assert torch.equal(ours(x), theirs(x))


def processed(raw: Any, fresh_model: Loader, backend: str) -> Any:
    """The same weights, folded and centred as TransformerLens does by default."""
    if backend == "bridge":
        model = fresh_model("gpt2")
        model.enable_compatibility_mode()
        return model
    from transformer_lens import HookedTransformer

    folded = HookedTransformer(deepcopy(raw.cfg), raw.tokenizer)
    weights = {name: value.clone() for name, value in raw.state_dict().items()}
    folded.load_and_process_state_dict(weights)
    return folded.eval()


@pytest.mark.parametrize("backend", BACKENDS)
def test_processed_weights_refuse_what_was_fitted_on_raw_ones_and_the_reverse(
    backend: str,
    load: Loader,
    fresh_model: Loader,
    fitted: Callable[..., CAA],
    tmp_path: Path,
) -> None:
    from lens_steer.artifacts import load as read

    raw = load("gpt2", backend)
    folded = processed(raw, fresh_model, backend)
    for name, model in (("raw", raw), ("folded", folded)):
        save(fitted(model), tmp_path / name)
        read(tmp_path / name, model=model)
    with pytest.raises(ValueError, match="processed False against True"):
        read(tmp_path / "raw", model=folded)
    with pytest.raises(ValueError, match="processed True against False"):
        read(tmp_path / "folded", model=raw)


@pytest.mark.skipif(not HAS_HOOKED, reason="TransformerLens 4 has no HookedTransformer")
@pytest.mark.parametrize("architecture", ["gpt2", "llama", "gemma3", "neox"])
def test_what_was_fitted_on_one_class_is_taken_by_the_other(
    architecture: str, load: Loader, fitted: Callable[..., CAA], tmp_path: Path
) -> None:
    from lens_steer.artifacts import load as read

    bridge, hooked = load(architecture), load(architecture, "hooked")
    for name, source, target in (("b", bridge, hooked), ("h", hooked, bridge)):
        method = fitted(source)
        save(method, tmp_path / name)
        assert same(read(tmp_path / name, model=target), method)


def test_a_model_in_another_dtype_takes_the_method(
    fresh_model: Loader, llama: Any, fitted: Callable[..., CAA], tmp_path: Path
) -> None:
    save(fitted(llama), tmp_path / "m")
    assert same(
        load(tmp_path / "m", model=fresh_model("llama", dtype=torch.bfloat16)), fitted(llama)
    )


def test_another_architecture_is_refused_and_what_differs_is_named(
    llama: Any, gpt2: Any, fitted: Callable[..., CAA], tmp_path: Path
) -> None:
    save(fitted(llama), tmp_path / "m")
    with pytest.raises(
        ValueError, match="architecture LlamaForCausalLM against GPT2LMHeadModel.*fit it on this"
    ):
        load(tmp_path / "m", model=gpt2)
    assert same(load(tmp_path / "m"), fitted(llama))  # without a model nothing is checked


@pytest.fixture(scope="module")
def other_llama(tmp_path_factory: pytest.TempPathFactory) -> SteerableModel:
    return load_model(write_model("llama", tmp_path_factory.mktemp("other"), seed=1), device="cpu")


@pytest.mark.parametrize("kind", ["method", "activations", "layer", "statistics"])
def test_other_weights_of_the_same_shape_are_refused(
    kind: str, llama: Any, other_llama: Any, pairs: ContrastivePairs, tmp_path: Path
) -> None:
    found = capture(llama, pairs, "resid", progress=False)
    things = {
        "method": CAA.fit(found.at(LAYER)),
        "activations": found,
        "layer": found.at(LAYER),
        "statistics": ContrastStats.of(found),
    }
    save(things[kind], tmp_path / "m")
    with pytest.raises(ValueError, match="weights: the probe's residual stream differs from layer"):
        load(tmp_path / "m", model=other_llama)
    assert same(load(tmp_path / "m", model=llama), things[kind])


def test_without_provenance_another_model_takes_the_method_if_it_fits(
    llama: Any, other_llama: Any, fitted: Callable[..., CAA], tmp_path: Path
) -> None:
    method = fitted(llama).without_provenance()
    save(method, tmp_path / "m")
    assert same(load(tmp_path / "m", model=other_llama), method)


@pytest.mark.parametrize(
    ("method", "reason"),
    [
        (Additive((Site(9),), (normal(32),)), "layer 9: this model has 4"),
        (Additive((Site(0),), (normal(7),)), r"shape \(7,\), but this model holds \(32,\)"),
    ],
)
def test_a_method_made_by_hand_is_refused_where_it_does_not_fit(
    method: Additive, reason: str, llama: Any, tmp_path: Path
) -> None:
    save(method, tmp_path / "m")
    with pytest.raises(ValueError, match=reason):
        load(tmp_path / "m", model=llama)


# Files that are not what save wrote.


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    save(THINGS["CAA"], tmp_path / "m")
    return tmp_path / "m"


@pytest.mark.parametrize("read", [load, describe])
def test_a_missing_file_is_named(read: Callable[..., Any], tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no file .*nothing.*"):
        read(tmp_path / "nothing")
    with pytest.raises(ValueError, match="no file"):
        read(tmp_path)


def test_a_file_cut_short_anywhere_is_refused(saved: Path) -> None:
    data = saved.read_bytes()
    (size,) = struct.unpack("<Q", data[:8])
    for length in (0, 1, 7, 8, 9, 8 + size // 2, 8 + size, len(data) - 1):
        saved.write_bytes(data[:length])
        with pytest.raises(ValueError, match="not a whole file of lens_steer"):
            load(saved)


def test_bytes_added_to_the_end_are_refused(saved: Path) -> None:
    saved.write_bytes(saved.read_bytes() + b"\0")
    with pytest.raises(ValueError, match="not a whole file of lens_steer"):
        load(saved)


@given(where=st.floats(0, 1, exclude_max=True), change=st.integers(1, 255))
def test_an_altered_byte_is_noticed_or_changes_nothing(
    tmp_path_factory: pytest.TempPathFactory, where: float, change: int
) -> None:
    path = tmp_path_factory.mktemp("altered") / "m"
    save(THINGS["CAA"], path)
    data = bytearray(path.read_bytes())
    data[int(where * len(data))] ^= change
    path.write_bytes(data)
    try:
        found = load(path)
    except ValueError:
        return
    assert same(found, THINGS["CAA"])


def test_an_altered_byte_of_a_tensor_is_refused(saved: Path) -> None:
    data = bytearray(saved.read_bytes())
    data[-2] ^= 1  # a finite vector stays finite
    saved.write_bytes(data)
    with pytest.raises(ValueError, match="not a whole file of lens_steer"):
        load(saved)


def test_an_altered_setting_in_the_header_is_refused(saved: Path) -> None:
    data = saved.read_bytes()
    old, new = rb"\"strength\": -0.5", rb"\"strength\": -9.5"
    assert data.count(old) == 1
    saved.write_bytes(data.replace(old, new))
    with pytest.raises(ValueError, match="not a whole file of lens_steer"):
        load(saved)


@pytest.mark.parametrize("content", [b"", b"\0" * 64, b"text", b"PK\x03\x04 a zip", b"\x80\x04."])
def test_other_files_are_refused(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "f").write_bytes(content)
    with pytest.raises(ValueError, match="not a whole file of lens_steer"):
        load(tmp_path / "f")


def test_a_file_of_torch_save_is_refused(tmp_path: Path) -> None:
    torch.save({"vector": normal(3)}, tmp_path / "f")
    with pytest.raises(ValueError, match="not a whole file of lens_steer"):
        load(tmp_path / "f")


@pytest.mark.parametrize("metadata", [None, {}, {"format": "pt"}, {"lens_steer": "not json"}])
def test_safetensors_without_our_header_are_refused(
    metadata: dict[str, str] | None, tmp_path: Path
) -> None:
    save_file({"weight": normal(3)}, tmp_path / "f", metadata=metadata)
    with pytest.raises(ValueError, match="not a whole file of lens_steer"):
        load(tmp_path / "f")


def rewritten(path: Path, change: Callable[[Any], Any]) -> Path:
    """The file with another header; its tensors stay."""
    with path.open("rb") as opened:
        (size,) = struct.unpack("<Q", opened.read(8))
        header = json.loads(json.loads(opened.read(size))["__metadata__"]["lens_steer"])
    tensors = load_file(path)
    changed = change(header)
    if isinstance(changed, dict):
        changed["sha256"] = digest(changed, tensors)
    save_file(tensors, path, metadata={"lens_steer": json.dumps(changed)})
    return path


def digest(header: dict[str, Any], tensors: dict[str, Tensor]) -> str:
    """Written from the documentation: header without the digest, then the tensors by name."""
    rest = {name: value for name, value in header.items() if name != "sha256"}
    found = hashlib.sha256(json.dumps(rest, sort_keys=True).encode())
    for name, tensor in sorted(tensors.items()):
        found.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        found.update(tensor.numpy().tobytes())
    return found.hexdigest()


@pytest.mark.parametrize("read", [load, describe])
@pytest.mark.parametrize("future", [2, 99, None, "1"])
def test_a_format_of_another_version_is_refused(
    future: Any, read: Callable[..., Any], saved: Path
) -> None:
    rewritten(saved, lambda header: header | {"format": future})
    message = f"has format {future!r}, this version reads 1: use the ver"
    with pytest.raises(ValueError, match=message):
        read(saved)


def test_a_type_that_is_not_known_is_named(saved: Path) -> None:
    def change(header: Any) -> Any:
        header["content"]["type"] = "Telepathy"
        return header

    with pytest.raises(ValueError, match="Telepathy"):
        load(rewritten(saved, change))


@pytest.mark.parametrize(
    "header",
    [
        *([], "text", 1, None, {}),
        {"format": 1},
        *({"format": 1, "content": content} for content in (None, 3, "text", [], {}, {"map": {}})),
        {"format": 1, "content": {"type": "CAA"}},
        {"format": 1, "content": {"type": "CAA", "fields": []}},
        {"format": 1, "content": {"type": "CAA", "fields": {"nothing": 1}}},
        {"format": 1, "content": {"type": ["CAA"], "fields": {}}},
        {"format": 1, "content": {"tensor": "elsewhere"}},
        {"format": 1, "content": {"enum": "Kind", "value": "smell"}},
    ],
    ids=str,
)
def test_headers_of_another_form_are_refused(header: Any, saved: Path) -> None:
    with pytest.raises(ValueError, match=r"save it again|use the version of lens_steer"):
        load(rewritten(saved, lambda _: header))


def test_a_setting_that_no_method_can_have_is_refused(saved: Path) -> None:
    def change(header: Any) -> Any:
        header["content"]["fields"]["at"] = []
        return header

    with pytest.raises(ValueError, match=r"vectors for the sites|does not know|not a whole file"):
        load(rewritten(saved, change))


@pytest.mark.usefixtures("untyped")
@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("provenance", "x"),
        ("provenance", {"map": {}}),
        ("at", None),
        ("strength", None),
        ("strength", "1"),
        ("strength", [1, [2]]),
        ("strength", {"tensor": "at.0"}),
    ],
)
def test_a_value_of_another_type_is_refused_when_it_is_loaded(
    field: str, value: Any, saved: Path
) -> None:
    def change(header: Any) -> Any:
        assert field in header["content"]["fields"]
        header["content"]["fields"][field] = value
        return header

    with pytest.raises(ValueError, match="use the version of lens_steer that wrote it") as found:
        load(rewritten(saved, change))
    assert "\n" not in str(found.value)


# Saving that fails.


@dataclass(frozen=True, eq=False, repr=False)
class Unknown(Intervention):
    @property
    def sites(self) -> tuple[Site, ...]:
        return (Site(0),)

    def edits(self, model: SteerableModel) -> dict[Site, Edit]:
        del model
        return {}


@pytest.mark.parametrize("thing", [Unknown(), normal(3), {"a": 1}, "text", None, CAA])
def test_only_what_lens_steer_knows_is_saved(thing: Any, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="got thing=.*, expected a value of lens_steer to save"):
        save(thing, tmp_path / "m")
    assert not list(tmp_path.iterdir())


def test_a_users_own_class_of_a_known_name_is_not_saved_as_ours(tmp_path: Path) -> None:
    impostor = type("CAA", (Unknown,), {"__module__": "elsewhere"})
    with pytest.raises(ValueError, match="expected a value of lens_steer to save"):
        save(impostor(), tmp_path / "m")


def test_a_missing_folder_is_named_and_not_made(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no folder .*missing.* make it first"):
        save(THINGS["CAA"], tmp_path / "missing" / "m")
    assert not list(tmp_path.iterdir())


def test_a_save_that_fails_leaves_the_older_file_and_nothing_else(
    saved: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = saved.read_bytes()

    def fill_the_disk(tensors: Any, filename: Any, **options: Any) -> None:
        Path(filename).write_bytes(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("safetensors.torch.save_file", fill_the_disk)
    with pytest.raises(OSError, match="No space left"):
        save(THINGS["Random"], saved)
    assert saved.read_bytes() == before
    assert [path.name for path in saved.parent.iterdir()] == [saved.name]


def test_what_cannot_be_written_leaves_the_older_file(saved: Path) -> None:
    before = saved.read_bytes()
    with pytest.raises(ValueError, match="cannot save the set at 'report'"):
        save(replace(THINGS["CAA"], report={1, 2}), saved)
    assert saved.read_bytes() == before
    assert [path.name for path in saved.parent.iterdir()] == [saved.name]


def test_a_fingerprint_that_would_fit_any_model_is_refused() -> None:
    with pytest.raises(ValueError, match="fingerprint"):
        replace(FINGERPRINT, norms=(float("nan"), 1.0))


def test_a_save_replaces_the_older_file_and_leaves_nothing_else(saved: Path) -> None:
    save(THINGS["Random"], saved)
    assert same(load(saved), THINGS["Random"])
    assert [path.name for path in saved.parent.iterdir()] == [saved.name]


def test_a_folder_in_the_place_of_the_file_stays(tmp_path: Path) -> None:
    (tmp_path / "m").mkdir()
    with pytest.raises((ValueError, OSError), match="m"):
        save(THINGS["CAA"], tmp_path / "m")
    assert [path.name for path in tmp_path.iterdir()] == ["m"]
    assert not list((tmp_path / "m").iterdir())
