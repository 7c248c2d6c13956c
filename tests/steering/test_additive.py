"""Adding vectors: their algebra, CAA, random directions, and the record of where they are from."""

import inspect
from pathlib import Path
from typing import Any, cast

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

import lens_steer as ls
from lens_steer import steering
from lens_steer.models import attach
from lens_steer.sites import Kind, Site, site_shape
from lens_steer.steering import CAA, ActAdd, Additive, Random, ResidualITI, VectorMethod
from tests.conftest import BACKENDS, Loader
from tests.interventions import (
    all_kinds,
    drawn,
    manual_hook,
    padded,
    push,
    rows_of,
    run,
    watched,
)

# A float32 product and sum in another order than ours.
ROUNDING: dict[str, Any] = {"rtol": 1e-5, "atol": 1e-5}
# Means of a dozen float32 numbers of order 1, against float64.
MEAN_ROUNDING: dict[str, Any] = {"rtol": 1e-5, "atol": 1e-5}

numbers = st.floats(-4, 4, width=32)
CAPTURED = ("resid", "head", "neuron", "mlp_out", "attn_out")


def vectors_of(method: Additive) -> dict[Site, Tensor]:
    """What is added at each site, strength included."""
    return {site: method.strength * vector for site, vector in method.items()}


Parts = list[tuple[int, list[float]]]

parts = st.lists(
    st.tuples(st.integers(0, 3), st.lists(numbers, min_size=4, max_size=4)),
    min_size=1,
    max_size=3,
    unique_by=lambda part: part[0],
)


def built(of: Parts, strength: float) -> Additive:
    sites, vectors = zip(*of, strict=True)
    return Additive(tuple(map(Site, sites)), tuple(map(torch.tensor, vectors)), strength=strength)


# ---- algebra ----


@given(parts, parts, numbers, numbers, numbers)
def test_sums_and_multiples_add_what_their_parts_add(
    of_a: Parts, of_b: Parts, s: float, t: float, k: float
) -> None:
    a, b, zero = built(of_a, s), built(of_b, t), torch.zeros(4)
    combinations = {"k * a - b": (k * a - b, k, -1.0), "a * k + b": (a * k + b, k, 1.0)}
    for name, (method, times_a, times_b) in combinations.items():
        first, second = vectors_of(a), vectors_of(b)
        assert set(method.sites) == set(first) | set(second), name
        assert method.strength == 1.0, name
        for site, vector in vectors_of(method).items():
            by_hand = times_a * first.get(site, zero) + times_b * second.get(site, zero)
            torch.testing.assert_close(vector, by_hand, **ROUNDING)


@given(parts, numbers)
def test_minus_a_is_minus_one_times_a_and_the_same_twice_is_two_times(
    of_a: Parts, s: float
) -> None:
    a = built(of_a, s)
    for site, vector in vectors_of(-a).items():
        assert torch.equal(vector, -vectors_of(a)[site])
    for site, vector in vectors_of(a + a).items():
        torch.testing.assert_close(vector, vectors_of(2.0 * a)[site], **ROUNDING)


@given(parts, parts, numbers, numbers)
def test_the_algebra_leaves_its_operands_as_they_were(
    of_a: Parts, of_b: Parts, s: float, t: float
) -> None:
    a, b = built(of_a, s), built(of_b, t)
    before = [vector.clone() for vector in (*a.vectors, *b.vectors)]
    _ = 2.0 * a - b + a
    assert all(torch.equal(x, y) for x, y in zip((*a.vectors, *b.vectors), before, strict=True))
    assert (a.strength, b.strength) == (s, t)


def test_a_whole_number_times_a_method_is_a_method() -> None:
    a, b = built([(0, [1.0, 2.0, 3.0, 4.0])], 1.0), built([(1, [1.0, 1.0, 1.0, 1.0])], 1.0)
    method = 2 * a - b
    assert torch.equal(method.vectors[0], 2.0 * a.vectors[0])
    assert torch.equal(method.vectors[1], -b.vectors[0])
    assert a.with_strength(2).strength == 2


