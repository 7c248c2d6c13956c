from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from torch import Tensor

import lens_steer as ls
from lens_steer.attribution import contrast, contrast_in_resid, contrast_norm
from lens_steer.models import decode_continuation, encode, encode_prompt, eos_ids, unsteered
from lens_steer.sites import Kind, Site, site_shape
from lens_steer.steering import Additive, FrozenSADI, Intervention, SignedSADI
from tests.conftest import ARCHITECTURES, BACKENDS, HEADS, LAYERS, WIDTH, Loader
from tests.interventions import Recorder, padded, push, rows_of, run, watched
from tests.numpy_models import Array, NumpyModel, read_model
from tests.reference import sadi_frozen, sadi_gain, sadi_online, sadi_scores, sadi_selection

# Float32 against float64, of the largest logit: transformers' own float32 llama is 1e-5 away, and
# an element scaled by 5 brings that to 1.6e-5.
PARITY = 3e-5
# Float64 against float64; Llama's norms are float32 in transformers whatever the weights are.
EXACT = {"gpt2": 1e-13, "llama": 1e-5}
# The same products in another order, in float32, of the largest logit.
REORDERED = 1e-5
KINDS = ("head", "gate", "neuron", "mlp_out")
SIZES = {"head": 3, "gate": 20, "neuron": 20, "mlp_out": 10}


class Twins(NamedTuple):
    """The same weights in TransformerLens and in numpy."""

    model: Any
    oracle: NumpyModel
    name: str


def twin_parameters() -> list[Any]:
    return [pytest.param((a, b), id=f"{a}-{b}") for a in ("llama", "gpt2") for b in BACKENDS]


@pytest.fixture(scope="module", params=twin_parameters())
def twins(request: pytest.FixtureRequest, load: Loader, model_dirs: dict[str, Path]) -> Twins:
    name, backend = request.param
    return Twins(load(name, backend), read_model(model_dirs[name]), name)


def captured(model: Any, pairs: ls.ContrastivePairs, kind: str) -> ls.Activations:
    return ls.capture(model, pairs, kind, read="last", progress=False)


def chosen(model: Any, pairs: ls.ContrastivePairs, kind: str) -> ls.ElementMask:
    return contrast(captured(model, pairs, kind)).top(SIZES[kind])


def drawn_mask(model: Any, kind: str, *, share: float = 0.2, seed: int = 0) -> ls.ElementMask:
    layers, elements = model.cfg.n_layers, site_shape(model, Kind(kind))[0]
    draw = torch.rand(layers, elements, generator=torch.Generator().manual_seed(seed))
    return ls.ElementMask(draw < share, Kind(kind), tuple(range(layers)))


@pytest.mark.parametrize("kind", KINDS)
def test_transform_does_what_the_hook_does(llama: Any, kind: str) -> None:
    mask = drawn_mask(llama, kind)
    methods: list[Intervention] = [ls.SADI(mask, 2.0, strength=0.5)]
    if kind != "gate":
        shape = site_shape(llama, Kind(kind))
        signs = torch.randn(len(mask.layers), *shape).sign()
        methods.append(SignedSADI(mask, signs, 0.3))
    for method in methods:
        for site, edit in method.edits(llama).items():
            x = torch.randn(2, 3, *site_shape(llama, site.kind))
            expected = edit(x.flatten(0, 1)).reshape(x.shape)
            assert torch.equal(method.transform(x, site), expected)
            assert method.transform(x.bfloat16(), site).dtype is torch.bfloat16
            assert torch.equal(method.with_strength(0).transform(x, site), x)
        with pytest.raises(ValueError, match="got activations of shape"):
            method.transform(torch.ones(2, 7), method.sites[0])
    with pytest.raises(ValueError, match="its prompt, or another site"):
        FrozenSADI(mask, 2.0).transform(torch.ones(2, 7))