def test_sites_are_kept_in_the_order_of_the_forward_pass() -> None:
    late, early = torch.ones(4), torch.zeros(4)
    method = Additive((Site(3), Site(0)), (late, early))
    assert method.sites == (Site(0), Site(3))
    assert torch.equal(method.vectors[1], late)


def test_only_methods_that_add_can_be_added() -> None:
    a = Additive((Site(0),), (torch.ones(4),))
    for other in (1.0, torch.ones(4), "a"):
        with pytest.raises(TypeError):
            _ = a + other  # type: ignore[operator]


def test_a_sum_of_two_layers_steers_at_both(model: Any) -> None:
    tokens = padded(model, rows_of(model), "none").tokens
    a, b = push(model, layer=0), push(model, layer=2, seed=1).with_strength(0.5)
    everywhere = torch.ones(tokens.shape, dtype=torch.bool)
    by_hand = [
        ("blocks.0.hook_resid_post", manual_hook(a.vectors[0], everywhere)),
        ("blocks.2.hook_resid_post", manual_hook(0.5 * b.vectors[0], everywhere)),
    ]
    with torch.no_grad():
        expected = model.run_with_hooks(tokens, fwd_hooks=by_hand)
        with ls.steered(model, a + b, scope="all", sink=True):
            torch.testing.assert_close(run(model, tokens, None), expected, **ROUNDING)
        with ls.steered(model, a, b, scope="all", sink=True):
            torch.testing.assert_close(run(model, tokens, None), expected, **ROUNDING)


# ---- what is refused ----


@pytest.mark.parametrize(
    ("sites", "vectors"),
    [
        ((), ()),
        ((Site(0),), ()),
        ((Site(0), Site(0)), (torch.ones(4), torch.ones(4))),
        ((Site(0),), (torch.tensor([1.0, float("nan")]),)),
        ((Site(0),), (torch.tensor([1.0, float("inf")]),)),
    ],
)
def test_vectors_that_do_not_match_their_sites_or_are_not_finite_are_refused(
    sites: Any, vectors: Any
) -> None:
    with pytest.raises(ValueError, match="expected one for each|not finite"):
        Additive(sites, vectors)


def test_vectors_of_another_shape_layer_or_place_are_refused_by_the_model(model: Any) -> None:
    d = model.cfg.d_model
    wrong = {
        "of shape": Additive((Site(0),), (torch.ones(d + 1),)),
        r"of shape \(32,\)": Additive((Site(0, Kind.HEAD),), (torch.ones(d),)),
        "layer 4: this model has 4, 0 to 3": Additive((Site(4),), (torch.ones(d),)),
        "steer 'neuron'": Additive((Site(0, Kind.GATE),), (torch.ones(model.cfg.d_mlp),)),
    }
    for message, method in wrong.items():
        with pytest.raises(ValueError, match=message):
            method.hooks(model)


def test_vectors_of_two_models_are_not_added(load: Loader, pairs: ls.ContrastivePairs) -> None:
    a, b = (
        ls.CAA.fit(ls.capture(load(name), pairs, layers=[1], progress=False).at(layer=1))
        for name in ("llama", "qwen3")
    )
    for combine in (lambda: a + b, lambda: a - b, lambda: b + a):
        with pytest.raises(ValueError, match="vectors of two models"):
            combine()
    assert (a + a).provenance is a.provenance
    assert (a + b.without_provenance()).provenance is a.provenance
    assert (b.without_provenance() + a).provenance is a.provenance


def test_vectors_of_two_shapes_at_one_site_are_not_added() -> None:
    """Broadcasting would make a vector that nobody meant."""
    wide, narrow = Additive((Site(0),), (torch.ones(4),)), Additive((Site(0),), (torch.ones(1),))
    for a, b in ((wide, narrow), (narrow, wide)):
        with pytest.raises(ValueError, match="shape"):
            _ = a + b


# ---- CAA ----


def test_caa_is_the_difference_of_means_and_steers_at_the_kind_it_was_read_from(
    model: Any, pairs: ls.ContrastivePairs
) -> None:
    tokens = padded(model, rows_of(model), "none").tokens
    for kind in CAPTURED:
        read = ls.capture(model, pairs, kind, layers=[2], progress=False).at(layer=2)
        method = CAA.fit(read)
        desired, undesired = (x.double().numpy().mean(0) for x in (read.desired, read.undesired))
        vector = torch.tensor(desired - undesired, dtype=torch.float32)
        torch.testing.assert_close(method.vectors[0], vector, **MEAN_ROUNDING)
        assert method.sites == (Site(2, Kind(kind)),)
        logits: list[Tensor] = []

        def forward(logits: list[Tensor] = logits) -> None:
            logits.append(run(model, tokens, None))

        with torch.no_grad():
            clean = watched(model, method.sites[0], forward)
            with ls.steered(model, method, scope="all", sink=True):
                moved = watched(model, method.sites[0], forward)
        torch.testing.assert_close(moved, clean + vector, **ROUNDING)
        assert float((logits[1] - logits[0]).abs().max()) > 1e-3, kind


def test_caa_of_two_layers_is_their_sum(llama: Any, pairs: ls.ContrastivePairs) -> None:
    read = ls.capture(llama, pairs, progress=False)
    both = CAA.fit(read.at(layer=0)) + CAA.fit(read.at(layer=3))
    assert both.sites == (Site(0), Site(3))
    torch.testing.assert_close(torch.stack(both.vectors), read.direction[[0, 3]], **MEAN_ROUNDING)


def test_caa_keeps_the_record_of_its_model(llama: Any, pairs: ls.ContrastivePairs) -> None:
    method = CAA.fit(ls.capture(llama, pairs, layers=[1], progress=False).at(layer=1))
    assert method.provenance is not None
    assert method.provenance.fingerprint == attach(llama).fingerprint
    assert method.provenance.data == "tiny"
    for other in (2.0 * method, -method, method.with_strength(0.5), method + method):
        assert other.provenance is method.provenance


def test_caa_refuses_equal_classes_and_activations_that_can_only_be_read(
    llama: Any, pairs: ls.ContrastivePairs
) -> None:
    same = ls.LayerActivations.from_tensors(torch.ones(3, 4), torch.ones(2, 4), layer=1)
    with pytest.raises(ValueError, match=r"equal.*choose another layer"):
        CAA.fit(same)
    gate = ls.capture(llama, pairs, "gate", layers=[1], progress=False).at(layer=1)
    with pytest.raises(ValueError, match="capture 'neuron'"):
        CAA.fit(gate)


# ---- of tensors ----


@given(parts, numbers)
def test_transform_adds_the_vector_of_its_site(of: Parts, strength: float) -> None:
    method = built(of, strength)
    x = torch.arange(24.0).reshape(2, 3, 4)
    for site, vector in method.items():
        torch.testing.assert_close(method.transform(x, site), x + strength * vector, **ROUNDING)
        assert torch.equal(method.vector_field(x, site), vector.expand(x.shape))
    if len(method.sites) == 1:
        assert torch.equal(method.transform(x), method.transform(x, method.sites[0]))
    else:
        with pytest.raises(ValueError, match="site: none given, expected one of blocks"):
            method.transform(x)


# ---- ActAdd ----


def test_actadd_is_the_difference_of_two_prompts_at_their_last_tokens(model: Any) -> None:
    method = ActAdd.fit(model, "I like a dog", "The sun", layer=2, coefficient=3.0)
    read = []
    for prompt in ("I like a dog", "The sun"):
        tokens = torch.tensor(rows_of(model, [prompt]))
        with torch.no_grad():
            x = watched(model, Site(2), lambda tokens=tokens: run(model, tokens, None))
        read.append(x[0, -1].double().numpy())
    expected = torch.tensor(3.0 * (read[0] - read[1]), dtype=torch.float32)
    torch.testing.assert_close(method.vectors[0], expected, rtol=1e-4, atol=1e-4)
    assert method.sites == (Site(2),)
    assert "prompts=('I like a dog', 'The sun'), coefficient=3.0" in repr(method)