def texts_of(model: Any, pairs: ls.ContrastivePairs) -> tuple[list[list[int]], list[int]]:
    """Tokens of the desired examples, and how many of them are the prompt's."""
    rows = [encode(model, example.prompt, example.continuation) for example in pairs.desired]
    return [list(row.ids) for row in rows], [row.prompt_length for row in rows]


def assert_steers_like(
    twins: Twins,
    pairs: ls.ContrastivePairs,
    method: Intervention,
    expected: Callable[[list[int], int], Array],
) -> None:
    """Logits of a batch, padded on either side, are the oracle's, and not the clean model's."""
    rows, lengths = texts_of(twins.model, pairs)
    wanted = [expected(row, length) for row, length in zip(rows, lengths, strict=True)]
    for row, steered in zip(rows, wanted, strict=True):
        assert np.abs(twins.oracle(row) - steered).max() > 1e3 * PARITY * np.abs(steered).max()
    for side in ("left", "right"):
        batch = padded(twins.model, rows, side)
        given = {"scope": "last", "prompt_lengths": lengths}
        with torch.no_grad(), ls.steered(twins.model, method, **given):
            logits = run(twins.model, batch.tokens, batch.mask)
        for found, real, steered in zip(logits, batch.real, wanted, strict=True):
            apart = np.abs(found[torch.tensor(real)].double().numpy() - steered).max()
            assert apart < PARITY * np.abs(steered).max(), side


def logits_of(model: Any, *methods: Intervention) -> Tensor:
    batch = padded(model, rows_of(model), "left")
    assert batch.mask is not None
    with torch.no_grad(), ls.steered(model, *methods, scope="all", sink=True):
        return run(model, batch.tokens, batch.mask)[batch.mask]


def assert_close(a: Tensor, b: Tensor) -> None:
    assert float((a - b).abs().max()) < REORDERED * float(b.abs().max())


# ---- parity with the equations ----


def test_the_oracle_gives_the_logits_of_transformers(
    model_dirs: dict[str, Path], pairs: ls.ContrastivePairs, load: Loader
) -> None:
    from transformers import AutoModelForCausalLM

    for name in ("llama", "gpt2"):
        oracle = read_model(model_dirs[name])
        original: Any = AutoModelForCausalLM.from_pretrained(model_dirs[name]).double()
        for row in texts_of(load(name), pairs)[0]:
            with torch.no_grad():
                logits = original(torch.tensor([row])).logits[0].numpy()
            assert np.abs(oracle(row) - logits).max() < EXACT[name] * np.abs(logits).max()