def test_actadd_is_a_vector_like_any_other(llama: Any) -> None:
    a, b = (ActAdd.fit(llama, *p, layer=1) for p in (("Love", "Hate"), ("Hate", "Love")))
    torch.testing.assert_close(a.vectors[0], -b.vectors[0], **ROUNDING)
    assert not bool((a + b).vectors[0].any())
    assert a.provenance is not None
    assert a.provenance.data == "'Love' - 'Hate'"
    assert not bool(ActAdd.fit(llama, "Love", "Hate", layer=1, coefficient=0).vectors[0].any())


def test_actadd_refuses_what_does_not_differ(llama: Any) -> None:
    wrong: dict[str, tuple[Any, dict[str, Any]]] = {
        "nothing differs": (("Love", "Love"), {"layer": 1}),
        "coefficient=nan": (("Love", "Hate"), {"layer": 1, "coefficient": float("nan")}),
        "not blank": ((" ", "Hate"), {"layer": 1}),
        "layer 7": (("Love", "Hate"), {"layer": 7}),
    }
    for message, (prompts, given_) in wrong.items():
        with pytest.raises(ValueError, match=message):
            ActAdd.fit(llama, *prompts, **given_)


# ---- one family ----


FIELDS_ON_FILE = {
    "RepE": ("at", "centre", "coefficient", "direction", "gap"),
    "FishBack": ("at", "damping", "kl", "readout", "vector"),
    "ResidualITI": ("at", "direction", "length"),
    "MeanAcT": ("at", "shift"),
    "CAA": ("at", "vectors"),
    "ActAdd": ("at", "coefficient", "prompts", "vectors"),
    "Random": ("at", "seed", "vectors"),
    "ITI": ("accuracies", "alpha", "directions", "mask", "spreads"),
}


def fitted() -> dict[str, VectorMethod]:
    """One of each, of width 4, at layer 2; ITI at heads of width 4 in layers 0 and 1."""
    up, down = drawn((12, 4), seed=1) + 1, drawn((9, 4), seed=2)
    axes = torch.linalg.qr(drawn((4, 4), seed=3)).Q.T.contiguous()
    heads = ls.Activations(
        drawn((12, 2, 3, 4), seed=4) + 1, drawn((12, 2, 3, 4), seed=5), Kind.HEAD, (0, 1)
    )
    caa = CAA.fit(up, down, layer=2)
    return {
        "RepE": ls.RepE.fit(up, down, layer=2, coefficient=0.7),
        "FishBack": ls.FishBack(Site(2), axes[0], axes[1], 0.1, 0.02),
        "ResidualITI": ResidualITI.fit(up, down, layer=2, length=2.0),
        "MeanAcT": ls.MeanAcT.fit(up, down, layer=2),
        "CAA": caa,
        "ActAdd": ActAdd((Site(2),), (axes[2],), prompts=("a", "b")),
        "Random": Random.like(caa, seed=3),
        "ITI": ls.ITI.fit(heads, k=3, folds=3, seed=0),
    }


def test_no_method_of_fixed_vectors_is_missing_from_the_tables() -> None:
    """A new one has a row in `FIELDS_ON_FILE` and in `fitted`; `Additive` is a sum of them."""
    exported = [each for each in vars(steering).values() if inspect.isclass(each)]
    vectors = {c for c in exported if issubclass(c, VectorMethod) and not inspect.isabstract(c)}
    assert {c.__name__ for c in vectors - {Additive}} == set(FIELDS_ON_FILE) == set(fitted())


@pytest.mark.parametrize("name", FIELDS_ON_FILE)
def test_every_method_of_fixed_vectors_is_a_vector(name: str) -> None:
    method, other = fitted()[name].with_strength(0.5), fitted()["CAA"]
    for site, vector in method.items():
        x = drawn((5, *vector.shape), seed=6)
        moved = method.transform(x, site) - x
        torch.testing.assert_close(moved, (0.5 * vector).expand_as(x), **ROUNDING)
        torch.testing.assert_close((-method).transform(x, site) - x, -moved, **ROUNDING)
        torch.testing.assert_close((2 * method).transform(x, site) - x, 2 * moved, **ROUNDING)
    for total, sign in ((method + other, 1), (method - other, -1), (other + method, 1)):
        added = vectors_of(total)
        assert set(added) == {*method.sites, *other.sites}
        for site, vector in other.items():
            mine = dict(method.items()).get(site, torch.zeros(4))
            expected = 0.5 * mine + sign * vector
            torch.testing.assert_close(added[site], expected, **ROUNDING)
    assert type(method + other) is type(2 * method) is type(-method) is Additive
    random = Random.like(method, seed=1)
    assert (random.sites, random.strength) == (method.sites, 0.5)
    for (_, ours), (_, theirs) in zip(random.items(), method.items(), strict=True):
        torch.testing.assert_close(ours.norm(), theirs.norm(), **ROUNDING)


def test_a_sum_with_a_method_that_is_no_vector_says_what_to_write() -> None:
    vector, other = fitted()["RepE"], cast(Any, ls.PID(drawn((3, 4)), drawn((3,)), (1,), 0.3))
    for wrong in (lambda: vector + other, lambda: vector - other, lambda: other + vector):
        with pytest.raises(TypeError, match=r"a PID adds no fixed vector.*steered\(model"):
            wrong()
    with pytest.raises(TypeError, match="to add to a method"):
        vector + 1  # type: ignore[operator]


@pytest.mark.parametrize("name", FIELDS_ON_FILE)
def test_files_of_the_time_before_the_family_are_loaded(name: str, tmp_path: Path) -> None:
    method = fitted()[name].with_strength(0.5)
    common = ("provenance", "report", "strength")
    ls.save(method, tmp_path / "method")
    content = ls.describe(tmp_path / "method")["content"]
    assert content["type"] == name
    assert sorted(content["fields"]) == sorted((*common, *FIELDS_ON_FILE[name]))
    one_site = content["fields"].get("at", {})
    assert isinstance(one_site, dict) == (name not in ("CAA", "ActAdd", "Random"))
    again = ls.load(tmp_path / "method")
    for (site, ours), (place, theirs) in zip(again.items(), method.items(), strict=True):
        assert site == place
        assert torch.equal(ours, theirs)


# ---- random ----


def test_random_of_a_method_without_vectors_is_as_large_as_its_edits() -> None:
    up, down = drawn((12, 4), seed=1) + 1, 2 * drawn((9, 4), seed=2)
    own = ls.LayerActivations.from_tensors(up, down, layer=2)
    method = ls.LinearAcT.fit(own).with_strength(0.5)
    x = torch.cat([up, down])
    size = (method.transform(x) - x).norm(dim=1).mean()
    random = Random.like(method, own, seed=0)
    assert random.sites == method.sites
    assert random.vectors[0].norm().item() == pytest.approx(size.item(), rel=1e-5)
    assert not torch.equal(Random.like(method, own, seed=1).vectors[0], random.vectors[0])
    layers = ls.Activations(up[:9, None], down[:, None], Kind.RESID, (2,))
    every = torch.cat([up[:9], down])
    size = (method.transform(every) - every).norm(dim=1).mean()
    random = Random.like(method, layers, seed=0)
    assert random.vectors[0].norm().item() == pytest.approx(size.item(), rel=1e-5)
    with pytest.raises(ValueError, match=r"Random.like\(method, resid, seed"):
        Random.like(method, seed=0)
    with pytest.raises(ValueError, match="capture 'resid' at layer 2"):
        Random.like(method, ls.LayerActivations.from_tensors(up, down, layer=1), seed=0)
    with pytest.raises(ValueError, match="edits none of these activations"):
        Random.like(method.with_strength(0), own, seed=0)
    law = ls.PID(drawn((3, 4)), drawn((3,)), (1,), 0.3)
    with pytest.raises(ValueError, match="capture 'resid_pre'"):
        Random.like(law, own, seed=0)