@pytest.mark.parametrize("kind", KINDS)
def test_the_elements_chosen_are_the_oracles(
    twins: Twins, pairs: ls.ContrastivePairs, kind: str
) -> None:
    sides = [
        [encode(twins.model, e.prompt, e.continuation).ids for e in side]
        for side in (pairs.desired, pairs.undesired)
    ]
    scores = sadi_scores(twins.oracle, list(zip(*sides, strict=True)), kind)
    found = contrast(captured(twins.model, pairs, kind))
    np.testing.assert_allclose(found.values, scores, atol=PARITY * np.abs(scores).max())
    for k in (1, SIZES[kind], scores.size // 2):
        assert set(found.top(k).elements()) == sadi_selection(scores, k)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("delta", [2.0, -1.0])
def test_sadi_scales_from_the_last_prompt_token_on(
    twins: Twins, pairs: ls.ContrastivePairs, kind: str, delta: float
) -> None:
    mask = chosen(twins.model, pairs, kind)
    gain = sadi_gain(mask.selected.shape, set(mask.elements()), delta)
    assert_steers_like(
        *(twins, pairs, ls.SADI(mask, delta)),
        lambda row, prompt: sadi_online(twins.oracle, row, prompt, kind, gain),
    )


@pytest.mark.parametrize("kind", KINDS)
def test_a_strength_as_published_is_one_more_than_delta(
    twins: Twins, pairs: ls.ContrastivePairs, kind: str
) -> None:
    method = ls.SADI.fit_published(captured(twins.model, pairs, kind), SIZES[kind], 5)
    gain = sadi_gain(method.mask.selected.shape, set(method.mask.elements()), 4.0)
    assert method.mask.elements() == chosen(twins.model, pairs, kind).elements()
    assert_steers_like(
        *(twins, pairs, method),
        lambda row, prompt: sadi_online(twins.oracle, row, prompt, kind, gain),
    )


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("strength", [3, 0, 5])
def test_frozen_sadi_is_the_published_code(
    twins: Twins, pairs: ls.ContrastivePairs, kind: str, strength: int
) -> None:
    method = FrozenSADI.fit_published(captured(twins.model, pairs, kind), SIZES[kind], strength)
    gain = sadi_gain(method.mask.selected.shape, set(method.mask.elements()), strength - 1.0)
    assert_steers_like(
        *(twins, pairs, method),
        lambda row, prompt: sadi_frozen(twins.oracle, row, prompt, kind, gain),
    )


def test_delta_may_be_a_number_for_each_element(twins: Twins, pairs: ls.ContrastivePairs) -> None:
    mask = chosen(twins.model, pairs, "neuron")
    delta = 3 * torch.randn(mask.selected.shape, generator=torch.Generator().manual_seed(1))
    gain = sadi_gain(delta.shape, set(mask.elements()), delta.double().numpy())
    for method, oracle in (
        (ls.SADI(mask, delta), sadi_online),
        (FrozenSADI(mask, delta), sadi_frozen),
    ):
        assert_steers_like(
            *(twins, pairs, method),
            lambda row, prompt, of=oracle: of(twins.oracle, row, prompt, "neuron", gain),
        )


@pytest.mark.parametrize("cls", [ls.SADI, FrozenSADI])
@pytest.mark.parametrize("use_cache", [True, False])
def test_generated_text_is_the_oracles(
    twins: Twins, pairs: ls.ContrastivePairs, cls: type[ls.SADI], use_cache: bool
) -> None:
    model, prompts = twins.model, list(pairs.prompts)
    mask = chosen(model, pairs, "head")
    gain = sadi_gain(mask.selected.shape, set(mask.elements()), 4.0)
    oracle = sadi_online if cls is ls.SADI else sadi_frozen
    expected = []
    for prompt in prompts:
        row = encode_prompt(model, prompt)
        new: list[int] = []
        while len(new) < 6 and not set(eos_ids(model)) & set(new):
            logits = oracle(twins.oracle, [*row, *new], len(row), "head", gain)
            new.append(int(logits[-1].argmax()))
        expected.append(
            decode_continuation(model, row, [t for t in new if t not in eos_ids(model)])
        )
    how: dict[str, Any] = {"temperature": 0.0, "max_new_tokens": 6, "use_cache": use_cache}
    assert ls.generate(model, prompts, cls(mask, 4.0), **how) == expected


# ---- strength and layers ----


def test_strength_zero_leaves_the_logits_as_they_are(model: Any) -> None:
    clean = logits_of(model)
    mask = drawn_mask(model, "head")
    signs = torch.ones(*mask.selected.shape, model.cfg.d_head)
    for method in (
        ls.SADI(mask, 4.0),
        FrozenSADI(mask, 4.0),
        SignedSADI(mask, signs, 4.0),
    ):
        assert not torch.equal(logits_of(model, method), clean)
        assert torch.equal(logits_of(model, method.with_strength(0)), clean)


@pytest.mark.parametrize("cls", [ls.SADI, FrozenSADI])
def test_half_the_strength_is_half_the_delta(llama: Any, cls: type[ls.SADI]) -> None:
    mask = drawn_mask(llama, "neuron")
    half = logits_of(llama, cls(mask, 2.0).with_strength(0.5))
    assert torch.equal(half, logits_of(llama, cls(mask, 1.0)))


def test_layers_of_a_mask_may_be_few_and_in_any_order(
    llama: Any, pairs: ls.ContrastivePairs
) -> None:
    some = ls.capture(llama, pairs, "head", layers=[3, 1], progress=False)
    mask = contrast(some).top(2)
    assert {layer for layer, _ in mask.elements()} <= {1, 3}
    whole = torch.zeros(LAYERS, HEADS, dtype=torch.bool)
    for place in mask.elements():
        whole[place] = True
    same = ls.ElementMask(whole, Kind.HEAD, (0, 1, 2, 3))
    assert torch.equal(logits_of(llama, ls.SADI(mask, 3.0)), logits_of(llama, ls.SADI(same, 3.0)))


def test_frozen_sadi_holds_the_other_elements_at_their_clean_values(llama: Any) -> None:
    selected = torch.zeros(LAYERS, HEADS, dtype=torch.bool)
    selected[0, 1] = True
    method = FrozenSADI(ls.ElementMask(selected, Kind.HEAD, (0, 1, 2, 3)), 10.0)
    tokens, late = torch.tensor(rows_of(llama, ["The cat sat"])), Site(3, Kind.HEAD)
    with torch.no_grad():
        clean = watched(llama, late, lambda: run(llama, tokens, None))[:, -1]
        for steering, held in ((method, True), (ls.SADI(method.mask, 10.0), False)):
            recorder = Recorder(site=late)
            with ls.steered(llama, steering, recorder):
                run(llama, tokens, None)
            assert torch.equal(recorder.seen[-1], clean) == held


def test_frozen_sadi_edits_only_the_rows_whose_prompt_end_is_in_scope(llama: Any) -> None:
    rows = rows_of(llama)
    method = FrozenSADI(drawn_mask(llama, "head"), 3.0)
    batch = padded(llama, rows, "right")
    scope = (len(rows[1]) - 1,)
    with torch.no_grad():
        clean = run(llama, batch.tokens, batch.mask)
        with ls.steered(llama, method, scope=scope):
            logits = run(llama, batch.tokens, batch.mask)
        with ls.steered(llama, method):
            alone = run(llama, torch.tensor([rows[1]]), None)[0]
    assert_close(logits[1, : len(rows[1])], alone)
    assert torch.equal(logits[0], clean[0])


@pytest.mark.parametrize("backend", BACKENDS)
def test_frozen_sadi_gives_the_same_text_uncached_when_rows_end_at_different_times(
    load: Loader, pairs: ls.ContrastivePairs, backend: str
) -> None:
    model, prompts = load("gpt2", backend), list(pairs.prompts)
    frozen = FrozenSADI(drawn_mask(model, "neuron"), 3.0)
    end = 16 * model.unembed.W_U[:, eos_ids(model)[0]].detach()
    methods = (frozen, Additive((Site(LAYERS - 1),), (end,)))
    how: dict[str, Any] = {"seed": 0, "temperature": 1.0, "max_new_tokens": 30}
    cached = ls.generate(model, prompts, *methods, **how)
    assert sorted(len(text) for text in cached)[2] < 30
    assert ls.generate(model, prompts, *methods, use_cache=False, **how) == cached


# ---- weights ----


@pytest.mark.parametrize("kind", ["head", "neuron", "mlp_out", "attn_out"])
def test_folded_weights_do_what_the_hooks_do(
    request: pytest.FixtureRequest, model: Any, kind: str
) -> None:
    method = ls.SADI(drawn_mask(model, kind), 3.0).with_strength(0.5)
    before = logits_of(model)
    if kind.endswith("_out") and request.node.callspec.params["model"][0].startswith("gemma"):
        with pytest.raises(ValueError, match="behind a norm"):
            method.fold_into_weights(model)
        return
    folded = method.fold_into_weights(model)
    assert_close(logits_of(folded), logits_of(model, method))
    assert float((logits_of(folded) - before).abs().max()) > 1e-2
    assert torch.equal(logits_of(model), before)


@pytest.mark.parametrize("kind", ["head", "neuron"])
@pytest.mark.parametrize("name", ARCHITECTURES)
def test_processed_weights_fold_as_well(fresh_model: Loader, name: str, kind: str) -> None:
    model = fresh_model(name)
    model.enable_compatibility_mode(disable_warnings=True)
    method = ls.SADI(drawn_mask(model, kind), 1.5)
    assert_close(logits_of(method.fold_into_weights(model)), logits_of(model, method))


def test_folding_is_refused_where_no_weights_do_the_same(llama: Any) -> None:
    with pytest.raises(ValueError, match="no weights scale it alone"):
        ls.SADI(drawn_mask(llama, "resid"), 1.0).fold_into_weights(llama)
    with pytest.raises(ValueError, match="looks at the prompt first"):
        FrozenSADI(drawn_mask(llama, "head"), 1.0).fold_into_weights(llama)
    method = ls.SADI(drawn_mask(llama, "head"), 1.0)
    with (
        ls.steered(llama, push(llama)),
        pytest.raises(ValueError, match="fold outside the block"),
    ):
        method.fold_into_weights(llama)
    with (
        ls.steered(llama, push(llama)),
        unsteered(llama),  # its hooks are there still, and a copy would have them
        pytest.raises(ValueError, match="being steered: fold outside the block"),
    ):
        method.fold_into_weights(llama)


# ---- signed ----


@pytest.mark.parametrize("kind", ["head", "neuron", "mlp_out"])
def test_signed_sadi_pushes_towards_the_desired_sign(
    llama: Any, pairs: ls.ContrastivePairs, kind: str
) -> None:
    read = captured(llama, pairs, kind)
    drawn = drawn_mask(llama, kind, share=0.5)
    only = torch.arange(LAYERS)[:, None] == 1  # one layer: nothing before it moves
    mask = ls.ElementMask(drawn.selected & only, Kind(kind), drawn.layers)
    method, site = (
        SignedSADI.fit(read, mask, delta=2.0).with_strength(0.75),
        Site(1, Kind(kind)),
    )
    tokens = torch.tensor(rows_of(llama, ["The cat sat"]))
    with torch.no_grad():
        clean = watched(llama, site, lambda: run(llama, tokens, None))
        with ls.steered(llama, method, scope="all", sink=True):
            seen = watched(llama, site, lambda: run(llama, tokens, None))
    gap = read.desired[:, 1].double().mean(dim=0) - read.undesired[:, 1].double().mean(dim=0)
    on = mask.selected[1][:, None] if kind == "head" else mask.selected[1]
    torch.testing.assert_close(seen, clean + (1.5 * clean.abs() * gap.sign() * on).float())


# ---- planted ----


def planted(
    directory: Path, source: Path, heads: set[tuple[int, int]], neurons: set[tuple[int, int]]
) -> Path:
    """The tiny llama with all other heads' W_O and all other neurons' gates at 0."""
    from transformers import AutoModelForCausalLM, AutoTokenizer

    model: Any = AutoModelForCausalLM.from_pretrained(source)
    size = WIDTH // HEADS
    with torch.no_grad():
        for layer, block in enumerate(model.model.layers):
            for head in {h for h in range(HEADS) if (layer, h) not in heads}:
                block.self_attn.o_proj.weight[:, head * size : (head + 1) * size] = 0
            off = [n for n in range(model.config.intermediate_size) if (layer, n) not in neurons]
            block.mlp.gate_proj.weight[off] = 0
    model.save_pretrained(directory)
    AutoTokenizer.from_pretrained(source).save_pretrained(directory)
    return directory


@pytest.mark.parametrize("backend", BACKENDS)
def test_the_only_heads_and_neurons_that_carry_the_difference_are_found(
    model_dirs: dict[str, Path], tmp_path: Path, pairs: ls.ContrastivePairs, backend: Any
) -> None:
    heads, neurons = {(1, 2), (3, 0)}, {(1, 7), (2, 40), (3, 11)}
    place = planted(tmp_path / "planted", model_dirs["llama"], heads, neurons)
    model = ls.load_model(place, backend=backend, device="cpu")
    found = contrast_in_resid(model, captured(model, pairs, "head")).top(2)
    assert set(found.elements()) == heads
    for kind in ("gate", "neuron"):
        by_size = contrast(captured(model, pairs, kind)).top(3, "absolute")
        assert set(by_size.elements()) == neurons
    clean = logits_of(model)
    assert_close(logits_of(model, ls.SADI(~found, 4.0)), clean)
    assert float((logits_of(model, ls.SADI(found, 4.0)) - clean).abs().max()) > 0.1


def test_the_only_heads_that_differ_are_found_in_tensors() -> None:
    noise = torch.randn(50, LAYERS, HEADS, 8, generator=torch.Generator().manual_seed(0))
    desired = noise.clone()
    places = {(0, 3): 1.0, (2, 1): 2.0, (3, 3): -4.0}
    for (layer, head), size in places.items():
        desired[:, layer, head] += size
    read = ls.Activations(desired, noise, Kind.HEAD, (0, 1, 2, 3))
    scores = contrast(read)
    assert set(scores.top(2).elements()) == {(0, 3), (2, 1)}
    assert scores.top(1, "negative").elements() == [(3, 3)]
    assert set(scores.top(3, "absolute").elements()) == set(places)
    assert set(contrast_norm(read).top(3).elements()) == set(places)


# ---- saved ----


def test_methods_masks_and_scores_are_the_same_after_saving(
    llama: Any, pairs: ls.ContrastivePairs, tmp_path: Path
) -> None:
    read = captured(llama, pairs, "head")
    scores = contrast(read)
    mask = scores.top(3)
    each = torch.linspace(-1, 2, LAYERS * HEADS).reshape(LAYERS, HEADS)
    for method in (
        ls.SADI(mask, each, strength=0.5),
        FrozenSADI.fit_published(read, 3, 5),
        SignedSADI.fit(read, mask, delta=1.5),
    ):
        ls.save(method, tmp_path / "method")
        again = ls.load(tmp_path / "method", model=llama)
        assert type(again) is type(method)
        assert repr(again) == repr(method)
        assert torch.equal(logits_of(llama, again), logits_of(llama, method))
    ls.save(mask, tmp_path / "mask")
    same = ls.load(tmp_path / "mask", model=llama)
    assert torch.equal(same.selected, mask.selected)
    assert (same.kind, same.layers) == (mask.kind, mask.layers)
    assert same.provenance == mask.provenance
    ls.save(scores, tmp_path / "scores")
    back = ls.load(tmp_path / "scores", model=llama)
    for name in ("values", "error", "consistency"):
        assert torch.equal(getattr(back, name), getattr(scores, name))
    assert (back.name, back.kind, back.layers) == (scores.name, scores.kind, scores.layers)


# ---- what is refused ----


def mask_of(rows: int, columns: int, kind: str, layers: Sequence[int]) -> ls.ElementMask:
    return ls.ElementMask(torch.ones(rows, columns, dtype=torch.bool), Kind(kind), tuple(layers))


def test_a_mask_of_another_model_is_refused(llama: Any) -> None:
    for mask in (
        mask_of(4, HEADS + 1, "head", range(4)),
        mask_of(4, HEADS, "neuron", range(4)),
        mask_of(5, HEADS, "head", range(5)),
        mask_of(1, HEADS, "head", [LAYERS]),
    ):
        signs = torch.ones(*mask.selected.shape)
        for method in (
            ls.SADI(mask, 1.0),
            FrozenSADI(mask, 1.0),
            SignedSADI(mask, signs, 1.0),
        ):
            with pytest.raises(ValueError, match="but this model has"):
                method.hooks(llama)


def test_deltas_that_are_no_finite_numbers_are_refused(untyped: None) -> None:
    mask = mask_of(LAYERS, HEADS, "head", range(LAYERS))
    signs = torch.ones(LAYERS, HEADS, 8)
    for delta in (float("nan"), float("inf"), -float("inf")):
        for make in (
            ls.SADI,
            FrozenSADI,
            lambda m, d: SignedSADI(m, signs, d),
        ):
            with pytest.raises(ValueError, match="expected.* finite number"):
                make(mask, delta)
    with pytest.raises(ValueError, match="expected finite numbers"):
        ls.SADI(mask, torch.full((LAYERS, HEADS), float("nan")))
    with pytest.raises(ValueError, match="signs are not finite"):
        SignedSADI(mask, signs * float("nan"), 1.0)
    for odd in (True, torch.ones(LAYERS, HEADS, dtype=torch.bool)):
        with pytest.raises(ValueError, match="expected a number or a floating-point tensor"):
            ls.SADI(mask, odd)
    for shape in ((LAYERS,), (LAYERS, HEADS + 1), (1, HEADS), (LAYERS, HEADS, 1)):
        with pytest.raises(ValueError, match="expected (one each, or one for all|a number or)"):
            ls.SADI(mask, torch.ones(shape))


def test_signs_of_another_shape_are_refused(llama: Any, untyped: None) -> None:
    mask = mask_of(LAYERS, HEADS, "head", range(LAYERS))
    with pytest.raises(ValueError, match="signs of shape"):
        SignedSADI(mask, torch.ones(LAYERS, HEADS + 1, 8), 1.0)
    with pytest.raises(ValueError, match="made for activations of shape"):
        SignedSADI(mask, torch.ones(LAYERS, HEADS, 7), 1.0).hooks(llama)


def test_a_mask_that_chooses_nothing_or_is_none_is_refused(untyped: None) -> None:
    empty = ~mask_of(LAYERS, HEADS, "head", range(LAYERS))
    for cls in (ls.SADI, FrozenSADI):
        with pytest.raises(ValueError, match="chooses no element"):
            cls(empty, 1.0)
        with pytest.raises(ValueError, match="expected an ElementMask"):
            cls(torch.ones(4, 4), 1.0)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="expected an ElementMask"):
        SignedSADI(empty, torch.ones(LAYERS, HEADS, 8), 1.0)