def test_random_directions_are_drawn_from_the_covariance_within_the_classes() -> None:
    generator = torch.Generator().manual_seed(0)
    scale = torch.tensor([3.0, 1.0, 0.0, 0.1])
    up, down = scale * torch.randn(2, 50, 4, generator=generator) + torch.tensor([[[9.0]], [[-9]]])
    resid = ls.LayerActivations.from_tensors(up, down, layer=2)
    caa = CAA.fit(resid)
    one, again, other = (Random.like(caa, seed=s, covariance_of=resid) for s in (0, 0, 1))
    assert torch.equal(one.vectors[0], again.vectors[0])
    assert not torch.equal(one.vectors[0], other.vectors[0])
    assert one.vectors[0].norm().item() == pytest.approx(caa.vectors[0].norm().item())
    many = [Random.like(caa, seed=s, covariance_of=resid).vectors[0] for s in range(300)]
    shares = (torch.stack(many) ** 2).mean(dim=0) / caa.vectors[0].norm() ** 2
    # Nothing along the difference of the classes as such: only what varies within them.
    assert shares[2] == pytest.approx(0, abs=1e-9)
    assert shares[0] > 2 * shares[1] > 4 * shares[3]  # standard deviations 3, 1 and 0.1
    with pytest.raises(ValueError, match="capture 'resid' at layer 2"):
        Random.like(caa, seed=0, covariance_of=ls.LayerActivations.from_tensors(up, down, layer=1))
    flat = ls.LayerActivations.from_tensors(up[:1], down[:1], layer=2)
    with pytest.raises(ValueError, match="do not vary"):
        Random.like(caa, seed=0, covariance_of=flat)


@pytest.mark.usefixtures("untyped")
def test_random_like_says_that_the_method_comes_first() -> None:
    resid = ls.LayerActivations.from_tensors(drawn((9, 4), seed=1) + 1, drawn((9, 4), seed=2), 2)
    method: Any = ls.LinearAcT.fit(resid)
    with pytest.raises(TypeError, match=r"got method=a LayerActivations, expected"):
        Random.like(cast(Any, resid), method, seed=0)


@given(parts, numbers, st.integers(0, 5))
def test_random_has_the_norm_of_the_method_at_each_site_and_its_strength(
    of_method: Parts, strength: float, seed: int
) -> None:
    method = built(of_method, strength)
    found = Random.like(method, seed=seed)
    assert found.sites == method.sites
    assert found.strength == method.strength
    for ours, theirs in zip(found.vectors, method.vectors, strict=True):
        torch.testing.assert_close(ours.norm(), theirs.norm(), rtol=1e-5, atol=1e-6)


def test_random_is_the_same_for_the_same_seed_and_another_for_another(llama: Any) -> None:
    method = push(llama, layer=0) + push(llama, layer=1)
    first, again, other = (Random.like(method, seed=seed) for seed in (0, 0, 1))
    assert all(torch.equal(a, b) for a, b in zip(first.vectors, again.vectors, strict=True))
    assert not any(torch.equal(a, b) for a, b in zip(first.vectors, other.vectors, strict=True))
    assert not torch.equal(first.vectors[0], first.vectors[1])


def test_random_directions_point_evenly_and_not_along_the_method(llama: Any) -> None:
    method = push(llama)
    unit = method.vectors[0] / method.vectors[0].norm()
    cosines = torch.stack([Random.like(method, seed=s).vectors[0] @ unit for s in range(200)])
    cosines = cosines / method.vectors[0].norm()
    # A mean of 200 with standard deviation 1 / sqrt(32): five of its own deviations.
    assert abs(cosines.mean().item()) < 5 / (32 * 200) ** 0.5
    assert cosines.std().item() == pytest.approx(32**-0.5, rel=0.25)


def test_random_does_not_touch_the_global_generator(llama: Any) -> None:
    method, state = push(llama), torch.get_rng_state()
    Random.like(method, seed=3)
    assert torch.equal(torch.get_rng_state(), state)


def test_random_of_activations_is_the_random_counterpart_of_their_caa(
    llama: Any, pairs: ls.ContrastivePairs
) -> None:
    read = ls.capture(llama, pairs, "head", layers=[1], progress=False).at(layer=1)
    caa, random = CAA.fit(read), Random.fit(read, seed=2)
    assert random.sites == caa.sites
    assert random.provenance is caa.provenance
    assert random.vectors[0].norm().item() == pytest.approx(caa.vectors[0].norm().item(), rel=1e-5)
    assert random.with_strength(2.0).seed == 2
    with ls.steered(llama, random):
        run(llama, padded(llama, rows_of(llama), "none").tokens, None)


# ---- the record of the model ----


def processed(model: Any, backend: str) -> Any:
    """The model with folded and centred weights, as TransformerLens makes it by default."""
    if backend == "bridge":
        model.enable_compatibility_mode(disable_warnings=True)
    else:
        model.process_weights_(fold_ln=True, center_writing_weights=True, center_unembed=True)
    return model


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_vector_of_a_processed_model_is_refused_on_the_raw_one_unless_its_record_is_dropped(
    load: Loader, fresh_model: Loader, pairs: ls.ContrastivePairs, backend: str
) -> None:
    raw, folded = load("gpt2", backend), processed(fresh_model("gpt2", backend), backend)
    there = CAA.fit(ls.capture(folded, pairs, layers=[1], progress=False).at(layer=1))
    here = CAA.fit(ls.capture(raw, pairs, layers=[1], progress=False).at(layer=1))
    # Not a scaled copy of it either: the processed stream has lost its mean.
    assert not torch.allclose(there.vectors[0], here.vectors[0], rtol=1e-2, atol=1e-2)
    for method, model in ((there, raw), (here, folded)):
        with (
            pytest.raises(ValueError, match=r"processed.*without_provenance"),
            ls.steered(model, method),
        ):
            pytest.fail("entered")
        with pytest.raises(ValueError, match="processed"):
            ls.generate(model, ["The cat"], method, temperature=0.0, max_new_tokens=2)
        with pytest.raises(ValueError, match="processed"):
            method.hooks(model)
        with ls.steered(model, method.without_provenance()):
            run(model, torch.tensor(rows_of(model, ["The cat"])), None)
    for method, model in ((there, folded), (here, raw)):
        with ls.steered(model, method):
            run(model, torch.tensor(rows_of(model, ["The cat"])), None)


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_vector_of_one_class_of_model_is_accepted_on_the_other(
    load: Loader, pairs: ls.ContrastivePairs, backend: str
) -> None:
    method = CAA.fit(ls.capture(load("llama"), pairs, layers=[1], progress=False).at(layer=1))
    assert method.hooks(load("llama", backend))


def test_the_record_is_checked_at_strength_zero_too(
    load: Loader, pairs: ls.ContrastivePairs
) -> None:
    method = CAA.fit(ls.capture(load("llama"), pairs, layers=[1], progress=False).at(layer=1))
    with (
        pytest.raises(ValueError, match="another model"),
        ls.steered(load("qwen3"), method.with_strength(0.0)),
    ):
        pytest.fail("entered")


# ---- printing ----


def test_a_repr_shows_class_strength_norms_and_hook_names() -> None:
    method = Additive((Site(1), Site(2, Kind.HEAD)), (torch.ones(4), 2 * torch.ones(2, 2)))
    assert repr(method.with_strength(0.5)) == (
        "Additive(strength=0.5, |v|=2/4) at blocks.1.hook_resid_post, blocks.2.attn.hook_z"
    )
    shown = repr(Random.like(method, seed=7))
    assert shown.startswith("Random(strength=1, seed=7, |v|=2/4) at blocks.1.hook_resid_post")
    same = ls.LayerActivations.from_tensors(torch.ones(3, 4), torch.zeros(2, 4), layer=1)
    caa, mean = CAA.fit(same), ls.MeanAcT.fit(same)
    assert repr(caa) == "CAA(strength=1, |v|=2) at blocks.1.hook_resid_post"
    place = "at blocks.1.hook_resid_post"
    assert repr(-caa) == f"Additive(strength=1, made of -1 * CAA, |v|=2) {place}"
    assert repr(-mean) == f"Additive(strength=1, made of -1 * MeanAcT, |v|=2) {place}"
    total = 2 * (caa.with_strength(0.5) - 3 * mean) + method
    assert repr(total).startswith("Additive(strength=1, made of CAA and -6 * MeanAcT and Additive,")