def test_pairs_of_equal_sides_choose_nothing(llama: Any, pairs: ls.ContrastivePairs) -> None:
    for kind in KINDS:
        found = captured(llama, pairs, kind)
        read = replace(found, undesired=found.desired)
        for choose in (
            lambda read=read: contrast(read).top(1),
            lambda read=read: ls.SADI.fit_published(read, 1, 5),
            lambda read=read: FrozenSADI.fit_published(read, 1, 5),
        ):
            with pytest.raises(ValueError, match="all scores are 0"):
                choose()


def test_frozen_sadi_works_only_where_the_prompts_are_read_first(llama: Any) -> None:
    hooks = FrozenSADI(drawn_mask(llama, "head"), 1.0).hooks(llama)
    with pytest.raises(ValueError, match="it works in `steered` and `generate`"):
        llama.run_with_hooks(torch.tensor([[1, 2, 3]]), fwd_hooks=hooks)


def test_signs_of_a_gate_or_of_other_activations_are_refused(
    llama: Any, pairs: ls.ContrastivePairs
) -> None:
    gate = captured(llama, pairs, "gate")
    with pytest.raises(ValueError, match="capture 'neuron'"):
        SignedSADI.fit(gate, contrast(gate).top(3), delta=1.0)
    with pytest.raises(ValueError, match="expected the same kind and layers"):
        SignedSADI.fit(gate, drawn_mask(llama, "neuron"), delta=1.0)