@pytest.mark.parametrize("name", FIELDS_ON_FILE)
def test_every_repr_names_its_class_and_that_of_what_it_is_made_of(
    name: str, tmp_path: Path
) -> None:
    method = fitted()[name]
    assert repr(method).startswith(f"{name}(strength=1")
    negative = -method
    assert repr(negative).startswith(f"Additive(strength=1, made of -1 * {name}, ")
    ls.save(negative, tmp_path / "negative")
    assert repr(ls.load(tmp_path / "negative")) == repr(negative)


def test_every_kind_that_can_be_edited_has_a_shape_on_every_model(model: Any) -> None:
    for kind in all_kinds(model):
        assert Additive((Site(0, kind),), (torch.ones(site_shape(model, kind)),)).hooks(model)


@pytest.mark.parametrize("family", [CAA, ls.RepE, ls.MeanAcT, ls.LinearAcT, ls.MiMiC])
def test_captured_activations_and_a_layer_are_that_layer(
    family: Any, llama: Any, pairs: ls.ContrastivePairs
) -> None:
    resid = ls.capture(llama, pairs, "resid", progress=False)
    ours, expected = family.fit(resid, layer=2), family.fit(resid[2])
    assert ours.sites == expected.sites
    x = torch.randn(3, 32, generator=torch.Generator().manual_seed(0))
    assert torch.equal(ours.transform(x), expected.transform(x))


def test_vectors_can_be_summed_and_divided() -> None:
    a, b = (Additive((Site(1),), (torch.tensor([x, 2.0]),), strength=2.0) for x in (1.0, 3.0))
    assert torch.equal(sum([a, b]).vectors[0], torch.tensor([8.0, 8.0]))  # type: ignore[union-attr]
    assert torch.equal((a / 2).vectors[0], torch.tensor([0.5, 1.0]))
    assert (a / 2).strength == 2.0


@pytest.mark.usefixtures("untyped")
@pytest.mark.parametrize("other", [1, 0.5, torch.ones(2)])
def test_what_to_write_instead_of_adding_a_number_is_said(other: Any) -> None:
    a: Any = Additive((Site(1),), (torch.ones(2),))
    for wrong in (lambda: a + other, lambda: a - other):
        with pytest.raises(TypeError, match=r"to add to a method.*2 \* a scales"):
            wrong()


@pytest.mark.usefixtures("untyped")
@pytest.mark.parametrize("divisor", [0, True, "2"])
def test_what_cannot_divide_is_refused(divisor: Any) -> None:
    with pytest.raises(TypeError, match="expected a number that is not 0"):
        _ = Additive((Site(1),), (torch.ones(2),)) / divisor


def test_many_hook_names_are_printed_as_ranges_of_layers():
    def printed(*sites: Site) -> str:
        return repr(Additive(sites, (torch.ones(4),) * len(sites)))

    many = " at blocks.{0, 3-11}.hook_resid_post"
    assert printed(*map(Site, (0, *range(3, 12)))).endswith(many)
    few = " at blocks.3.hook_resid_post, blocks.5.hook_resid_post"
    assert printed(Site(3), Site(5)).endswith(few)
    kinds = [Site(layer, kind) for layer in range(9) for kind in (Kind.MLP_OUT, Kind.RESID)]
    assert printed(*kinds).endswith(" at blocks.{0-8}.hook_mlp_out, blocks.{0-8}.hook_resid_post")
